"""Products that are cut into pieces, against NumPy's own."""

import numpy as np
import pytest

from allconv.functional.products import _equal_pieces, multiply, multiply_transposed

SHAPES = [(5, 3, 2), (3584, 55, 42), (1601, 180, 32), (32, 784, 64), (700, 900, 96)]


@pytest.mark.parametrize(("rows", "depth", "columns"), SHAPES)
def test_they_equal_the_whole_product(rows, depth, columns):
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(shape) for shape in ((rows, depth), (depth, columns), (rows, columns)))
    out = np.empty((1, rows, columns))
    for left in (a, np.asfortranarray(a)):
        multiply(left[None], b[None], out, least_rows=16)
        np.testing.assert_allclose(out[0], a @ b, rtol=0, atol=1e-11)
        np.testing.assert_allclose(multiply_transposed(left[None], c[None])[0], a.T @ c, rtol=0, atol=1e-11)


def test_several_products_stay_whole():
    rng = np.random.default_rng(0)
    a, b, out = rng.standard_normal((2, 4096, 72)), rng.standard_normal((2, 72, 32)), np.empty((2, 4096, 32))
    multiply(a, b, out)
    np.testing.assert_allclose(out, a @ b, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("rows", "row_work", "count"),
    [
        (432, 2310, 1),  # small enough already
        (3584, 2310, 14),  # 9 pieces would be small; 14 is the next divisor
        (3583, 2310, 1),  # a prime number has no divisor
        (1000, 100_000, 1),  # pieces of 10 rows would be too short
    ],
)
def test_the_number_of_pieces(rows, row_work, count):
    assert _equal_pieces(rows, row_work, 64) == count
