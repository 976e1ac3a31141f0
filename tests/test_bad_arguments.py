"""Every bad argument of everything public is refused, by name, rule and value."""

import inspect

import numpy as np
import pytest
from helpers.registry import KINDS, WITHOUT_RULE, Bad

ROWS = [(name, row) for kind in KINDS for name, row in kind.items()]


def bad_values(argument, rules):
    """Yield (value, error, the beginning of its message)."""
    for rule in rules if isinstance(rules, list) else [rules]:
        if isinstance(rule, Bad):
            yield rule
            continue
        for error, values in ((TypeError, rule.types), (ValueError, rule.values)):
            for value in values:
                shown = "an array of shape" if isinstance(value, np.ndarray) else repr(value)[:77]
                yield value, error, f"{argument} must be {rule.words}, got {shown}"


@pytest.mark.parametrize(
    ("row", "argument", "value", "error", "message"),
    [
        pytest.param(row, argument, *bad, id=f"{name}-{argument}-{index}")
        for name, row in ROWS
        for argument, rules in row.rules().items()
        for index, bad in enumerate(bad_values(argument, rules))
    ],
)
def test_a_bad_argument_is_refused_by_name_rule_and_value(row, argument, value, error, message):
    with pytest.raises(error) as caught:
        row.build(**{argument: value})
    assert str(caught.value)[: len(message)] == message


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_every_argument_has_a_rule(name, row):
    arguments = set(inspect.signature(row.make).parameters) - {"name"}
    assert arguments - set(row.rules()) <= WITHOUT_RULE
