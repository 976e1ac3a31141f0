"""The losses: by the definition, by numeric gradients, and what they refuse."""

import math

import numpy as np
import pytest
from helpers.numeric import numeric_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from allconv import BinaryCrossEntropy, Huber, MeanAbsoluteError, MeanSquaredError, SoftmaxCrossEntropy

WEIGHTS = [1.0, 2.0, 0.5, 0.0, 3.0]


def cross_entropy_reference(scores, rows, weights, smoothing):
    """Return -sum_k w_k q_k log p_k of each example."""
    values = []
    for s, t in zip(scores.tolist(), rows.tolist(), strict=True):
        log_total = math.log(math.fsum(math.exp(v) for v in s))
        q = [(1 - smoothing) * p + smoothing / len(t) for p in t]
        values.append(-math.fsum(w * a * (v - log_total) for w, a, v in zip(weights, q, s, strict=True)))
    return values


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["labels", "rows", "ignored"])
def test_cross_entropy_by_the_definition(smoothing, weights, reduction, kind):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, 5)) * 3
    labels = np.array([4, 0, 1, 1, 3, 2])
    rows = rng.dirichlet(np.ones(5), 6) if kind == "rows" else np.eye(5)[labels]
    w = weights or [1.0] * 5
    values = cross_entropy_reference(scores, rows, w, smoothing)
    counted = [True] * 6
    if kind == "ignored":
        counted[1] = counted[4] = False
        labels[[1, 4]] = -7
    expected = np.where(counted, values, 0)
    if reduction != "none":
        expected = math.fsum(expected)
    if reduction == "mean":
        of_labels = math.fsum(w[label] for label, c in zip(labels, counted, strict=True) if c)
        expected /= 6 if kind == "rows" else of_labels
    loss = SoftmaxCrossEntropy(
        label_smoothing=smoothing,
        class_weight=weights,
        ignore_index=-7 if kind == "ignored" else None,
        reduction=reduction,
    )
    target = rows if kind == "rows" else labels
    result, gradient = loss(scores, target)
    assert isinstance(result, np.ndarray if reduction == "none" else float)
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    numeric = numeric_gradient(lambda s: np.sum(loss(s, target)[0]), scores)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7)
    # Axes between the examples and the classes change nothing but the shape.
    between = target.reshape(2, 1, 3, 5) if kind == "rows" else target.reshape(2, 1, 3)
    result_between, gradient_between = loss(scores.reshape(2, 1, 3, 5), between)
    assert np.shape(result_between) == ((2, 1, 3) if reduction == "none" else ())
    np.testing.assert_array_equal(np.ravel(result_between), np.ravel(result))
    np.testing.assert_array_equal(gradient_between.reshape(6, 5), gradient)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_cross_entropy_of_scores_of_ten_thousand(dtype):
    scores = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], dtype)
    value, gradient = SoftmaxCrossEntropy()(scores, np.array([0, 1]))
    assert value == pytest.approx(1e4, rel=1e-3)  # 0 for the first, 20,000 for the second
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, np.array([[0, 0, 0], [0.5, -0.5, 0]], dtype))


def test_a_class_may_be_ruled_out_by_minus_infinity():
    value, gradient = SoftmaxCrossEntropy()(np.array([[0.0, -np.inf, 0.0]]), np.array([2]))
    assert value == pytest.approx(math.log(2))
    np.testing.assert_allclose(gradient, [[0.5, 0, -0.5]])


def test_a_sum_of_many_float16_losses_does_not_overflow():
    value, gradient = SoftmaxCrossEntropy(reduction="sum")(np.tile(np.float16([0, 2000]), (100, 1)), np.zeros(100, int))
    assert value == 200_000
    assert np.isfinite(gradient).all()


def test_float64_rows_and_any_integer_labels_go_with_float32_scores():
    scores = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, 1])
    expected = SoftmaxCrossEntropy()(scores, labels)
    for target in (np.eye(3)[labels], labels.astype(np.uint8), labels.astype(">i2"), labels.tolist()):
        value, gradient = SoftmaxCrossEntropy()(scores, target)
        assert value == expected[0]
        assert gradient.dtype == np.float32
        np.testing.assert_array_equal(gradient, expected[1])


