"""The settings of a training run: what is recorded of them, and which of them a resumed run must share."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from allconv.parallel.pool import get_num_threads
from allconv.parallel.process_group import current
from allconv.validation import describe

# A resumed run may differ in these settings. The last three are those that `with_environment` adds.
_MAY_CHANGE = ("epochs", "threads", "ranks", "versions")
# Earlier versions of the examples recorded these settings.
_NO_LONGER_RECORDED = ("command",)


def with_environment(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as JSON gives them back, with what else the bits of a run depend on."""
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a dict of settings, got {describe(config)}")
    import scipy  # Importing SciPy takes long, and it cannot be imported in every browser.

    from allconv import __version__  # The package imports this module, so the import can't stand at the top.

    versions = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "allconv": __version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    environment = {
        "threads": get_num_threads(),
        "ranks": current().size,
        "versions": versions | dict(config.get("versions", {})),
    }
    try:
        complete: dict[str, Any] = json.loads(json.dumps(dict(config) | environment))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"config must hold what JSON can write, got {describe(config)}: {error}") from error
    return complete


def check_same_settings(saved: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> None:
    """Refuse to resume a run with other settings than it began with."""
    forgotten = {name: None for name in saved if name not in config and name not in _NO_LONGER_RECORDED}
    changed = [
        f"{name} was {saved.get(name)!r}, is {value!r}"
        for name, value in (dict(config) | forgotten).items()
        # NaN equals no number, itself included, but its text does.
        if name not in _MAY_CHANGE and saved.get(name) != value and repr(saved.get(name)) != repr(value)
    ]
    if changed:
        raise ValueError(f"resume must have the settings that {folder} began with, got others: {', '.join(changed)}")
