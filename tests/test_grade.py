"""`gradcheck.grade` passes what is right, and says of a wrong function what is wrong with it."""

import numpy as np
import pytest
from helpers.planted_mistakes import mistakes
from helpers.registry import every_layer
from helpers.students import copy_package, functions_of, import_planted

import allconv as ac
from allconv.gradcheck import grade

DOUBLE = {"dtype": np.float64}


@every_layer
@pytest.mark.filterwarnings("error")
def test_the_library_s_own_layers_pass(case, options):
    layer = case.build(**options)
    found = grade(*functions_of(layer), like=layer, x=np.random.default_rng(3).standard_normal(case.shape))
    assert found.passed, str(found)
    assert found
    assert found.words.startswith("Right")


def linear(x, weight, bias):
    return x @ weight + bias, (x, weight)


def linear_backward(dy, cache):
    x, weight = cache
    return dy @ weight.T, x.T @ dy, dy.sum(axis=0)


def relu(x):
    return np.maximum(x, 0), x


def changed(backward, change):
    """Return a backward function that returns ``change(results, dy, cache)``."""
    return lambda dy, cache: change(backward(dy, cache), dy, cache)


def linear_with(change):
    return linear, changed(linear_backward, change)


def tanh(x):
    y = np.tanh(x)
    return y, y


def convolve(x, weight, bias):
    """A convolution with padding "valid", in six loops."""
    kh, kw = weight.shape[:2]
    y = np.zeros((len(x), x.shape[1] - kh + 1, x.shape[2] - kw + 1, weight.shape[3]))
    for i, j in np.ndindex(*y.shape[1:3]):
        y[:, i, j] = np.tensordot(x[:, i : i + kh, j : j + kw], weight, 3) + bias
    return y, (x, weight)


def convolve_backward(dy, cache, *, add=True, flip=False):
    x, weight = cache
    kh, kw = weight.shape[:2]
    dx, dweight = np.zeros_like(x), np.zeros_like(weight)
    kernel = weight[::-1, ::-1] if flip else weight
    for i, j in np.ndindex(*dy.shape[1:3]):
        window = np.s_[:, i : i + kh, j : j + kw]
        part = np.tensordot(dy[:, i, j], kernel, (1, 3))
        dx[window] = part + (dx[window] if add else 0)
        dweight += np.tensordot(x[window], dy[:, i, j], (0, 0))
    return dx, dweight, dy.sum(axis=(0, 1, 2))


def max_pool(x):
    y = x.reshape(len(x), 3, 2, 3, 2, x.shape[3]).max(axis=(2, 4))
    return y, (x, y)