def test_all_labels_ignored():
    """A mean over nothing raises, where PyTorch returns NaN; a sum over nothing is 0."""
    scores, labels = np.zeros((2, 3)), np.array([-1, -1])
    with pytest.raises(ValueError, match="target must hold a label that is not ignored"):
        SoftmaxCrossEntropy(ignore_index=-1)(scores, labels)
    value, gradient = SoftmaxCrossEntropy(ignore_index=-1, reduction="sum")(scores, labels)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    with pytest.raises(ValueError, match="whose class weight is not 0"):
        SoftmaxCrossEntropy(class_weight=[1, 1, 0])(scores, np.array([2, 2]))


LABELS_OR_ROWS = "target must be integer labels (N,) or rows of floating probabilities (N, K), got"
PROBABILITIES = "target must be rows of non-negative probabilities whose sum is 1, got "
SHAPE, BATCH = "scores must have shape (N, K), got", "scores must be a batch of at least one example"
FLOATING = "must be an array of real floating dtype"
TWO = np.zeros((2, 3))
LABELS = np.array([0, 1])
MAPS = np.zeros((2, 2, 2, 3))
REFUSED = [
    (MAPS, np.full((2, 2, 2), 3), ValueError, "target must be labels in 0 to 2, got 3 at index (0, 0, 0)"),
    (MAPS, np.zeros((2, 2, 3), int), ValueError, "target must have shape (2, 2, 2) as scores have 8 rows"),
    (MAPS, MAPS, ValueError, "target must be rows of non-negative probabilities"),
    (TWO, np.array([0, 2**63], np.uint64), ValueError, f"target must be labels in 0 to 2, got {2**63} at index 1"),
    (np.zeros(3), LABELS[:1], ValueError, SHAPE),
    (np.zeros((2, 1, 1, 3)), LABELS, ValueError, "target must be integer labels of shape (2, 1, 1) or"),
    (np.zeros((0, 3)), np.zeros(0, int), ValueError, BATCH),
    (np.zeros((2, 3), int), LABELS, TypeError, f"scores {FLOATING}"),
    (TWO, np.array([0, 3]), ValueError, "target must be labels in 0 to 2, got 3 at index 1"),
    (TWO, np.array([-1, 0]), ValueError, "target must be labels in 0 to 2, got -1 at index 0"),
    (TWO, np.array([0]), ValueError, "target must have shape (2,) as scores have 2 rows, got"),
    *((TWO, np.array(t), TypeError, LABELS_OR_ROWS) for t in ([0.0, 1.0], [True, False], ["a", "b"], [[0, 1, 0]] * 2)),
    *((TWO, t, ValueError, LABELS_OR_ROWS) for t in (np.zeros((2, 3, 1)), np.int64(1), None)),
    (TWO, np.eye(2), ValueError, "target must have shape (2, 3) as the scores, got"),
    (TWO, TWO, ValueError, PROBABILITIES),
    (TWO, np.array([[1, 0, 0], [0.5, 0.6, 0]]), ValueError, PROBABILITIES + "[0.5, 0.6, 0.0] at index 1"),
    *(
        (TWO[:1], np.array([row]), ValueError, PROBABILITIES)
        for row in ([1.5, -0.5, 0], [np.nan, 1, 0], [np.inf, 1, 0], [np.inf, -np.inf, 0])
    ),
]
REFUSED_SQUARES = [
    (TWO, np.zeros((2, 1)), ValueError, "target must have shape (2, 3) as the scores, got"),
    (TWO, np.zeros(3), ValueError, "target must have shape (2, 3) as the scores, got"),
    (TWO, np.zeros((2, 3), int), TypeError, f"target {FLOATING}"),
    (TWO, None, TypeError, f"target {FLOATING}"),
    (np.zeros((2, 3), int), TWO, TypeError, f"scores {FLOATING}"),
    (np.zeros((0, 3)), np.zeros((0, 3)), ValueError, BATCH),
]


@pytest.mark.parametrize(
    ("loss", "scores", "target", "error", "message"),
    [(SoftmaxCrossEntropy(), *row) for row in REFUSED] + [(MeanSquaredError(), *row) for row in REFUSED_SQUARES],
)
def test_a_batch_that_does_not_fit_is_refused(loss, scores, target, error, message):
    with pytest.raises(error) as caught:
        loss(scores, target)
    assert str(caught.value).startswith(message)


