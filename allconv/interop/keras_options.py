"""The options of a layer of Keras: one that nothing here reads must not change what the layer computes."""

import re
from collections.abc import Iterator
from typing import Any

from allconv.validation import describe

# What is about names or training, about the whole network, or already in the numbers or the shape of the weights.
_WITHOUT_EFFECT = re.compile(
    r"name|trainable|dtype|seed|synchronized|renorm_momentum|.*_(initializer|regularizer|constraint)"
    r"|data_format|batch_(input_)?shape|lora_(rank|alpha)|shared_axes"
)
_DEFAULTS = {"groups": 1}  # All other defaults are None or False.


class Options(dict[str, Any]):
    """The configuration of a layer, which knows what nothing has read of it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.unread = {name for name in config if not _WITHOUT_EFFECT.fullmatch(name)}

    def __getitem__(self, name: str) -> Any:
        """Return an option that must be there."""
        self.unread.discard(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an option, or the default."""
        self.unread.discard(name)
        return super().get(name, default)

    def refuse_unread(self) -> None:
        """Raise ValueError that names an option which nothing has read, and which is not at its default."""
        for name in sorted(self.unread):
            value = super().get(name)
            if value not in (None, False, _DEFAULTS.get(name)):
                raise ValueError(f"has the option {name}={describe(value)}, which layers here do not have")


def arguments(call: Any) -> Iterator[tuple[str, Any]]:
    """Yield the (name, value) pairs with which a layer is called, in the forms of Keras 2 and 3."""
    if isinstance(call, dict):
        yield from call.get("kwargs", {}).items()
    elif isinstance(call, list):
        for item in call:
            if isinstance(item, dict):  # the end of [name, call, output, arguments]
                yield from item.items()
            else:
                yield from arguments(item)