def max_pool_of_zeros(x):
    padded = np.pad(x, ((0, 0), (1, 1), (0, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    return windows.max(axis=(4, 5)), x


def mean_over(*axes):
    def forward(x):
        return x.mean(axis=axes), x.shape

    return forward


SQUARE = ac.Linear(4, 4, rng=np.random.default_rng(0))
VALID = ac.Conv2D(4, 4, 3, padding="valid")
AVERAGE = ac.GlobalAveragePool2D()


def average_backward(dy, shape):
    return np.broadcast_to(dy[:, None, None], shape) / (shape[1] * shape[2])


WRONG = {
    "a transposed weight": (
        *(*linear_with(lambda r, dy, c: (dy @ c[1], *r[1:])), SQUARE),
        "dx is wrong: the weight is transposed",
    ),
    "a transposed gradient": (
        *(*linear_with(lambda r, dy, c: (r[0], r[1].T, r[2])), SQUARE),
        "dweight is wrong: it is transposed",
    ),
    "a transposed gradient of another shape": (
        *(*linear_with(lambda r, dy, c: (r[0], r[1].T, r[2])), ac.Linear(4, 6)),
        "dweight must have shape (4, 6), got (6, 4): it is transposed",
    ),
    "not summed over the batch": (
        *(*linear_with(lambda r, dy, c: (*r[:2], dy)), SQUARE),
        "(4,), got (3, 4): the sum over the axis N is missing, so it is not summed over the batch",
    ),
    "one example for all": (
        *(*linear_with(lambda r, dy, c: (*r[:2], dy[0])), SQUARE),
        "dbias is wrong: the first example counts alone, so it is not summed over the batch",
    ),
    "a mean and a transpose": (
        *(*linear_with(lambda r, dy, c: (r[0], r[1].T / len(dy), r[2])), SQUARE),
        "it is transposed, with the axes inputs and outputs exchanged; beside that its norm is 0.3333 of the right one",
    ),
    "another order": (
        *(*linear_with(lambda r, dy, c: (r[0], r[2], r[1])), ac.Linear(4, 6)),
        "dweight must have shape (4, 6), got (6,): the numbers are those of dbias",
    ),
    "a remainder dropped": (
        *(*linear_with(lambda r, dy, c: (r[0], c[0][:2].T @ dy[:2], r[2])), SQUARE),
        "dweight is wrong: the last example of dy is left out, a remainder that is dropped",
    ),
    "the wrong sign": (*linear_with(lambda r, dy, c: (-r[0], *r[1:])), SQUARE, "dx is wrong: its sign is the opposite"),
    "nothing": (*linear_with(lambda r, dy, c: (0 * r[0], *r[1:])), SQUARE, "dx is wrong: it is zero everywhere"),
    "no bias": (lambda x, w, b: (x @ w, (x, w)), linear_backward, SQUARE, "y is wrong: bias is never added"),
    "the mask of dy": (relu, lambda dy, x: dy * (dy > 0), ac.ReLU(), "the mask is taken from the wrong array, dy"),
    "no mask": (relu, lambda dy, x: dy, ac.ReLU(), "dx is wrong: it is dy * 1; dy comes through unchanged"),
    "a square forgotten": (tanh, lambda dy, y: dy * (1 - y), ac.Tanh(), "dx is wrong: it is dy * (1 - y); a square is"),
    "a factor H W": (
        *(mean_over(1, 2), lambda dy, shape: average_backward(dy, shape) * 42, AVERAGE),
        "the factor 1 / 42 is missing, where 42 is the number of positions H * W",
    ),
    "one axis": (
        *(mean_over(1), average_backward, AVERAGE),
        "y must have shape (3, 4), got (3, 6, 4): the mean over the axis 1 is missing",
    ),
    "axes of length 1": (
        *(lambda x: (x.mean(axis=(1, 2), keepdims=True), x.shape), average_backward, AVERAGE),
        "y must have shape (3, 4), got (3, 1, 1, 4): the numbers are right",
    ),
    "a flipped kernel": (
        *(convolve, lambda dy, c: convolve_backward(dy, c, flip=True), VALID),
        "dx is wrong: the kernel is flipped along height and width",
    ),
    "windows overwritten": (
        *(convolve, lambda dy, c: convolve_backward(dy, c, add=False), VALID),
        "dx is wrong: where windows overlap, one overwrites the other",
    ),
    "no padding": (convolve, convolve_backward, ac.Conv2D(4, 4, 3), "got (5, 5, 4, 4): there is no padding"),
    "all of a window": (
        *(max_pool, lambda dy, c: np.repeat(np.repeat(dy, 2, axis=1), 2, axis=2), ac.MaxPool2D(2)),
        "dx is wrong: each input of a window gets the whole dy",
    ),
    "a padding of zeros": (
        *(max_pool_of_zeros, lambda dy, x: x, ac.MaxPool2D(3, stride=2, padding="same")),
        "y is wrong: the zeros of the padding count as numbers",
    ),
    "rows dropped": (
        *(lambda x: (np.concatenate([relu(x[:-1])[0], 0 * x[-1:]]), x), lambda dy, x: dy * (x > 0), ac.ReLU()),
        "y is wrong: only the last 1 of 3 along the axis N are wrong, which are zero: a remainder is dropped",
    ),
    "a fault that nobody knows": (
        *(relu, lambda dy, x: dy * np.cos(x), ac.ReLU()),
        "dx is wrong in a way that is not among the known mistakes: its cosine with the right array is ",
    ),
}


@pytest.mark.parametrize(("forward", "backward", "like", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_function_is_told_what_is_wrong(forward, backward, like, words):
    x = np.random.default_rng(5).standard_normal((3, 6, 6, 4)) if forward is max_pool else None
    found = grade(forward, backward, like=like, x=x)
    assert not found.passed
    assert words in found.words
    assert found.words in str(found)


def writes_to_x(x):
    x *= x > 0
    return x, x


def fails(dy, cache):
    return dy[17]


ERRORS = {
    "raises in forward": (lambda x: x @ x, fails, "forward(x) raised ValueError: matmul"),
    "raises in backward": (relu, fails, "raised IndexError: index 17 is out of bounds"),
    "the line": (relu, fails, "return dy[17]"),
    "too few arguments": (lambda: 0, fails, "forward(x) raised TypeError: "),
    "no cache": (lambda x: np.maximum(x, 0), fails, "forward(x) must return the pair (y, cache), got an array"),
    "too many results": (relu, lambda dy, x: (dy, dy), "backward(dy, cache) must return dx, got "),
    "no array": (lambda x: ("y", x), fails, "y must be an array of floating numbers, forward returned 'y'"),
    "whole numbers": (relu, lambda dy, x: (x > 0).astype(int), "dx must be an array of floating numbers, backward"),
    "NaN": (relu, lambda dy, x: np.where(x > 2, np.nan, dy * (x > 0)), "dx has numbers that are NaN or infinite"),
    "another shape": (relu, lambda dy, x: (dy * (x > 0))[:, 0], "dx must have shape (3, 7, 6, 4), got (3, 6, 4)"),
    "writes to x": (writes_to_x, lambda dy, y: dy * (y > 0), "forward: it writes to x."),
    "writes to dy": (relu, lambda dy, x: np.multiply(dy, x > 0, out=dy), "backward: it writes to dy."),
    "consumes its cache": (
        *(lambda x: (np.maximum(x, 0), [x]), lambda dy, cache: dy * (cache.pop() > 0)),
        "backward: it writes to cache",
    ),
    "float32": (lambda x: (relu(x)[0].astype(np.float32), x), lambda dy, x: dy * (x > 0), "it returns float32"),
}


@pytest.mark.parametrize(("forward", "backward", "words"), ERRORS.values(), ids=ERRORS)
def test_an_error_of_a_student_is_said_in_words(forward, backward, words):
    found = grade(forward, backward, like=ac.ReLU())
    assert not found.passed
    assert words in found.words


def test_a_function_that_works_only_once():
    calls = []

    def backward(dy, x):
        calls.append(1)
        assert len(calls) < 2, "again"
        return dy * (x > 0)

    assert "Called again, they raised AssertionError: again" in grade(relu, backward, like=ac.ReLU()).words


def test_a_function_that_writes_to_its_arguments_spoils_no_other_finding():
    def backward(dy, x):
        dy *= dy > 0
        x *= 0
        return dy

    words = grade(relu, backward, like=ac.ReLU()).words
    assert "it writes to dy, cache" in words
    assert "the mask is taken from the wrong array, dy" in words


def test_the_gradient_of_another_function_is_no_fault_of_backward():
    found = grade(*functions_of(ac.Softmax(axis=0)), like=ac.Softmax())
    assert found.faults == (
        "y is wrong: it runs over the axis 0, the batch.",
        "backward is the gradient of this forward function, so only forward has to be mended.",
    )


def test_a_layer_whose_backward_pass_is_no_gradient():
    like = ac.Skip(ac.ELU(), scale=0.3, in_forward=False)
    assert "is not the gradient of its own forward pass" in grade(*functions_of(like), like=like).words


def test_the_table_compares_times_and_training():
    found = grade(linear, linear_backward, like=SQUARE)
    rows = {(row.what, row.check): row for row in found.rows}
    assert {what for what, _ in rows} >= {"y", "dx", "dweight", "forward", "backward", "training"}
    assert all(rows[name, "milliseconds"].ours > 0 for name in ("forward", "backward"))
    trained = rows["training", "loss after 30 steps"]
    assert trained.yours == pytest.approx(trained.ours, rel=1e-9)
    assert trained.ours < 0.5 * np.mean(np.random.default_rng(0).standard_normal((3, 2)) ** 2)
    wrong = grade(*linear_with(lambda r, dy, c: (-r[0], -r[1], -r[2])), like=SQUARE).rows[-1]
    assert wrong.status == "FAILED"
    assert wrong.yours > 2 * wrong.ours


def test_the_layer_itself_stays_as_it_is():
    like = ac.Linear(4, 3, rng=np.random.default_rng(0))
    before = like.weight.value.copy()
    grade(linear, linear_backward, like=like)
    assert np.array_equal(like.weight.value, before)
    assert like.weight.value.dtype == np.float32
    assert like.weight.grad is None


# The mistakes that the suite plants in the library, where the layer shows them in float64 and at a small batch.
def conv(ac, **options):
    return ac.Conv2D(4, 4, options.pop("kernel_size", 3), **options, **DOUBLE)


PLANTED = {
    "a bias gradient of the first example, not of all": (lambda ac: ac.Linear(4, 4, **DOUBLE), "first example counts"),
    "a weight gradient that is a mean over the batch": (
        lambda ac: ac.Linear(4, 4, **DOUBLE),
        "factor 1 / 3 is too much",
    ),
    "the bias added twice": (lambda ac: ac.Linear(4, 4, **DOUBLE), "bias is added twice"),
    "a bias that is never added": (conv, "bias is never added"),
    "a bias gradient over one row of the image": (conv, "the first row counts alone"),
    "a kernel flipped in the input's gradient": (
        lambda ac: conv(ac, stride=(3, 2), kernel_size=(3, 2), dilation=(1, 2)),
        "the kernel is flipped along its height",
    ),
    "windows that overlap added at once": (
        lambda ac: conv(ac, stride=(3, 2), kernel_size=(3, 2), dilation=(1, 2)),
        "one overwrites the other",
    ),
    "channels exchanged in the transposed weight": (lambda ac: conv(ac, algorithm="winograd"), "it is transposed"),
    "a depthwise weight gradient of the last slice alone": (
        lambda ac: conv(ac, groups=4, dilation=2),
        "the last example counts alone",
    ),
    "the odd row of 'same' at the top": (lambda ac: conv(ac, stride=2), "the odd row of padding stands at the top"),
    "vertical and horizontal padding exchanged": (lambda ac: conv(ac, padding=(1, 0)), "padding are exchanged"),
    "a window for the remainder": (lambda ac: ac.MaxPool2D(3, stride=2), "a window hangs over the end"),
    "padding that counts when it must not, and the other way": (
        lambda ac: ac.MeanPool2D(3, stride=2, padding="same"),
        "the padding counts in the divisor",
    ),
    "overlapping max windows that overwrite one another": (
        lambda ac: ac.MaxPool2D(3, stride=1),
        "one overwrites the other",
    ),
    "a max pool that forgets its dilation": (
        lambda ac: ac.MaxPool2D(2, stride=1, dilation=2),
        "the dilation is ignored",
    ),
    "a mean pool's gradient that is not divided: the article's fault": (
        lambda ac: ac.MeanPool2D(2),
        "each input of a window gets the whole dy",
    ),
    "a mean pool's gradient that forgets count_padding": (
        lambda ac: ac.MeanPool2D(3, stride=2, padding="same", count_padding=True),
        "the padding does not count in the divisor",
    ),
    "a global average's gradient that is not divided: the article's fault": (
        lambda ac: ac.GlobalAveragePool2D(),
        "the factor 1 / 42 is missing",
    ),
    "epsilon outside the root": (lambda ac: ac.BatchNorm(4, **DOUBLE), "epsilon stands outside the root"),
    "a gradient that forgets the mean": (lambda ac: ac.BatchNorm(4, **DOUBLE), "through the mean is missing"),
    "a gradient that forgets the variance": (lambda ac: ac.BatchNorm(4, **DOUBLE), "through the variance is missing"),
    "a layer normalization without the gradient through the variance": (
        lambda ac: ac.LayerNorm(4, **DOUBLE),
        "the gradient through the variance is missing",
    ),
    "a layer normalization whose scale is missing on the way back": (
        lambda ac: ac.LayerNorm(4, **DOUBLE),
        "the scale, weight, is left out",
    ),
    "ELU's derivative 2 for positive inputs: the article's fault": (lambda ac: ac.ELU(), "dy * (x > 0) is too much"),
    "ELU's derivative alpha for positive inputs": (lambda ac: ac.ELU(0.5), "0.5 * dy * (x > 0) is missing"),
    "a ReLU's mask that lets everything through": (lambda ac: ac.ReLU(), "dy comes through unchanged"),
    "a leak forgotten on the way back": (lambda ac: ac.LeakyReLU(0.2), "the slope for negative inputs is forgotten"),
    "half of the sigmoid's derivative": (lambda ac: ac.Sigmoid(), "the factor (1 - y) is missing"),
    "a product rule with one term": (lambda ac: ac.SiLU(), "the product rule has two terms"),
    "a square missing in tanh's derivative": (lambda ac: ac.Tanh(), "a square is forgotten"),
    "a softmax's gradient that is its Jacobian's diagonal": (
        lambda ac: ac.Softmax(),
        "sum over the classes is missing",
    ),
    "a log-softmax's gradient without exp": (lambda ac: ac.LogSoftmax(), "exp is missing"),
    "a softmax over the last axis, whatever is asked": (lambda ac: ac.Softmax(axis=0), "it runs over the axis 1"),
    "a shortcut whose scale is missing on the way back": (
        lambda ac: ac.Skip(ac.ELU(), scale=0.3),
        "the scale of the shortcut is forgotten",
    ),
    "a bias gradient of a transposed convolution that is a mean": (
        lambda ac: ac.ConvTranspose2D(4, 4, 3, **DOUBLE),
        "the factor 1 / 5 is too much, where 5 is the number of examples N, so it is averaged",
    ),
    "an upsampling whose gradient is always that of nearest": (
        lambda ac: ac.Upsample2D(2, "bilinear"),
        "the mode is 'nearest'",
    ),
    "a slope whose gradient counts positive inputs too": (
        lambda ac: ac.PReLU(4, **DOUBLE),
        "positive inputs count too",
    ),
    "Flatten in Fortran's order": (lambda ac: ac.Flatten(), "the right numbers in another order"),
    "a gradient that the scale does not reach": (lambda ac: ac.Scale(0.3), "the factor is forgotten"),
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("students").resolve()
        patch.syspath_prepend(folder)
        patch.setattr("sys.dont_write_bytecode", True)
        yield copy_package(folder)


@pytest.mark.planted
@pytest.mark.parametrize("what", PLANTED)
def test_a_mistake_that_is_planted_in_the_library_is_named(what, package):
    build, words = PLANTED[what]
    (mistake,) = (m for m in mistakes() if m.what == what)
    planted = import_planted(package, mistake)
    training = "BatchNorm" in repr(build(ac))
    found = grade(*functions_of(build(planted), training=training), like=build(ac), training=training)
    assert words in found.words
