"""Every bad argument of everything public is refused, by name, rule and value."""

import inspect

import pytest
from helpers.argument_rules import WITHOUT_RULE, bad_values
from helpers.registry import KINDS

ROWS = [(name, row) for kind in KINDS for name, row in kind.items()]


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
