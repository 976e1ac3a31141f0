"""Scratch, and large arrays in the place of earlier ones."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.parallel import buffers

FLOAT32 = np.dtype(np.float32)
MB = 1 << 18  # elements of float32


@pytest.fixture(autouse=True)
def _fresh():
    buffers.free()
    yield
    buffers.free()


def address(array):
    return array.__array_interface__["data"][0]


def test_a_large_array_takes_the_place_of_one_that_nobody_uses():
    first = buffers.empty((10, MB), FLOAT32)
    place = address(first)
    del first
    again = buffers.empty((5, 2 * MB), FLOAT32)
    assert address(again) == place
    assert again.shape == (5, 2 * MB)
    assert again.flags.c_contiguous
    assert again.flags.writeable


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array,
        lambda array: array[3:5, ::7],
        lambda array: array.reshape(-1)[-1:],
        lambda array: array.view(np.int32).T,
        memoryview,
        lambda array: np.frombuffer(array, np.uint8),
        lambda array: np.lib.stride_tricks.as_strided(array, (3,), (4,)),
    ],
)
def test_an_array_that_anything_still_refers_to_is_left_alone(hold):
    array = buffers.empty((10, MB), FLOAT32)
    array[...] = 1
    places = {address(array)}
    held = hold(array)
    del array
    other = buffers.empty((10, MB), FLOAT32)
    other[...] = 2
    assert not np.shares_memory(np.asarray(held), other)
    places.add(address(other))
    del held, other
    again = [buffers.empty((10, MB), FLOAT32) for _ in range(2)]
    assert {address(array) for array in again} == places


def test_arrays_of_a_torch_tensor_stay():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(buffers.empty((10, MB), FLOAT32))
    tensor.zero_()
    buffers.empty((10, MB), FLOAT32)[...] = 1
    assert float(tensor.abs().max()) == 0


def test_a_much_larger_buffer_is_not_spent_on_a_small_array():
    large = buffers.empty((10, MB), FLOAT32)
    place = address(large)
    del large
    small = buffers.empty((4, MB), FLOAT32)
    assert address(small) != place
    assert address(buffers.empty((9, MB), FLOAT32)) == place


def test_small_arrays_are_numpys_own():
    assert buffers.empty((3, 4), FLOAT32).base is None
    assert buffers.empty((0, 1 << 20), FLOAT32).shape == (0, 1 << 20)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 3 << 20), min_size=1, max_size=6),
    st.sampled_from([np.float32, np.float64]),
)
def test_arrays_in_use_never_overlap_and_start_a_line_of_the_cache(sizes, kind):
    arrays = []
    for number, size in enumerate(sizes):
        array = buffers.empty((size,), np.dtype(kind))
        array[...] = number
        arrays.append(array)
    for number, (size, array) in enumerate(zip(sizes, arrays, strict=True)):
        assert array.dtype == kind
        assert (array == number).all()
        if array.base is not None:
            assert address(array) % 64 == 0
        assert buffers.Scratch().array((size,), np.dtype(kind)).ctypes.data % 64 == 0 or size == 0


def test_what_lies_idle_is_bounded():
    arrays = [buffers.empty((64, MB), FLOAT32) for _ in range(8)]  # 512 MB, never touched
    del arrays
    buffers.empty((200, MB), FLOAT32)
    kept = sum(buffer.nbytes for buffer in buffers._local.buffers) >> 20
    assert kept <= 256 + 200


def test_each_thread_has_its_own():
    array = buffers.empty((10, MB), FLOAT32)
    place = address(array)
    del array
    places = []
    thread = threading.Thread(target=lambda: places.append(address(buffers.empty((10, MB), FLOAT32))))
    thread.start()
    thread.join()
    assert places != [place]


def test_an_array_may_outlive_its_thread():
    kept = []
    thread = threading.Thread(target=lambda: kept.append(buffers.empty((10, MB), FLOAT32)))
    thread.start()
    thread.join()
    kept[0][...] = 3
    buffers.empty((10, MB), FLOAT32)[...] = 4
    assert (kept[0] == 3).all()


def test_scratch_is_used_again():
    scratch = buffers.Scratch()
    first = scratch.array((1000,), FLOAT32)
    assert np.shares_memory(first, scratch.array((10, 50), FLOAT32))
    assert not np.shares_memory(first, buffers.Scratch().array((1000,), FLOAT32))
    assert scratch.array((500,), np.dtype(np.float64)).dtype == np.float64
