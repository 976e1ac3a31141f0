"""What a child process of a test runs: here, because a started child imports it by name."""

import numpy as np

import allconv as ac
from allconv.parallel import blas, pool


def blas_threads():
    """Return the number of threads of each BLAS library in this process."""
    return [found.num_threads for found in blas._blas_controllers()]


def use_pool(queue):
    """Use the pool, and hand over what it computed and what is left of it."""
    total = sum(pool.run(lambda index: index, 10))
    with blas.single_threaded_blas():
        inside = blas_threads()
    x = np.ones((4, 32, 32, 16), np.float32)
    y = ac.Conv2D(16, 16, 3, rng=np.random.default_rng(0))(x)
    queue.put((total, inside, y.tobytes(), blas._holders, blas_threads()))