def test_cross_entropy_refuses_what_does_not_fit_its_arguments():
    with pytest.raises(ValueError, match=r"target must be integer labels where ignore_index is set, got"):
        SoftmaxCrossEntropy(ignore_index=0)(np.zeros((1, 2)), np.array([[0.5, 0.5]]))
    with pytest.raises(ValueError, match=r"scores must have 3 columns, as class_weight, got"):
        SoftmaxCrossEntropy(class_weight=[1, 1, 1])(np.zeros((1, 2)), np.array([0]))


def test_class_weight_is_a_copy():
    weights = np.array([1.0, 2.0])
    loss = SoftmaxCrossEntropy(class_weight=weights)
    weights[0] = 100
    assert loss.class_weight.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2, 2), (5,)])
def test_mean_squared_error(reduction, shape):
    rng = np.random.default_rng(4)
    scores, target = rng.normal(size=shape), rng.normal(size=shape)
    loss = MeanSquaredError(reduction=reduction)
    value, gradient = loss(scores, target)
    squares = [(s - t) ** 2 for s, t in zip(scores.ravel().tolist(), target.ravel().tolist(), strict=True)]
    total = math.fsum(squares)
    expected = {"mean": total / len(squares), "sum": total, "none": np.reshape(squares, shape)}[reduction]
    assert isinstance(value, np.ndarray if reduction == "none" else float)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    numeric = numeric_gradient(lambda s: np.sum(loss(s, target)[0]), scores)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_mean_squared_error_keeps_the_scores_dtype(dtype):
    value, gradient = MeanSquaredError()(np.full((2, 3), 300, dtype), np.zeros((2, 3)))
    assert value == 90_000  # more than a float16 can hold
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, 100)


# The other losses of one number an element

NUMBERS = st.floats(-50, 50)
ELEMENTWISE = {
    "mse_loss": (MeanSquaredError, {}),
    "l1_loss": (MeanAbsoluteError, {}),
    "huber_loss": (Huber, {"delta": 1.5}),
    "binary_cross_entropy_with_logits": (BinaryCrossEntropy, {}),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ELEMENTWISE)
@settings(deadline=None, max_examples=50)
@given(data=st.data(), shape=array_shapes(min_dims=1, max_dims=4, max_side=4))
def test_elementwise_losses_as_torch(name, reduction, data, shape):
    torch = pytest.importorskip("torch")
    kind, options = ELEMENTWISE[name]
    loss = kind(**options, reduction=reduction)
    scores = data.draw(arrays(np.float64, shape, elements=NUMBERS))
    target = data.draw(arrays(np.float64, shape, elements=st.floats(0, 1) if kind is BinaryCrossEntropy else NUMBERS))
    weights = data.draw(st.none() | arrays(np.int64, shape[:1], elements=st.integers(0, 3)).filter(np.any))
    ours = loss(scores, target, weights)
    tensor = torch.tensor(scores, requires_grad=True)
    function = getattr(torch.nn.functional, name)
    theirs = function(tensor, torch.tensor(target), reduction="none", **options)
    factor = np.ones(shape) if weights is None else np.broadcast_to(weights.reshape(-1, *[1] * (len(shape) - 1)), shape)
    theirs = theirs * torch.tensor(factor.astype(float))
    if weights is None:  # PyTorch's own reduction
        theirs = function(tensor, torch.tensor(target), reduction=reduction, **options)
    elif reduction != "none":
        theirs = theirs.sum() / (factor.sum() if reduction == "mean" else 1)
    theirs.sum().backward()
    np.testing.assert_allclose(ours[0], theirs.detach().numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours[1], tensor.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_binary_cross_entropy_of_large_logits(dtype):
    value, gradient = BinaryCrossEntropy(reduction="sum")(np.array([[1e4, -1e4, 1e4]], dtype), np.array([[1.0, 0, 0]]))
    assert value == pytest.approx(1e4, rel=1e-3)
    assert gradient.dtype == dtype
    assert gradient.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("wrong", [1.5, -0.1, np.nan])
def test_a_target_that_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match=rf"target must hold numbers in \[0, 1\], got {wrong:g}"):
        BinaryCrossEntropy()(np.zeros((1, 2)), np.array([[0.5, wrong]]))


