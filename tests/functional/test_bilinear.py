"""The bilinear algorithms: exact for every size, and refused where the points run out."""

from fractions import Fraction

import numpy as np
import pytest

from allconv.functional.winograd import bilinear
from allconv.functional.winograd.bilinear import convolution, gradient, matrices

SIZES = [(1, 1), (1, 3), (2, 2), (2, 3), (3, 1), (3, 4), (4, 3), (5, 5), (6, 3), (2, 7)]


@pytest.mark.parametrize(("m", "r"), SIZES)
def test_filters_exactly_in_rationals(m, r):
    rng = np.random.default_rng(m * 100 + r)
    b_t, g, a_t = matrices(m, r)
    d = [Fraction(int(v), 7) for v in rng.integers(-99, 99, m + r - 1)]
    taps = [Fraction(int(v), 3) for v in rng.integers(-99, 99, r)]

    def times(matrix, vector):
        return [sum(x * y for x, y in zip(row, vector, strict=True)) for row in matrix]

    products = [u * v for u, v in zip(times(g, taps), times(b_t, d), strict=True)]
    assert len(products) == m + r - 1
    assert times(a_t, products) == [sum(d[i + k] * taps[k] for k in range(r)) for i in range(m)]


@pytest.mark.parametrize(("m", "r"), SIZES)
def test_the_input_matrix_has_small_integers(m, r):
    entries = [value for row in matrices(m, r)[0] for value in row]
    assert all(value.denominator == 1 and abs(value) < 2**24 for value in entries)  # exact in float32


def test_the_known_algorithm_of_two_outputs():
    b_t, g, a_t = matrices(2, 3)  # Winograd's F(2, 3), up to a sign common to a row of B^T and one of G
    half = Fraction(1, 2)
    assert [[abs(v) for v in row] for row in b_t] == [[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1]]
    assert g == [[-1, 0, 0], [half, half, half], [half, -half, half], [0, 0, 1]]
    assert a_t == [[1, 1, 1, 0], [0, 1, -1, 1]]


def test_a_wrong_matrix_does_not_pass_the_proof():
    b_t, g, a_t = matrices(4, 3)
    b_t[2][3] += Fraction(1, 10**9)
    with pytest.raises(ArithmeticError, match=r"output 0, tap 0, sample 3"):
        bilinear._prove(b_t, g, a_t, lambda i, k, x: x == i + k)


def test_the_value_at_the_point_one_is_in_every_output_once():
    """The bias in winograd relies on it."""
    for m in (2, 4):
        assert all(row[bilinear.POINT_ONE] == 1 for row in matrices(m, 3)[2])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("r", [1, 2, 3, 5])
@pytest.mark.parametrize("before", [-3, 0, 1, 2, 5])
def test_tiles_with_strides_and_padding(stride, r, before):
    """Tile 2 of y, and of dx, from the definitions with an endless input."""
    rng = np.random.default_rng(stride * 10 + r)
    x, g = rng.standard_normal(100), rng.standard_normal(r)
    m = 4

    f = convolution(m, r, stride, before, np.float64)
    window = [x[f.start + 2 * f.step + n] for n in range(f.input_matrix.shape[1])]
    y = [sum(x[stride * i + k - before] * g[k] for k in range(r)) for i in range(2 * m, 3 * m)]
    np.testing.assert_allclose(f.output_matrix @ ((f.kernel_matrix @ g) * (f.input_matrix @ window)), y, atol=1e-10)

    f = gradient(m, r, stride, before, np.float64)
    window = [x[f.start + 2 * f.step + n] for n in range(f.input_matrix.shape[1])]
    dx = [
        sum(x[(place + before - k) // stride] * g[k] for k in range(r) if (place + before - k) % stride == 0)
        for place in range(2 * stride * m, 3 * stride * m)
    ]
    np.testing.assert_allclose(f.output_matrix @ ((f.kernel_matrix @ g) * (f.input_matrix @ window)), dx, atol=1e-10)


@pytest.mark.parametrize(("stride", "products"), [(1, 6), (2, 9)])
def test_the_number_of_products(stride, products):
    assert convolution(4, 3, stride, 1, np.float32).points == products
    assert gradient(4, 3, stride, 1, np.float32).points == products


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounds_to_the_dtype(dtype):
    f = convolution(4, 3, 1, 1, dtype)
    assert {f.input_matrix.dtype, f.kernel_matrix.dtype, f.output_matrix.dtype} == {np.dtype(dtype)}


def test_refuses_sizes_without_points():
    with pytest.raises(ValueError, match=r"m \+ r must be at most 11, got m=9, r=3"):
        matrices(9, 3)
    with pytest.raises(ValueError, match=r"m must be a positive int, got 0"):
        matrices(0, 3)
