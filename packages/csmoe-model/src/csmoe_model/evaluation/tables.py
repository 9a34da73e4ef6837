"""Records side by side: a table of headline figures, and in words who does not beat the floor."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from csmoe_model.evaluation.figures import Figure
from csmoe_model.evaluation.metrics.intervals import over_seeds
from csmoe_model.evaluation.records import Record, as_figures, comparable

HEADLINES = {
    "classification": ("accuracy/micro", "accuracy/macro", "average_precision/macro", "average_precision/micro"),
    "segmentation": ("miou/dataset",),
    "retrieval": ("f1@10/A", "f1@10/C", "f1@10/B", "map@10", "pair/recall@1", "pair/mrr"),
}
"""Figures of a table, where they were measured; all others are in the JSON and the CSV."""


class Row(NamedTuple):
    """A backbone, over the seeds it was run with."""

    record: Record
    """One of them."""
    num_seeds: int
    figures: dict[str, Figure]


def rows(records: Sequence[Record]) -> list[Row]:
    """One a backbone: floors first, then in the order given; figures of several records are averaged.

    Raises:
        ConfigError: The records cannot be compared.
    """
    comparable(records)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.model.name, []).append(record)
    found = []
    for own in groups.values():
        runs = [as_figures(one.figures) for one in own]
        figures: dict[str, Figure] = {}
        for name in dict.fromkeys(name for run in runs for name in run):
            having = [{name: run[name]} for run in runs if name in run]
            figures |= having[0] if len(having) == 1 else over_seeds(having)
        found.append(Row(own[0], len({one.seed for one in own}), figures))
    return sorted(found, key=lambda row: not row.record.is_floor)


def headlines(table: Sequence[Row]) -> list[str]:
    """Names of the figures that a table shows, in the order in which they come up."""
    wanted = HEADLINES[table[0].record.task]
    found = dict.fromkeys(name for row in table for name in row.figures if name.split("/", 2)[2] in wanted)
    return list(found)


def markdown(records: Sequence[Record]) -> str:
    """A table of the headlines, one row a method and view, one column a backbone, and what has to be said of it.

    Raises:
        ConfigError: The records cannot be compared.
    """
    table = rows(records)
    names = [row.record.model.name for row in table]
    lines = [
        f"{table[0].record.data.name}: {_counted(table[0].record)}; intervals: 95 %",
        "",
        "| | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
        "| parameters, million | " + " | ".join(f"{row.record.model.num_parameters / 1e6:.2f}" for row in table) + " |",
        "| GFLOP a sample, all sensors | " + " | ".join(map(_cost, table)) + " |",
        "| seeds | " + " | ".join(str(row.num_seeds) for row in table) + " |",
    ]
    for name in headlines(table):
        cells = [_cell(row.figures.get(_own(name, row))) for row in table]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in [*verdicts(table), *_notes(table)])]) + "\n"


def verdicts(table: Sequence[Row]) -> list[str]:
    """A sentence for every backbone that does not beat a floor in a headline, image statistics and random weights."""
    found = []
    floors = [row for row in table if row.record.model.kind in ("statistics", "random")]
    for row in (row for row in table if not row.record.is_floor):
        for floor in floors:
            lost = [
                f"{name} ({row.figures[name].value:.3f} against {floor.figures[name].value:.3f})"
                for name in headlines(table)
                if name in row.figures
                and name in floor.figures
                and not row.figures[name].value > floor.figures[name].value
            ]
            if lost:
                found.append(f"{row.record.model.name} does not beat {floor.record.model.name} in {', '.join(lost)}.")
    return found


def long_csv(records: Iterable[Record]) -> str:
    """All figures, one a line."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(
        ["data", "fingerprint", "task", "model", "kind", "seed", "normalise", "figure", "value", "low", "high"]
    )
    for one in records:
        about = [one.data.name, one.data.fingerprint, one.task, one.model.name, one.model.kind, one.seed, one.normalise]
        for name, values in one.figures.items():
            out.writerow([*about, name, *("" if part is None else f"{part:.6g}" for part in values)])
    return text.getvalue()


def _own(name: str, row: Row) -> str:
    """The label prior has no view: it stands for all of them."""
    return f"prior/{name.split('/', 2)[2]}" if row.record.model.kind == "prior" else name


def _cell(figure: Figure | None) -> str:
    if figure is None or math.isnan(figure.value):
        return ""
    if math.isnan(figure.low):
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _cost(row: Row) -> str:
    gflop = row.record.gflop("joint")
    return "" if gflop is None else f"{gflop:.3g}"


def _counted(record: Record) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in record.data.samples.items())


def _notes(table: Sequence[Row]) -> list[str]:
    """Of the data once, of each backbone by name."""
    found = list(table[0].record.data.notes)
    for row in table:
        found.extend(f"{row.record.model.name}: {note}" for note in row.record.notes)
    return list(dict.fromkeys(found))
