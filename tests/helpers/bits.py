"""Results compared to the last bit."""

import dataclasses

import numpy as np

import allconv as ac


def bits(result):
    """Return a result with each of its arrays, in whatever containers, as dtype, shape and bytes."""
    if isinstance(result, np.ndarray | np.generic):
        return result.dtype, result.shape, result.tobytes()
    if isinstance(result, dict):
        return {key: bits(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [bits(value) for value in result]
    return bits(vars(result)) if dataclasses.is_dataclass(result) else result


def same_with_any_threads(compute, counts=(1, 2, 3)):
    """Return the result of ``compute()``, which must have the same bits with each number of threads."""
    before, results = ac.get_num_threads(), []
    try:
        for count in counts:
            ac.set_num_threads(count)
            results.append(compute())
    finally:
        ac.set_num_threads(before)
    for count, other in zip(counts, results, strict=True):
        assert bits(other) == bits(results[0]), f"{count} threads"
    return results[0]