def test_targets_with_one_axis_more_or_less_than_the_scores_are_told_what_to_do():
    with pytest.raises(ValueError, match=r"target must have shape \(4, 1\) .*: target\[\.\.\., None\]"):
        MeanSquaredError()(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(ValueError, match=r"target must have shape \(4,\) .*: target\[\.\.\., 0\]"):
        MeanSquaredError()(np.zeros(4), np.zeros((4, 1)))


def test_unsigned_labels_may_be_ignored():
    labels = np.array([0, 2**64 - 1], np.uint64)
    value, _ = SoftmaxCrossEntropy(ignore_index=2**64 - 1)(np.zeros((2, 3)), labels)
    assert value == pytest.approx(math.log(3))


# The divisor, which sums over several batches need


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_divisor_of_the_mean(reduction):
    labels = np.array([4, 0, -7, 1])
    assert SoftmaxCrossEntropy(reduction=reduction).divisor(np.array([0, 1, 1])) == 3
    assert SoftmaxCrossEntropy(ignore_index=-7, reduction=reduction).divisor(labels) == 3
    assert SoftmaxCrossEntropy(class_weight=WEIGHTS, ignore_index=-7).divisor(labels) == 3 + 1 + 2
    assert SoftmaxCrossEntropy(class_weight=WEIGHTS).divisor(np.eye(5)[:4]) == 4
    assert SoftmaxCrossEntropy(ignore_index=0).divisor(np.zeros((2, 3, 3), int)) == 0
    assert MeanSquaredError(reduction=reduction).divisor(np.zeros((2, 3))) == 6
    with pytest.raises(ValueError, match="target must be labels in 0 to 4, got -7 at index 2"):
        SoftmaxCrossEntropy(class_weight=WEIGHTS).divisor(labels)


# Numbers: float16, long batches, what does not fit


def test_the_float16_gradient_of_many_rows():
    """Their number, 70,000, is more than a float16 holds: all gradients were 0."""
    scores = np.zeros((70_000, 2), np.float16)
    value, gradient = SoftmaxCrossEntropy()(scores, np.zeros(70_000, int))
    assert value == pytest.approx(math.log(2), rel=1e-6)
    np.testing.assert_allclose(gradient[0], [-0.5 / 70_000, 0.5 / 70_000], rtol=0.01)
    value, gradient = MeanSquaredError()(np.full(70_000, 200, np.float16), np.zeros(70_000))
    assert value == 40_000
    np.testing.assert_allclose(gradient, 400 / 70_000, rtol=1e-3)
    assert MeanSquaredError()(np.full(1, 6e4, np.float16), np.full(1, -6e4))[0] == pytest.approx(1.44e10, rel=1e-3)


@pytest.mark.parametrize("constant", [False, True])
def test_float32_losses_over_ten_million_numbers_keep_their_digits(constant):
    rng = np.random.default_rng(8)
    scores = np.full((5_000_000, 2), 0.1, np.float32) if constant else rng.normal(size=(5_000_000, 2)).astype("f4")
    labels = np.arange(len(scores)) % 2
    s = scores.astype(np.float64)
    expected = np.logaddexp(s[:, 0], s[:, 1]).mean() - (s[::2, 0].sum() + s[1::2, 1].sum()) / len(s)
    value, gradient = SoftmaxCrossEntropy()(scores, labels)
    assert value == pytest.approx(expected, rel=3e-7)
    p = 1 / (1 + np.exp(s[:, 1] - s[:, 0]))
    np.testing.assert_allclose(gradient[::2, 0] * len(s), p[::2] - 1, rtol=1e-6, atol=3e-7)
    value, _ = MeanSquaredError()(scores, np.zeros_like(scores))
    assert value == pytest.approx((s * s).mean(), rel=3e-7)


@pytest.mark.parametrize("order", ["C", "F"])
def test_float32_losses_over_a_million_classes_keep_their_digits(order):
    scores = np.full((2, 1_000_000), 0.1, np.float32, order=order)
    value, gradient = SoftmaxCrossEntropy()(scores, np.array([0, 1]))
    assert value == pytest.approx(math.log(1e6), rel=3e-7)
    np.testing.assert_allclose(gradient[0, 1:], 0.5e-6, rtol=3e-6)


def test_a_target_or_weight_that_float32_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"target must hold numbers that fit into float32, .* 1e\+39"):
        MeanSquaredError()(np.zeros((1, 2), np.float32), np.array([[1.0, 1e39]]))
    with pytest.raises(ValueError, match=r"class_weight must hold numbers that fit into float32, .* 1e\+39"):
        SoftmaxCrossEntropy(class_weight=[1, 1e39])(np.zeros((1, 2), np.float32), np.array([0]))


