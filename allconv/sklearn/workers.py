"""One thread in each worker of joblib, since the workers keep the other cores busy."""

from contextlib import AbstractContextManager, nullcontext

from joblib.parallel import get_active_backend

from allconv.parallel.pool import calling_thread_alone


def one_thread_in_a_worker() -> AbstractContextManager[None]:
    """Return the context that fits and predictions run in: in a task of joblib the calling thread computes alone.

    The bits are the same for any number of threads, so a score does not depend on ``n_jobs``.
    """
    backend, _ = get_active_backend()
    return calling_thread_alone() if backend.nesting_level else nullcontext()
