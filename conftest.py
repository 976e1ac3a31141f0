"""What every test and doctest may use without an import."""

from importlib.util import find_spec

import numpy as np
import pytest

# The doctests of what cannot be imported without an optional package.
collect_ignore = [] if find_spec("sklearn") else ["allconv/sklearn"]


@pytest.fixture(autouse=True)
def _doctest_names(request: pytest.FixtureRequest, doctest_namespace: dict[str, object]) -> None:
    doctest_namespace["np"] = np
    if request.node.name.startswith("allconv.data.imgaug_adapter.") and find_spec("imgaug") is None:
        pytest.skip("the examples need imgaug")