@pytest.mark.parametrize("scale", [1e-290, 1e-50, 1e-40, 1e39, 1e290])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "loss", [SoftmaxCrossEntropy(label_smoothing=0.1), *(kind(**options) for kind, options in ELEMENTWISE.values())]
)
def test_a_mean_does_not_depend_on_the_scale_of_the_weights(loss, dtype, scale):
    scores, target = np.array([[2, -1], [0.5, 1]], dtype), np.array([[1.0, 0.0], [0.0, 1.0]])
    value, gradient = loss(scores, target, np.array([1.0, 3.0]))
    scaled_value, scaled_gradient = loss(scores, target, scale * np.array([1.0, 3.0]))
    assert scaled_value == pytest.approx(value, rel=1e-6)
    assert scaled_gradient.dtype == dtype
    np.testing.assert_allclose(scaled_gradient, gradient, rtol=1e-3 if dtype == np.float16 else 1e-6, atol=1e-7)


def test_a_mean_does_not_depend_on_the_scale_of_the_class_weights():
    """Only the ignored label has a weight that float32 can hold."""
    loss = SoftmaxCrossEntropy(class_weight=[1.0, 1e-50, 3e-50], ignore_index=0)
    expected = SoftmaxCrossEntropy(class_weight=[1.0, 1.0, 3.0], ignore_index=0)
    scores, labels = np.eye(3, dtype=np.float32), np.array([0, 1, 2])
    np.testing.assert_allclose(loss(scores, labels)[1], expected(scores, labels)[1], rtol=1e-6)
    assert loss(scores, labels)[0] == pytest.approx(expected(scores, labels)[0], rel=1e-6)


@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, MeanSquaredError])
def test_weights_that_a_loss_cannot_hold_are_refused(kind):
    scores, target = np.zeros((2, 2), np.float32), np.eye(2)
    for weight in (1e-310, 1e308):
        with pytest.raises(ValueError, match=r"weights must be 0 or have a sum from 1e-300 to 1e\+300, got "):
            kind()(scores, target, np.full(2, weight))
    with pytest.raises(ValueError, match=r"weights must hold numbers that fit into float32, .* 1e\+39"):
        kind(reduction="sum")(scores, target, np.array([1, 1e39]))


@pytest.mark.parametrize("bad", [np.inf, np.nan, 3e38])
def test_scores_that_are_not_finite_show_in_the_value_without_a_warning(bad):
    scores = np.array([[bad, -bad]], np.float32)
    value, _ = MeanSquaredError()(scores, -scores)
    assert not math.isfinite(value) or value > 1e76
    value, gradient = SoftmaxCrossEntropy()(scores, np.array([1]))
    assert not math.isfinite(value) or value > 1e38
    assert gradient.shape == (1, 2)


def test_assignments_are_checked_as_in_the_constructor():
    loss = SoftmaxCrossEntropy()
    for name, value in (("label_smoothing", 2), ("class_weight", [-1]), ("ignore_index", 1.5), ("reduction", "max")):
        before = getattr(loss, name)
        with pytest.raises((TypeError, ValueError), match=f"{name} must be "):
            setattr(loss, name, value)
        assert getattr(loss, name) is before
    loss.class_weight = [1, 3]
    assert loss(np.zeros((2, 2)), np.array([0, 1]))[0] == pytest.approx(math.log(2))
    assert loss.divisor(np.array([0, 1])) == 4
