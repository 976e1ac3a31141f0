"""Operators of ONNX that pool, reshape, join, pad and resize images, as layers of this library."""

from dataclasses import replace
from typing import Any

import numpy as np

from allconv.functional.padding import Padding
from allconv.interop.onnx_reader import NCHW, NHWC, Act, Reader
from allconv.layers.flatten import Flatten
from allconv.layers.global_average_pool import GlobalAveragePool2D
from allconv.layers.max_pool import MaxPool2D
from allconv.layers.mean_pool import MeanPool2D
from allconv.layers.upsample import Upsample2D
from allconv.layers.zero_pad import ZeroPad2D


def padding_of(reader: Reader, attributes: dict[str, Any]) -> Padding:
    """Return the padding of a window; ONNX' numbers are (top, left, bottom, right) too."""
    name = attributes.get("auto_pad", "NOTSET")
    if name == "NOTSET":
        pads = tuple(int(pad) for pad in attributes.get("pads", (0, 0, 0, 0)))
        reader.refuse_unless(len(pads) == 4 and min(pads) >= 0, f"the padding {pads}")
        return pads  # type: ignore[return-value]
    names: dict[str, Padding] = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}
    return names[name]


def pair_of(attributes: dict[str, Any], name: str) -> Any:
    """Return an attribute for rows and columns, by default (1, 1)."""
    return tuple(attributes.get(name, (1, 1)))


def pool(reader: Reader, attributes: dict[str, Any], x: Any) -> Act:
    """Return what MaxPool and AveragePool compute."""
    act = reader.image(x)
    options: dict[str, Any] = {"stride": pair_of(attributes, "strides"), "padding": padding_of(reader, attributes)}
    options["ceil_mode"] = bool(attributes.get("ceil_mode", 0))
    kernel, dilation = tuple(attributes["kernel_shape"]), pair_of(attributes, "dilations")
    if reader.node.op_type == "MaxPool":
        others = any(reader.uses[name] for name in reader.node.output[1:])
        reader.refuse_unless(not others and not attributes.get("storage_order"), "the places of the maxima")
        return reader.add(MaxPool2D(kernel, dilation=dilation, **options), act)
    reader.refuse_unless(dilation == (1, 1), f"the dilation {dilation}")
    return reader.add(MeanPool2D(kernel, count_padding=bool(attributes.get("count_include_pad", 0)), **options), act)


def global_pool(reader: Reader, _attributes: dict[str, Any], x: Any) -> Act:
    """Return what GlobalAveragePool and GlobalMaxPool compute."""
    act = reader.image(x)
    if reader.node.op_type == "GlobalMaxPool":
        return reader.add(MaxPool2D(act.shape[1:3]), act)  # type: ignore[arg-type]
    return reader.add(GlobalAveragePool2D(keepdims=True), act)


def reduce_mean(reader: Reader, attributes: dict[str, Any], x: Any, axes: Any = None) -> Act:
    """Return a mean over the places of an image."""
    act = reader.act(x)
    given = attributes.get("axes", ()) if axes is None else reader.constant(axes).tolist()
    over = sorted(act.axes[axis] for axis in given)
    reader.refuse_unless(over == [1, 2] and len(act.shape) == 4, f"a mean over the axes {tuple(given)}")
    return reader.add(GlobalAveragePool2D(keepdims=bool(attributes.get("keepdims", 1))), act)


def flatten(reader: Reader, attributes: dict[str, Any], x: Any) -> Act:
    """Return what Flatten computes."""
    act = reader.act(x)
    axis = attributes.get("axis", 1)
    reader.refuse_unless(axis in (1, 1 - len(act.axes)), f"the axis {axis}")
    return _reshaped(reader, x, (act.shape[0], int(np.prod(act.shape[1:]))))


def reshape(reader: Reader, attributes: dict[str, Any], x: Any, shape: Any = None) -> Act:
    """Return what Reshape computes, if it flattens images or leaves them as they are."""
    wanted = attributes["shape"] if shape is None else reader.constant(shape).tolist()
    there = x.shape_there() if not x.groups else (x.shape[0], x.groups, -1)
    lengths = [
        there[k] if length == 0 and not attributes.get("allowzero") else length for k, length in enumerate(wanted)
    ]
    total = int(np.prod(x.shape))
    if -1 in lengths:
        lengths[lengths.index(-1)] = total // max(1, -int(np.prod(lengths)))
    reader.refuse_unless(int(np.prod(lengths)) == total, f"the shape {tuple(wanted)} for {there}")
    return _reshaped(reader, x, tuple(lengths))


