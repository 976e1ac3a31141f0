"""Tables of text: aligned columns under a head, or Markdown."""

from collections.abc import Collection, Iterable, Sequence


def align(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), total: bool = False, longest_rule: int | None = None
) -> list[str]:
    r"""Return rows of cells as lines with aligned columns.

    Parameters
    ----------
    rows : sequence of sequences of str
        The first row is the head. All rows have the same number of cells.
    right : collection of int, optional
        The columns, counted from 0, that are aligned to the right. The others are aligned to the left.
    total : bool, default False
        Whether the last row holds totals, which a second rule separates from the rows above.
    longest_rule : int, optional
        The largest number of dashes in a rule. By default a rule is as long as the longest line.

    Returns
    -------
    list of str
        The head, a rule of dashes, and the other rows.

    Examples
    --------
    >>> print(*align([("layer", "weights"), ("0", "1,792"), ("1", "0")], right={1}), sep="\n")
    layer  weights
    --------------
    0        1,792
    1            0
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    longest = max(map(len, lines))
    rule = "-" * (longest if longest_rule is None else min(longest, longest_rule))
    head, *body = lines
    return [head, rule, *body[:-1], rule, body[-1]] if total else [head, rule, *body]


def markdown(rows: Iterable[Sequence[str]]) -> str:
    r"""Return rows of cells as a Markdown table.

    Parameters
    ----------
    rows : iterable of sequences of str
        The first row is the head. All rows have the same number of cells.

    Returns
    -------
    str
        The lines of the table, each with its line end.

    Examples
    --------
    >>> print(markdown([("case", "epochs"), ("a", "21")]), end="")
    | case | epochs |
    |---|---|
    | a | 21 |
    """
    head, *body = rows
    lines = [f"| {' | '.join(row)} |" for row in (head, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"
