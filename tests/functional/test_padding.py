import pytest
from hypothesis import given
from hypothesis import strategies as st

from allconv.functional.padding import check_padding, output_size, resolve_padding

PAIRS = st.tuples(st.integers(1, 5), st.integers(1, 5))


@given(size=st.tuples(st.integers(1, 30), st.integers(1, 30)), kernel=PAIRS, stride=PAIRS, dilation=PAIRS)
@pytest.mark.parametrize("name", ["same", "same_lower"])
def test_same_gives_the_ceiling_of_size_over_stride(name, size, kernel, stride, dilation):
    pads = resolve_padding(name, size, kernel, stride, dilation)
    out = output_size(size, pads, kernel, stride, dilation)
    assert out == tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
    for before, after in pads:
        assert after - before in ((0, 1) if name == "same" else (0, -1))


def test_same_puts_the_odd_row_at_the_bottom_and_right():
    assert resolve_padding("same", (32, 32), (3, 3), (2, 2)) == ((0, 1), (0, 1))
    assert resolve_padding("same_lower", (32, 32), (3, 3), (2, 2)) == ((1, 0), (1, 0))
    assert resolve_padding("same", (33, 33), (3, 3), (2, 2)) == ((1, 1), (1, 1))


def test_numbers_mean_vertical_horizontal_and_top_left_bottom_right():
    assert resolve_padding(2, (9, 9), (3, 3), (1, 1)) == ((2, 2), (2, 2))
    assert resolve_padding((1, 2), (9, 9), (3, 3), (1, 1)) == ((1, 1), (2, 2))
    assert resolve_padding((1, 2, 3, 4), (9, 9), (3, 3), (1, 1)) == ((1, 3), (2, 4))
    assert resolve_padding("valid", (9, 9), (3, 3), (1, 1)) == ((0, 0), (0, 0))


@given(
    size=st.integers(1, 20),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
)
def test_output_size_counts_the_whole_windows(size, before, after, kernel, stride, dilation):
    starts = range(-before, size + after, stride)
    whole = [start for start in starts if start + dilation * (kernel - 1) < size + after]
    arguments = (size, 9), ((before, after), (0, 0)), (kernel, 1), (stride, 1), (dilation, 1)
    if whole:
        assert output_size(*arguments) == (len(whole), 9)
    else:
        with pytest.raises(ValueError, match="the window must fit into the padded input.*, got padding"):
            output_size(*arguments)


@pytest.mark.parametrize("value", ["same", "same_lower", "valid", 0, 3, (1, 2), (0, 1, 2, 3)])
def test_what_is_a_padding_is_returned(value):
    assert check_padding("padding", value) == value
