"""Results on a terminal: a table as wide as there is room, and what has to be said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from csmoe_model.evaluation.figures import Figure
from csmoe_model.evaluation.records import Record
from csmoe_model.evaluation.tables import Headline, Row, cell, cost, counted, headlines, notes, rows, verdicts

_GAP = 2
_SAID = "All figures and intervals: table.md, figures.csv."
Format = Callable[[Figure | None], str]


def show(records: Sequence[Record], console: Console) -> None:
    """Prints the headlines, then who does not beat a floor, and the notes.

    Backbones are columns, with intervals where these fit. Where there are too many, backbones are rows, and as many
    methods and views are columns as fit, each by its most telling figure. The best of a line (or column) is bold.

    Raises:
        ConfigError: The records cannot be compared.
    """
    table = rows(records)
    console.print(Text(f"{table[0].record.data.name}: {counted(table[0].record)}."), "", sep="\n")
    console.print(_fitting(table, console.width))
    said = Table.grid(padding=(0, 1, 0, 0))
    for sentence in [*verdicts(table), *notes(table), _SAID]:
        said.add_row("-", Text(sentence))
    console.print("", said, sep="\n")


def _fitting(table: Sequence[Row], width: int) -> Table:
    for form in (cell, _plain):
        shown, needed = _upright(table, form)
        if needed <= width:
            return shown
    views = [next(own) for _, own in groupby(headlines(table), key=_place)]
    for first in range(len(views)):
        shown, needed = _lying(table, views[first:])
        if needed <= width:
            break
    return shown


def _upright(table: Sequence[Row], form: Format) -> tuple[Table, int]:
    """A column a backbone, a group of lines a method and view; and the characters that it takes."""
    lines = [("GFLOP, an image of each", [Text(cost(row)) for row in table])]
    for (method, view), group in groupby(headlines(table), key=_place):
        lines.append((f"{method}, {view}", [Text()] * len(table)))
        lines += [(f"  {line.figure}", _marked([line.of(row) for row in table], form)) for line in group]
    columns = list(zip(*(cells for _, cells in lines), strict=True))
    names = [row.record.model.name for row in table]
    return _table([("", [Text(label) for label, _ in lines]), *zip(names, columns, strict=True)])


def _lying(table: Sequence[Row], views: Sequence[Headline]) -> tuple[Table, int]:
    """A line a backbone, a column a method and view; and the characters that it takes."""
    columns = [
        ("", [Text(row.record.model.name) for row in table]),
        ("GFLOP", [Text(cost(row)) for row in table]),
    ]
    for line in views:
        title = f"{line.method} {line.view} {line.figure.replace('/', ' ')}"
        columns.append((title, _marked([line.of(row) for row in table], _plain)))
    return _table(columns)


def _table(columns: Sequence[tuple[str, Sequence[Text]]]) -> tuple[Table, int]:
    """Columns as wide as their cells and the words of their titles, the first to the left."""
    shown = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    needed = -_GAP
    for number, (title, cells) in enumerate(columns):
        width = max([*map(len, title.split()), *map(len, cells)], default=0)
        shown.add_column(Text(title), width=width, justify="right" if number else "left", vertical="bottom")
        needed += width + _GAP
    for line in zip(*(cells for _, cells in columns), strict=True):
        shown.add_row(*line)
    return shown, needed


def _marked(figures: Sequence[Figure | None], form: Format) -> list[Text]:
    best = max((one.value for one in figures if one), default=None)
    return [Text(form(one), style="bold" if one and one.value == best else "") for one in figures]


def _plain(figure: Figure | None) -> str:
    return f"{figure.value:.3f}" if figure else ""


def _place(line: Headline) -> tuple[str, str]:
    return line.method, line.view
