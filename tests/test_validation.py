"""The argument checks themselves: numbers, arrays and their descriptions at the edges of what Python and NumPy hold."""

from fractions import Fraction

import numpy as np
import pytest

import allconv as ac
from allconv.validation import check_array, check_batch, check_floating, check_real, describe

HUGE = {"int": 10**400, "negative": -(10**400), "fraction": Fraction(10**400), "not printed": 10**5000}


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE)
def test_a_number_too_large_for_a_float_is_out_of_range(value):
    with pytest.raises(ValueError, match="rate must be a finite number, got "):
        check_real("rate", value)


def test_a_fraction_of_huge_numbers_is_still_a_number():
    assert check_real("rate", Fraction(10**400, 2 * 10**400)) == 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda huge: ac.schedules.constant(huge),
        lambda huge: ac.schedules.constant(0.1)(huge),
        lambda huge: ac.SGD([ac.Parameter(np.zeros(1))], huge),
        lambda huge: ac.SoftmaxCrossEntropy(label_smoothing=huge),
        lambda huge: ac.clip_grad_value([ac.Parameter(np.zeros(1))], huge),
        lambda huge: ac.Dropout(huge),
        lambda huge: ac.ELU(huge),
    ],
)
def test_no_public_name_lets_an_overflow_error_through(call):
    with pytest.raises(ValueError, match="must be a.* number.*, got 1000"):
        call(10**400)


@pytest.mark.parametrize("value", [2**40, 2**63, 10**400])
@pytest.mark.parametrize(
    "call",
    [
        lambda count: ac.profile(ac.ReLU(), np.ones((1, 2)), runs=count),
        lambda count: ac.Muon([ac.Parameter(np.ones((2, 2)))], iterations=count),
        lambda count: ac.models.residual_net(count),
        lambda count: list(ac.article.published_orders(count, 1)),
    ],
)
def test_a_count_that_would_take_for_ever_is_refused(call, value):
    with pytest.raises(ValueError, match=rf" must be .*at most [\d,]+, got {str(value)[:20]}"):
        call(value)


def test_what_python_does_not_print_is_described_by_its_type():
    assert describe(10**5000) == "a value of type int"

    class Silent:
        def __repr__(self):
            raise RuntimeError("no words")

    assert describe(Silent()) == "a value of type Silent"
    with pytest.raises(TypeError, match="images must be an array of real floating dtype, got a value of type Silent"):
        check_batch("images", Silent())


@pytest.mark.parametrize("value", [[[1.0], [1.0, 2.0]], [np.zeros(2), np.zeros(3)]])
def test_rows_of_unequal_length_are_refused(value):
    with pytest.raises(TypeError, match="target must be an array, got "):
        check_array("target", value)


def test_a_tensor_that_records_gradients_is_refused_with_the_way_out():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(2, 3, requires_grad=True)
    layer, loss = ac.ReLU(), ac.SoftmaxCrossEntropy()
    for call in (
        lambda: check_floating("x", tensor),
        lambda: layer(tensor),
        lambda: loss(tensor, np.array([0, 1])),
        lambda: loss(np.zeros((2, 3)), tensor),
        lambda: ac.predict(layer, tensor),
        lambda: ac.Parameter(tensor),
        lambda: ac.data.Dataset(tensor, np.array([0, 1])),
        lambda: ac.data.Dataset(np.zeros((2, 4, 4, 3), np.uint8), tensor[:, 0]),
        lambda: ac.SoftmaxCrossEntropy(class_weight=tensor[0]),
    ):
        with pytest.raises(TypeError, match=r"must be .*, got tensor(.|\n)*detach"):
            call()
    np.testing.assert_array_equal(layer(tensor.detach()), 0)


@pytest.mark.parametrize("dtype", [np.float32, ">f4", np.float64, ">f8"])
def test_the_result_is_native_and_a_fitting_array_is_not_copied(dtype):
    given = np.array([1.0, 2.0], dtype)
    array = check_floating("x", given)
    assert array.dtype.isnative
    assert (array is given) == given.dtype.isnative
    np.testing.assert_array_equal(array, [1, 2])


def test_a_pair_or_a_data_set_in_the_place_of_an_array_is_refused_with_the_way_out():
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.arange(2)
    with pytest.raises(TypeError, match=r"images must be an array, got Dataset.*; pass .* dataset\.inputs"):
        ac.data.Standardize.fit(ac.data.Dataset(images, labels))
    with pytest.raises(
        TypeError, match="(?s)inputs must be an array, got .*; this is a pair of two arrays: pass its first"
    ):
        ac.predict(ac.Flatten(), (images, labels))
    model = ac.Sequential(ac.Flatten(), ac.Linear(48, 2))
    with pytest.raises(TypeError, match=r"(?s)scores must be an array, got .*\(y, cache\), as forward returns it"):
        ac.SoftmaxCrossEntropy()(model.forward(images / 255, training=True), labels)


def test_a_layer_that_returns_no_gradient_is_named_as_the_reason():
    with pytest.raises(TypeError, match="dy must be .*, got None; the backward pass of the layer after this one must"):
        ac.ReLU().backward(None, np.ones(2))
