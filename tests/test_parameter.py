"""Parameter: what is copied, what is shared, what is refused."""

import numpy as np
import pytest

from allconv import Parameter


def test_the_initial_value_is_a_copy_in_c_order():
    given = np.asfortranarray(np.ones((2, 3)))
    parameter = Parameter(given)
    given[...] = 5
    assert (parameter.value == 1).all()
    assert parameter.value.flags.c_contiguous


def test_assigning_copies_into_the_array_that_is_there():
    parameter = Parameter(np.zeros(3, np.float32))
    array, view, new = parameter.value, parameter.value[1:], np.array([1.0, 2.0, 3.0])
    parameter.value = new
    new[...] = 0
    assert parameter.value is array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(view, [2, 3])
    parameter.value += 1
    assert parameter.value is array
    np.testing.assert_array_equal(view, [3, 4])


def test_gradients_add_up_and_none_of_them_is_written_to():
    parameter = Parameter(np.zeros(2))
    gradients = [np.array([1.0, 2.0]), np.array([10.0, 20.0]), np.array([100.0, 200.0])]
    for gradient in gradients:
        gradient.flags.writeable = False
    copies = [gradient.copy() for gradient in gradients]
    for gradient in gradients:
        parameter.add_grad(gradient)
    np.testing.assert_array_equal(parameter.grad, [111, 222])
    first, second = np.ones(2), np.ones(2)  # writeable ones too
    parameter.grad = None
    parameter.add_grad(first)
    parameter.add_grad(second)
    parameter.add_grad(second)
    np.testing.assert_array_equal(parameter.grad, [3, 3])
    for gradient, copy in zip([*gradients, first, second], [*copies, np.ones(2), np.ones(2)], strict=True):
        np.testing.assert_array_equal(gradient, copy)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (4,)])
def test_another_shape_is_refused_and_changes_nothing(shape):
    parameter = Parameter(np.zeros(3))
    with pytest.raises(ValueError, match=r"value must have shape \(3,\), got an array of shape"):
        parameter.value = np.ones(shape)
    with pytest.raises(ValueError, match=r"grad must have shape \(3,\), got an array of shape"):
        parameter.add_grad(np.ones(shape))
    assert parameter.grad is None
    assert not parameter.value.any()


@pytest.mark.parametrize("value", [np.ones(2, int), np.ones(2, complex), None])
def test_a_value_that_is_not_real_and_floating_is_refused(value):
    parameter = Parameter(np.zeros(2))
    with pytest.raises(TypeError, match=r"value must be an array of real floating dtype, got "):
        parameter.value = value
    assert not parameter.value.any()


@pytest.mark.parametrize("flag", ["trainable", "decay"])
def test_a_flag_is_a_bool(flag):
    parameter = Parameter(np.zeros(2))
    setattr(parameter, flag, np.False_)
    assert getattr(parameter, flag) is False
    for change in (lambda: setattr(parameter, flag, "no"), lambda: Parameter(np.zeros(2), **{flag: "no"})):
        with pytest.raises(TypeError, match=f"{flag} must be True or False, got 'no'"):
            change()
    assert getattr(parameter, flag) is False


def test_the_repr():
    assert repr(Parameter(np.zeros((2, 3)))) == "Parameter(unnamed, shape=(2, 3), dtype=float64)"
    frozen = Parameter(np.zeros(1, np.float32), trainable=False, decay=False)
    frozen.name = "3.bias"
    assert repr(frozen) == "Parameter(3.bias, shape=(1,), dtype=float32, trainable=False, decay=False)"


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_only_float32_and_float64_are_trained(dtype):
    with pytest.raises(TypeError, match=r"value must be float32 or float64 to be trained, got .*astype\(np.float32\)"):
        Parameter(np.zeros(2, dtype))
    parameter = Parameter(np.zeros(2, np.float32))
    parameter.value = np.array([1, 2], dtype)
    assert parameter.value.dtype == np.float32
    np.testing.assert_array_equal(parameter.value, [1, 2])


def test_a_value_that_the_dtype_cannot_hold_is_refused_and_changes_nothing():
    parameter = Parameter(np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"value must hold numbers that fit into float32, .* 1e\+39"):
        parameter.value = np.array([1.0, 1e39])
    assert not parameter.value.any()


def test_a_gradient_may_be_a_list_and_anything_else_is_refused_by_name():
    parameter = Parameter(np.zeros(2))
    parameter.add_grad([1.0, 2.0])
    parameter.add_grad(np.ones(2))
    np.testing.assert_array_equal(parameter.grad, [2, 3])
    for wrong in (None, "ab", [1, 2], np.ones(2, complex), object()):
        with pytest.raises(TypeError, match="grad must be an array of real floating dtype, got "):
            parameter.add_grad(wrong)
    np.testing.assert_array_equal(parameter.grad, [2, 3])
