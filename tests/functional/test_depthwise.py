"""Depthwise convolution against the definition: every phase of every stride, and batches of many slices."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers.reference import conv2d_reference

from allconv.functional import depthwise, tuning
from allconv.functional.geometry import Geometry


def check(geometry):
    """Compare forward with the definition; its values at other arguments fix what the gradients must be."""
    rng = np.random.default_rng(0)
    shapes = (geometry.x_shape, (*geometry.kernel, 1, geometry.out_channels))
    (x, w), (other_x, other_w) = ([rng.standard_normal(shape) for shape in shapes] for _ in range(2))
    dy = rng.standard_normal(geometry.y_shape)

    def defined(x, w):
        return conv2d_reference(x, w, geometry.stride, geometry.pads, geometry.dilation, geometry.groups)

    np.testing.assert_allclose(depthwise.forward(x, w, geometry), defined(x, w), atol=1e-12)
    dx, dw = depthwise.input_grad(dy, w, geometry), depthwise.weight_grad(x, dy, geometry)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)
    assert np.vdot(dx, other_x) == pytest.approx(np.vdot(dy, defined(other_x, w)), rel=1e-10, abs=1e-10)
    assert np.vdot(dw, other_w) == pytest.approx(np.vdot(dy, defined(x, other_w)), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1)])
@pytest.mark.parametrize("dilation", [(1, 1), (1, 2), (2, 3)])
def test_every_phase(stride, dilation):
    for left, right, width in itertools.product(range(4), range(2), (10, 11, 12)):
        check(Geometry((2, 8, width, 3), (3, 4), 3, stride, ((1, 2), (left, right)), dilation, 3))


@pytest.mark.parametrize("images", [1, 7, 21])
def test_batches_of_many_slices(images, monkeypatch):
    # One slice for each image: 21 of them in 8 partial sums.
    monkeypatch.setattr(tuning, "DEPTHWISE", replace(tuning.DEPTHWISE, slice_elements=1))
    check(Geometry((images, 5, 6, 2), (3, 3), 2, (1, 2), ((1, 1), (1, 0)), (1, 1), 2))
