"""The folder of a deployed network, written."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from allconv.checkpoint import format as storage
from allconv.checkpoint.atomic import atomic_write, make_folder
from allconv.deploy import predictor
from allconv.deploy.structure import Arrays, network_steps, normalize_steps
from allconv.layers.base import Layer
from allconv.layers.shapes import check_shape
from allconv.validation import check_instance, check_path, describe


def save(
    model: Layer,
    folder: str | Path,
    *,
    input_shape: tuple[int, ...],
    normalize: Any = None,
    names: Sequence[str] | None = None,
) -> None:
    """Write a folder that predicts what `model` predicts, with NumPy alone.

    The folder holds ``predict.py``, the one file of code; ``model.json``, the layers as a list of steps, the shapes and
    the names; and ``weights.npz``, the arrays in float32. ``model.json`` states the SHA-256 of the weights and its own.

    Parameters
    ----------
    model : Layer
        The network, composed of the layers of this library. It is written as it predicts: Dropout is left out, and a
        BatchNorm is folded into the layer before it.
    folder : path
        It is made if it is missing. Its three files are replaced if they are there.
    input_shape : tuple of int
        The shape of one example, without the batch axis: ``(32, 32, 3)``. The folder takes inputs of this shape alone.
    normalize : Standardize, GlobalContrast, ZCA or None, default None
        What brings inputs into the form that the network was trained on. A training that standardized each step by
        `data.per_step` has no fixed statistics: pass those of the training set,
        ``data.Standardize.fit(images, per="pixel")``.
    names : sequence of str, optional
        The name of each class.

    Raises
    ------
    TypeError, ValueError
        An argument is out of its range, `input_shape` does not fit the model, or a layer cannot be deployed, which the
        message names. Nothing is written then.
    OSError
        A file could not be written. An older folder may then be half new; `load` refuses it.

    Examples
    --------
    >>> import tempfile
    >>> from allconv.models import lenet
    >>> model, images = lenet(), np.ones((2, 28, 28, 1), np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(model, folder, input_shape=(28, 28, 1), names=list("0123456789"))
    ...     bool(np.allclose(predictor.load(folder)(images), model(images), atol=1e-5))
    True
    """
    check_instance("model", model, Layer)
    folder = check_path("folder", folder)
    shape = check_shape(input_shape, "input_shape")
    output_shape = model.output_shape(shape)
    names = _check_names(names, output_shape)
    arrays = Arrays()
    prepare = normalize_steps(normalize, arrays)
    network = network_steps(model, shape, arrays)
    structure = {
        "kind": "allconv.deploy",
        "format": predictor.FORMAT,
        "allconv": _version(),
        "input_shape": shape,
        "output_shape": output_shape,
        "names": names,
        "ends_in_probabilities": bool(network) and network[-1]["step"] in ("softmax", "sigmoid"),
        "normalize": prepare,
        "network": network,
    }
    size = len(json.dumps(structure, indent=1)) + 200  # with the hashes, which `_write` adds
    if size > predictor.STRUCTURE_LIMIT:
        raise ValueError(
            f"model and names must take at most {predictor.STRUCTURE_LIMIT} bytes in {predictor.STRUCTURE}, got {size}"
        )
    _write(folder, structure, arrays)


def _write(folder: Path, structure: dict[str, Any], arrays: Arrays) -> None:
    """Write the three files; the structure comes last, since it says which weights belong to it."""
    make_folder(folder)
    weights = folder / predictor.WEIGHTS
    storage.write(weights, {"weights": arrays.by_name})
    with atomic_write(folder / "predict.py") as file:
        file.write(Path(predictor.__file__).read_bytes())
    with weights.open("rb") as file:
        structure["weights_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    structure["sha256"] = predictor.fingerprint(structure)
    with atomic_write(folder / predictor.STRUCTURE) as file:
        file.write((json.dumps(structure, indent=1) + "\n").encode())


def _check_names(names: object, output_shape: tuple[int, ...]) -> list[str]:
    if names is None:
        return []
    count = output_shape[-1] if len(output_shape) == 1 else 0
    rule = f"names must be a sequence of one str for each of the {count} outputs"
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{rule}, got {describe(names)}")
    if len(names) != count:
        raise ValueError(f"{rule}, got {describe(names)}")
    return list(names)


def _version() -> str:
    from allconv import __version__  # It is not at the top, because allconv imports this module.

    return __version__