def _reshaped(reader: Reader, x: Act, shape: tuple[int, ...]) -> Act:
    """Return `x` in another shape there: as it is, in groups, or flattened."""
    if x.groups and shape == x.shape_there():
        return replace(x, groups=0)
    act = reader.act(x)
    if shape == act.shape_there():
        return act
    N, *lengths, C = act.shape
    in_groups = len(shape) == 3 and shape[0] == N and act.axes[1] == len(lengths) + 1 and act.flattened == 1
    if in_groups and C % shape[1] == 0:
        return replace(act, groups=shape[1])
    is_plain = act.axes == tuple(range(len(act.axes)))
    flat = len(shape) == 2 and shape[0] == N
    reader.refuse_unless(flat and (is_plain or act.axes == NCHW), f"a new shape {shape} for {act.shape_there()}")
    matters = not is_plain and int(np.prod(lengths)) > 1
    return reader.add(Flatten(), act, flattened=C if matters else 1)


def squeeze(reader: Reader, attributes: dict[str, Any], x: Any, axes: Any = None) -> Act:
    """Return what Squeeze computes of images of one pixel."""
    act = reader.act(x)
    there = act.shape_there()
    given = attributes.get("axes") if axes is None else reader.constant(axes).tolist()
    gone = {axis % len(there) for axis in given} if given else {k for k, n in enumerate(there) if n == 1 and k}
    return _reshaped(reader, act, tuple(length for k, length in enumerate(there) if k not in gone))


def transpose(reader: Reader, attributes: dict[str, Any], x: Any) -> Act:
    """Return the same array; only where its axes lie in the graph changes."""
    act = reader.act(x)
    order = attributes.get("perm", range(len(act.axes))[::-1])
    axes = tuple(act.axes[axis] for axis in order)
    reader.refuse_unless(axes[0] == 0 and (len(axes) == 2 or axes in (NCHW, NHWC)), f"axes {tuple(order)}")
    return replace(act, axes=axes)


def concat(reader: Reader, attributes: dict[str, Any], *inputs: Any) -> Act:
    """Return arrays joined along the channels."""
    acts = [reader.act(x) for x in inputs]
    first = acts[0]
    axis = first.axes[attributes.get("axis", 1)]
    alike = all(act.axes == first.axes and act.flattened == 1 for act in acts)
    reader.refuse_unless(alike and axis == len(first.shape) - 1, "other axes to join than those of channels")
    if len(acts) == 1:
        return first
    return reader.add(None, *acts, merge="concat", shape=(*first.shape[:-1], sum(act.shape[-1] for act in acts)))


def pad(
    reader: Reader, attributes: dict[str, Any], x: Any, pads: Any = None, value: Any = None, axes: Any = None
) -> Act:
    """Return images with rows and columns of zeros around them."""
    act = reader.act(x)
    numbers: Any = (
        attributes.get("pads", attributes.get("paddings")) if pads is None else reader.constant(pads).tolist()
    )
    fill = attributes.get("value", 0.0) if value is None else reader.constant(value).ravel()[:1].sum()
    over = range(len(act.axes)) if axes is None else reader.constant(axes).tolist()
    before, after = [0] * 4, [0] * 4
    for axis, first, last in zip(over, numbers[: len(over)], numbers[len(over) :], strict=True):
        before[act.axes[axis]], after[act.axes[axis]] = int(first), int(last)
    plain = not fill and attributes.get("mode", "constant") == "constant" and min(before + after) >= 0
    others = before[0], after[0], before[3], after[3]
    reader.refuse_unless(plain and not any(others) and len(act.shape) == 4, "another padding than zeros around images")
    if not any(before + after):
        return act
    return reader.add(ZeroPad2D((before[1], before[2], after[1], after[2])), act)


def resize(reader: Reader, attributes: dict[str, Any], x: Any, *more: Any) -> Act:
    """Return an upsampling; the scales are the last input but the sizes, an attribute, or follow from the sizes."""
    act = reader.image(x)
    there = act.shape_there()
    given = [None if array is None or not array.size else array for array in more]
    scales: Any = attributes.get("scales") if len(given) < 2 else given[1]
    scales = given[0] if scales is None and len(given) == 1 else scales
    if scales is None and len(given) > 2 and given[2] is not None:
        scales = np.divide(given[2], there)
    if scales is None and "height_scale" in attributes:
        scales = (1, 1, attributes["height_scale"], attributes["width_scale"])
    reader.refuse_unless(scales is not None, "no constant scales")
    factors = tuple(round(float(factor)) for factor in scales)
    whole = len(factors) == 4 and np.array_equal(scales, factors) and factors[:2] == (1, 1) and min(factors) >= 1
    mode = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear"}.get(
        attributes.get("mode", "nearest"), ""
    )
    old = reader.node.op_type == "Upsample" or reader.opset < 11
    where = "asymmetric" if old else attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else attributes.get("nearest_mode", "round_prefer_floor")
    centred = where in ("half_pixel", "pytorch_half_pixel")
    fits = (
        centred
        if mode == "bilinear"
        else (where in ("asymmetric", "tf_half_pixel_for_nn") and rounding == "floor")
        or (centred and "round" in rounding)
    )
    reader.refuse_unless(
        bool(whole and mode and fits), f"a resizing by {tuple(map(float, scales))}, {mode or 'cubic'}, {where}"
    )
    return reader.add(Upsample2D((factors[2], factors[3]), mode), act)
