"""Tables of text."""

import pytest

from allconv.tables import align

ROWS = [("path", "n"), ("1.body", "7"), ("2", "1,024"), ("", "1,031")]


def test_columns_are_aligned_to_their_side():
    assert align(ROWS, right={1}) == [
        "path        n",
        "-------------",
        "1.body      7",
        "2       1,024",
        "        1,031",
    ]
    assert align(ROWS)[2:] == ["1.body  7", "2       1,024", "        1,031"]


def test_a_total_is_ruled_off():
    lines = align(ROWS, right={1}, total=True)
    assert lines[1] == lines[-2] == "-" * 13
    assert lines[-1] == "        1,031"
    assert len(lines) == 6


def test_a_rule_may_have_a_longest_length():
    assert align(ROWS, longest_rule=4)[1] == "----"
    assert align(ROWS, longest_rule=99)[1] == "-" * 13


def test_rows_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        align([("a", "b"), ("c",)])
