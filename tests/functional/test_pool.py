"""The pooling kernels against the definition."""

import numpy as np
import pytest
from helpers.bits import same_with_any_threads
from helpers.reference_pool import max_pool_reference, mean_pool_reference, window_starts, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.functional.max_pool import max_pool_input_grad, max_pool_with_choices
from allconv.functional.pool import max_pool, mean_pool, mean_pool_input_grad
from allconv.functional.windows import pool_windows

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
pads = st.tuples(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.tuples(st.integers(0, 3), st.integers(0, 3)))
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def accepted(size, kernel, stride, pads, dilation, ceil_mode):
    """Tell whether there is a window, and an input in every window."""
    starts = [window_starts(size[a], *pads[a], kernel[a], stride[a], dilation[a], ceil_mode) for a in (0, 1)]
    if not all(starts):
        return False
    return all(inside for _, inside, _ in windows(size, kernel, stride, pads, dilation, ceil_mode))


@settings(max_examples=200, deadline=None)
@given(sizes, pairs, pairs, pads, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_mean_pool_is_the_mean_of_each_window(size, kernel, stride, pads, count_padding, ceil_mode, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *size, 3))
    if not accepted(size, kernel, stride, pads, (1, 1), ceil_mode):
        with pytest.raises(ValueError, match=r"must (fit into|leave an input)"):
            pool_windows(size, kernel, stride, pads, ceil_mode=ceil_mode)
        return
    where = pool_windows(size, kernel, stride, pads, ceil_mode=ceil_mode)
    y, dy, dx = mean_pool_reference(
        x, lambda shape: rng.normal(size=shape), kernel, stride, pads, count_padding, ceil_mode
    )
    np.testing.assert_allclose(mean_pool(x, where, count_padding=count_padding), y, rtol=1e-12, atol=1e-12)
    result = mean_pool_input_grad(dy, where, count_padding=count_padding)
    np.testing.assert_allclose(result, dx, rtol=1e-12, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(sizes, pairs, pairs, pads, st.tuples(st.integers(1, 3), st.integers(1, 3)), st.booleans(), st.data())
def test_max_pool_takes_the_first_maximum_of_each_window(size, kernel, stride, pads, dilation, ceil_mode, data):
    if not accepted(size, kernel, stride, pads, dilation, ceil_mode):
        with pytest.raises(ValueError, match=r"must (fit into|leave an input)"):
            pool_windows(size, kernel, stride, pads, dilation, ceil_mode)
        return
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    # Few values make many ties, and -inf is what the padding holds.
    x = rng.choice([-np.inf, -1.0, 0.0, 2.0], size=(2, *size, 2))
    if data.draw(st.booleans()):
        x[rng.random(x.shape) < 0.1] = np.nan
    where = pool_windows(size, kernel, stride, pads, dilation, ceil_mode)
    y, dy, dx = max_pool_reference(x, lambda shape: rng.normal(size=shape), kernel, stride, pads, dilation, ceil_mode)
    np.testing.assert_array_equal(max_pool(x, where), y)
    maximum, choices = max_pool_with_choices(x, where)
    np.testing.assert_array_equal(maximum, y)
    np.testing.assert_allclose(max_pool_input_grad(dy, choices, where), dx, rtol=1e-12, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 3),
    st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(1, 5)),
    st.sampled_from([np.float16, np.float32, np.float64, np.longdouble]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_2x2_windows_side_by_side_have_their_first_maximum(count, shape, dtype, with_nan, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice([-np.inf, -1.0, 0.0, 2.0, np.inf], size=(count, *shape)).astype(dtype)
    if with_nan:
        x[rng.random(x.shape) < 0.1] = np.nan
    none = ((0, 0), (0, 0))
    y, dy, dx = max_pool_reference(x, lambda shape: rng.normal(size=shape), (2, 2), (2, 2), none, (1, 1), False)
    dy = dy.astype(dtype)
    where = pool_windows(shape[:2], (2, 2), (2, 2), none)
    maximum, mask = max_pool_with_choices(x, where)
    assert mask.dtype == bool
    np.testing.assert_array_equal(maximum, y)
    np.testing.assert_array_equal(max_pool_input_grad(dy, mask, where), dx.astype(dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_stays_with_its_maximum(value):
    where = pool_windows((2, 4), (2, 2), (2, 2), ((0, 0), (0, 0)))
    _, mask = max_pool_with_choices(np.array([[1.0, 5, 2, 0], [8, 3, 1, 1]])[None, :, :, None], where)
    dx = max_pool_input_grad(np.array([value, 1.0]).reshape(1, 1, 2, 1), mask, where)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 0, 1, 0], [value, 0, 0, 0]])


@pytest.mark.parametrize("pads", [((1, 0), (0, 1)), ((0, 0), (0, 0))])
@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (1, 3))])
def test_same_bits_for_any_number_of_threads_and_a_batch_of_many_slices(kernel, stride, pads):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(33, 16, 16, 32)).astype(np.float32)  # 16 images a slice, the last one shorter
    where = pool_windows((16, 16), kernel, stride, pads)

    def compute():
        mean, (maximum, choices) = mean_pool(x, where), max_pool_with_choices(x, where)
        return mean, maximum, mean_pool_input_grad(mean, where), max_pool_input_grad(mean, choices, where)

    results = same_with_any_threads(compute)
    one_image = mean_pool(x[32:], where), max_pool(x[32:], where)
    np.testing.assert_array_equal(results[0][32:], one_image[0])
    np.testing.assert_array_equal(results[1][32:], one_image[1])
