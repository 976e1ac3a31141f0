"""What several files of tests share."""

import pytest

import allconv as ac


@pytest.fixture
def one_thread():
    """Hold the library to one thread: the memory and the buffers of two depend on their timing."""
    before = ac.get_num_threads()
    ac.set_num_threads(1)
    yield
    ac.set_num_threads(before)


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch
