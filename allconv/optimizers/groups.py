"""The groups of an optimizer: parameters that share their settings, each group an optimizer by itself."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from allconv.optimizers.hyperparameter import Hyperparameter
from allconv.optimizers.layout import Layout
from allconv.parameter import Parameter
from allconv.typing import Array
from allconv.validation import check_non_negative

if TYPE_CHECKING:
    from allconv.optimizers.base import Optimizer

Groups = Sequence[Mapping[str, Any]]  # Each has "parameters", and settings of its own by name.


class Grouped:
    """A tree of optimizers: the whole one, which steps, and its groups, which hold parameters, slots and settings.

    A group is an object of the same class as the whole optimizer. Its ``__init__`` is never called: each setting comes
    to the group when the whole optimizer gets it, as `Hyperparameter` says. An optimizer without groups is its own only
    group.
    """

    parameters: list[Parameter]
    _numbers: range  # The numbers of the parameters in the whole optimizer.
    _narrowest: np.dtype[Any]  # The dtype of the parameters that can hold the least.
    _layout: Layout
    _slots: dict[str, list[Array]]  # For each block of the layout an array.
    _learning_rate: float
    _whole: "Optimizer | None" = None  # The optimizer that a group belongs to.
    _inner: "Sequence[Optimizer]" = ()
    _own: Mapping[str, Any] = {}  # The settings in which a group differs from the whole optimizer.
    _rate_factor = 1.0  # The learning rate of a group divided by that of the whole optimizer.

    @classmethod
    def _settings(cls) -> list[str]:
        """Return the names of the settings that a group may have of its own."""
        kinds = {name: kind for base in reversed(cls.__mro__) for name, kind in vars(base).items()}
        return ["learning_rate", *(name for name, kind in kinds.items() if isinstance(kind, Hyperparameter))]

    def _own_parameters(self, parameters: list[Parameter], first: int) -> None:
        """Take the parameters, of which the first has the number `first` in the whole optimizer."""
        self.parameters = parameters
        self._numbers = range(first, first + len(parameters))
        self._narrowest = min((p.value.dtype for p in parameters), key=lambda dtype: dtype.itemsize)
        self._layout = Layout(parameters)
        self._slots = {}

    def _make_groups(self, groups: Sequence[tuple[list[Parameter], dict[str, Any] | None]]) -> None:
        """Make an object of this class for each group, unless the parameters came without groups."""
        if groups[0][1] is None:
            return
        made, first = [], 0
        for parameters, own in groups:
            group = cast("Optimizer", object.__new__(type(self)))
            group._whole, group._own = cast("Optimizer", self), own or {}
            group._own_parameters(parameters, first)
            first += len(parameters)
            made.append(group)
        self._inner = made

    if not TYPE_CHECKING:  # The type checker would no longer find attributes that do not exist.

        def __getattr__(self, name: str) -> Any:
            """Return an attribute of the whole optimizer, which a group does not have itself."""
            whole = vars(self).get("_whole")
            if whole is None or name.startswith("__"):
                return object.__getattribute__(self, name)  # raises again, a property in its own words
            return getattr(whole, name)

    @property
    def groups(self) -> list["Optimizer"]:
        """The groups of parameters that share their settings, in the order of the parameters."""
        return [leaf for group in self._inner for leaf in group.groups] or [cast("Optimizer", self)]

    @property
    def learning_rate(self) -> float:
        """The learning rate, a non-negative number."""
        return self._learning_rate if self._whole is None else self._whole.learning_rate * self._rate_factor

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        rate = check_non_negative("learning_rate", rate)
        self._check_rate(rate)
        if self._whole is None:
            self._learning_rate = rate
        elif rate == 0 or self._whole.learning_rate > 0:
            self._rate_factor = check_non_negative("learning_rate", rate and rate / self._whole.learning_rate)
        else:
            raise ValueError(f"learning_rate of a group must be 0 while the whole optimizer's is 0, got {rate!r}")

    def _set_rates(self, rate: float) -> None:
        """Set the learning rate, and those of the groups with one of their own."""
        self.learning_rate = rate
        for group in self._inner:
            if "learning_rate" in group._own:
                group.learning_rate = group._own["learning_rate"]

    def before_setting(self, name: str, value: Any) -> None:
        """Check a new value of a setting against the parameters and the other settings, before it is stored.

        Parameters
        ----------
        name : str
            The name of the setting.
        value : object
            The value, which has passed the check of the setting itself.

        Raises
        ------
        ValueError
            If the value does not fit; nothing is changed then.
        """
        largest = float(np.finfo(self._narrowest).max)
        if isinstance(value, float) and abs(value) > largest:
            raise ValueError(
                f"{name} must be at most {largest:.3g}, the largest number of {self._narrowest}, which parameters "
                f"have, got {value!r}"
            )

    def _check_rate(self, rate: float) -> None:
        """Check a learning rate, and those that it would give to the groups."""
        self.before_setting("learning_rate", rate)
        for group in self._inner:
            group._check_rate(rate * group._rate_factor)

    def _all_inner(self) -> list["Optimizer"]:
        """Return the groups, and the groups in groups."""
        return [node for group in self._inner for node in (group, *group._all_inner())]

    def _check_whole(self) -> None:
        if self._whole is not None:
            raise RuntimeError(
                "step and load_state must be called on the whole optimizer, got a call on one of its groups"
            )
