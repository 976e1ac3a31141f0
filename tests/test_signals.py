"""Ctrl-C and SIGTERM are noted; a second one ends at once. What a run does then is in test_run.py."""

import os
import signal
import threading

import pytest

from allconv.training.interrupts import stop_on_signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@pytest.fixture(autouse=True)
def _default_handlers():
    # A shell that starts the tests in the background has Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_the_handlers_come_back(number, status):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        assert stop.exit_status == status
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_context_within_another_notes_a_signal_for_both():
    with stop_on_signals() as outer:
        with stop_on_signals() as inner:
            signal.raise_signal(signal.SIGTERM)
            assert inner.number == outer.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    with stop_on_signals() as outer:
        with stop_on_signals() as inner:
            pass
        signal.raise_signal(signal.SIGINT)
        assert (bool(inner), bool(outer)) == (False, True)


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop


def test_another_thread_changes_nothing():
    noted = []

    def enter():
        with stop_on_signals() as stop:
            noted.append((bool(stop), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert noted == [(False, signal.default_int_handler)]
