"""What several files of tests share."""

import pytest
from helpers.programs import ROOT

import allconv as ac
from allconv.models import trained

# An installed library has no checkout with trained weights, so the tests show it theirs.
if not trained._FOLDER.is_dir():
    trained._FOLDER = ROOT / "docs" / "weights"


@pytest.fixture(autouse=True)
def _the_number_of_threads():
    """Let a test set the number of threads as it likes."""
    before = ac.get_num_threads()
    yield
    if ac.get_num_threads() != before:
        ac.set_num_threads(before)


@pytest.fixture
def one_thread():
    """Hold the library to one thread: the memory and the buffers of two depend on their timing."""
    ac.set_num_threads(1)


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch
