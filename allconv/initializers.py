"""Initial weights: functions ``(rng, shape, dtype) -> array``.

The last two axes of a weight are its inputs and its outputs. The shape is ``(in, out)`` in a `Linear`, and ``(K_h, K_w,
in / groups, out)`` in a `Conv2D`. fan_in is the number of inputs that an output sees. fan_out is the number of outputs
that an input reaches, where those of all groups count, as in PyTorch. A convolution counts both over the whole kernel.
In a `ConvTranspose2D` the last two axes are the outputs and the inputs. Its fans are those of the convolution that
leads back, as in PyTorch, so that `he_normal` does not keep the variance of its outputs. All draws are made in float64
and then rounded, so that float32 and float64 models start from the same numbers.
"""

import math
from typing import Any

import numpy as np

from allconv.parallel.blas import single_threaded_blas
from allconv.typing import Array, Initializer
from allconv.validation import check_callable, check_dtype, check_positive, describe, is_int

# The number of elements that a weight may have. A larger one, of 4 TB, is a mistake, and no memory is asked for it.
_MOST_ELEMENTS = 1 << 40


def _checked(
    rng: object, shape: object, dtype: Any, axes: int = 1
) -> tuple[np.random.Generator, tuple[int, ...], np.dtype[Any]]:
    """Return the arguments of an initializer, whose shape must have at least `axes` axes."""
    rule = f"shape must be a tuple of at least {axes} positive int{'s' if axes > 1 else ''}"
    if not isinstance(shape, tuple | list) or not all(is_int(size) for size in shape):
        raise TypeError(f"{rule}, got {describe(shape)}")
    if len(shape) < axes or min(shape) < 1:
        raise ValueError(f"{rule}, got {describe(shape)}")
    if math.prod(shape) > _MOST_ELEMENTS:
        raise ValueError(f"shape must be the shape of at most {_MOST_ELEMENTS:,} elements, got {describe(shape)}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {describe(rng)}")
    return rng, tuple(int(size) for size in shape), check_dtype("dtype", dtype)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return fan_in, how many inputs each output sees, and fan_out, how many outputs of all groups an input reaches."""
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def zeros(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return zeros, without a draw from the generator.

    Parameters
    ----------
    rng : numpy.random.Generator
        The generator, which is not used.
    shape : tuple of int
        The shape of the weight.
    dtype : dtype
        The dtype of the weight.

    Returns
    -------
    array
        Zeros of that shape and dtype.

    Raises
    ------
    TypeError, ValueError
        If `rng` is no Generator, `shape` no shape of a weight, or `dtype` neither float32 nor float64.

    Examples
    --------
    >>> zeros(np.random.default_rng(0), (3,), np.dtype(np.float32))
    array([0., 0., 0.], dtype=float32)
    """
    _, shape, dtype = _checked(rng, shape, dtype)
    return np.zeros(shape, dtype)


def normal(std: float) -> Initializer:
    r"""Return the initializer that draws from the normal distribution :math:`N(0, \text{std}^2)`, not truncated.

    Parameters
    ----------
    std : float
        The standard deviation, above 0. The networks of the 2018 article have 0.05.

    Returns
    -------
    callable
        The initializer ``(rng, shape, dtype) -> array``.

    Raises
    ------
    TypeError, ValueError
        If `std` is not a positive number.

    Examples
    --------
    >>> weight = normal(0.05)(np.random.default_rng(0), (100, 100), np.dtype(np.float64))
    >>> round(float(weight.std()), 3)
    0.05
    """
    std = check_positive("std", std)

    def initializer(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        rng, shape, dtype = _checked(rng, shape, dtype)
        return (std * rng.standard_normal(shape)).astype(dtype)

    return initializer


def he_normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    r"""Draw from :math:`N(0, 2 / \text{fan in})`, which keeps the variance of the activations under ReLU.

    Parameters
    ----------
    rng : numpy.random.Generator
        The generator that draws the weight.
    shape : tuple of int
        The shape of the weight, with at least two axes.
    dtype : dtype
        The dtype of the weight.

    Returns
    -------
    array
        The weight.

    Raises
    ------
    TypeError, ValueError
        If `rng` is no Generator, `shape` no shape of a weight, or `dtype` neither float32 nor float64.

    Notes
    -----
    He et al. (2015), equation 10.

    Examples
    --------
    >>> weight = he_normal(np.random.default_rng(0), (200, 100), np.dtype(np.float64))
    >>> round(float(weight.std()), 2)  # sqrt(2 / 200)
    0.1
    """
    rng, shape, dtype = _checked(rng, shape, dtype, axes=2)
    fan_in, _ = _fans(shape)
    return (math.sqrt(2 / fan_in) * rng.standard_normal(shape)).astype(dtype)


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    r"""Draw from the uniform distribution on :math:`[-a, a)` whose variance suits tanh.

    .. math:: a = \sqrt{6 / (\text{fan in} + \text{fan out})}

    This variance is a compromise between the two that keep the size of the activations and of the gradients. It holds
    for activations that are symmetric with slope 1 at 0.

    Parameters
    ----------
    rng : numpy.random.Generator
        The generator that draws the weight.
    shape : tuple of int
        The shape of the weight, with at least two axes.
    dtype : dtype
        The dtype of the weight.

    Returns
    -------
    array
        The weight.

    Raises
    ------
    TypeError, ValueError
        If `rng` is no Generator, `shape` no shape of a weight, or `dtype` neither float32 nor float64.

    Notes
    -----
    Glorot and Bengio (2010), equation 16.

    Examples
    --------
    >>> weight = glorot_uniform(np.random.default_rng(0), (300, 300), np.dtype(np.float64))
    >>> round(float(np.abs(weight).max()), 3)  # sqrt(6 / 600)
    0.1
    """
    rng, shape, dtype = _checked(rng, shape, dtype, axes=2)
    limit = math.sqrt(6 / sum(_fans(shape)))
    return rng.uniform(-limit, limit, shape).astype(dtype)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Draw a random matrix with orthonormal rows or columns.

    A linear layer with it keeps the norm of its input, if it has no more inputs than outputs.
    All axes but the last count as the rows of the matrix, so that it is (fan_in, outputs). If it is not square, its
    rows or its columns, whichever are fewer, are orthonormal.

    Parameters
    ----------
    rng : numpy.random.Generator
        The generator that draws the weight.
    shape : tuple of int
        The shape of the weight, with at least one axis.
    dtype : dtype
        The dtype of the weight.

    Returns
    -------
    array
        The weight.

    Raises
    ------
    TypeError, ValueError
        If `rng` is no Generator, `shape` no shape of a weight, or `dtype` neither float32 nor float64.

    Notes
    -----
    Saxe et al. (2014), section 3.

    Examples
    --------
    >>> weight = orthogonal(np.random.default_rng(0), (5, 2), np.dtype(np.float64))
    >>> np.allclose(weight.T @ weight, np.eye(2))
    True
    """
    rng, shape, dtype = _checked(rng, shape, dtype)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    drawn = rng.standard_normal((max(rows, columns), min(rows, columns)))
    with single_threaded_blas():  # The bits of the factors depend on the number of BLAS's threads.
        q, r = np.linalg.qr(drawn)
    # Only with these signs is the distribution uniform over the orthogonal matrices.
    q *= np.sign(np.diag(r))
    return (q if rows >= columns else q.T).reshape(shape).astype(dtype)


def fan_in_uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    r"""Draw from the uniform distribution on :math:`[-a, a)` with :math:`a = 1 / \sqrt{\text{fan in}}`.

    Parameters
    ----------
    rng : numpy.random.Generator
        The generator that draws the weight.
    shape : tuple of int
        The shape of the weight, with at least two axes.
    dtype : dtype
        The dtype of the weight.

    Returns
    -------
    array
        The weight.

    Raises
    ------
    TypeError, ValueError
        If `rng` is no Generator, `shape` no shape of a weight, or `dtype` neither float32 nor float64.

    Notes
    -----
    This is how PyTorch's convolutions and linear layers start. LeCun et al. (1998), Efficient backprop, section 4.6,
    have a bound that is larger by the factor :math:`\sqrt 3`.

    Examples
    --------
    >>> weight = fan_in_uniform(np.random.default_rng(0), (100, 300), np.dtype(np.float64))
    >>> round(float(np.abs(weight).max()), 3)  # 1 / sqrt(100)
    0.1
    """
    rng, shape, dtype = _checked(rng, shape, dtype, axes=2)
    limit = 1 / math.sqrt(_fans(shape)[0])
    return rng.uniform(-limit, limit, shape).astype(dtype)


def identity(rest: Initializer = fan_in_uniform) -> Initializer:
    """Return the initializer of a weight whose first outputs repeat the inputs, as far as there are both.

    With n inputs and m outputs, each of the first min(n, m) outputs is the input of the same number. In a convolution
    the weight of 1 lies at the centre of the kernel. In a convolution with groups, n counts the inputs of one group,
    since an initializer does not see groups. Then only outputs of the first group repeat inputs of their own number.

    Parameters
    ----------
    rest : callable, default fan_in_uniform
        The initializer that draws the weight first; its other outputs stay. What it returns is not changed.

    Returns
    -------
    callable
        The initializer ``(rng, shape, dtype) -> array``.

    Raises
    ------
    TypeError, ValueError
        If `rest` is no function of such arguments; from the initializer, for arguments that it cannot take.

    Notes
    -----
    Jordan (2024), 94% on CIFAR-10 in 3.29 seconds on a single GPU, section 3.3. Zagoruyko and Komodakis (2017),
    DiracNets, call such a weight a Dirac.

    Examples
    --------
    >>> weight = identity(zeros)(np.random.default_rng(0), (3, 3, 1, 2), np.dtype(np.float64))
    >>> weight[:, :, 0, 0]
    array([[0., 0., 0.],
           [0., 1., 0.],
           [0., 0., 0.]])
    """
    check_callable("rest", rest, takes="rng, shape, dtype")

    def initializer(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        rng, shape, dtype = _checked(rng, shape, dtype, axes=2)
        drawn = rest(rng, shape, dtype)
        if not isinstance(drawn, np.ndarray) or drawn.shape != shape or drawn.dtype != dtype:
            raise TypeError(f"rest must return an array of shape {shape} and dtype {dtype}, got {describe(drawn)}")
        weight = drawn.copy()
        centre: tuple[Any, ...] = tuple((length - 1) // 2 for length in shape[:-2])
        passed = np.arange(min(shape[-2:]))
        weight[..., passed] = 0
        weight[(*centre, passed, passed)] = 1
        return weight

    return initializer
