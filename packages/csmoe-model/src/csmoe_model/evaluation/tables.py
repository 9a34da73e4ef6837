"""Records side by side: a table of headline figures, and in words who does not beat a floor."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.figures import Figure
from csmoe_model.evaluation.metrics.intervals import over_seeds
from csmoe_model.evaluation.records import Record, Value, as_figure, comparable

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "classification": ("accuracy/micro", "accuracy/macro", "average_precision/macro", "average_precision/micro"),
    "segmentation": ("miou/dataset",),
    "retrieval": (r"f1@{k}/A", r"map@{k}/possible", "pair/recall@1", "pair/mrr"),
}
"""Figures of a table, the most telling first, where they were measured; {k} is the greatest depth. All others are in
the JSON and the CSV."""
_NEIGHBOURS = "knn20-cosine"
"""Of the many k-NN the one that tables show; where there is none, the first."""
_NAMES = 4
"""Of backbones in front of a note or in a verdict; of more their number."""
Run = tuple[int, str | None]
"""Seed, and weights."""


class Row(NamedTuple):
    """A backbone, over the seeds and trainings it was run with."""

    record: Record
    """One of them."""
    num_runs: int
    num_weights: int
    """Different weights among them."""
    figures: dict[str, Figure]


class Headline(NamedTuple):
    """What a line of the table shows."""

    name: str
    """`<method>/<view>/<figure>`"""

    @property
    def method(self) -> str:
        """Such as `linear`."""
        return self.name.split("/", 2)[0]

    @property
    def view(self) -> str:
        """Such as `s2`, `joint`, `s1>s2`."""
        return self.name.split("/", 2)[1]

    @property
    def figure(self) -> str:
        """Such as `accuracy/micro`."""
        return self.name.split("/", 2)[2]

    def of(self, row: Row) -> Figure | None:
        """Of a backbone; the label prior has no method and no view, it stands for all of them."""
        name = f"prior/{self.figure}" if row.record.model.kind == "prior" else self.name
        figure = row.figures.get(name)
        return None if figure is None or math.isnan(figure.value) else figure


def rows(records: Sequence[Record]) -> list[Row]:
    """One a backbone: floors first, then in the order given; figures of several runs are averaged.

    Raises:
        ConfigError: The records cannot be compared, or one name stands for backbones that differ.
    """
    comparable(records)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.model.name, []).append(record)
    found = [_row(own) for own in groups.values()]
    return sorted(found, key=lambda row: not row.record.is_floor)


def headlines(table: Sequence[Row]) -> list[Headline]:
    """What a table shows, in the order in which it comes up; the figures of a method and view together."""
    names = [name for row in table if row.record.model.kind != "prior" for name in row.figures]
    every = [Headline(name) for name in dict.fromkeys(names)]
    neighbours = [one.method for one in every if one.method.startswith("knn")]
    others = {*neighbours} - {_NEIGHBOURS if _NEIGHBOURS in neighbours else next(iter(neighbours), "")}
    depths = [int(match[1]) for one in every if (match := re.match(r"f1@(\d+)/A$", one.figure))]
    wanted = [name.format(k=max(depths, default=0)) for name in HEADLINES[table[0].record.task]]
    shown = [one for one in every if one.figure in wanted and one.method not in others and not _repeats(one, table)]
    places = {place: k for k, place in enumerate(dict.fromkeys((one.method, one.view) for one in shown))}
    return sorted(shown, key=lambda one: (places[one.method, one.view], wanted.index(one.figure)))


def markdown(records: Sequence[Record]) -> str:
    """A table of the headlines, and what has to be said of it; backbones are columns, or rows where these are fewer.

    Raises:
        ConfigError: See `rows`.
    """
    table = rows(records)
    lines = [
        ["", *(row.record.model.name for row in table)],
        ["parameters of the encoder, million", *(f"{row.record.model.num_parameters / 1e6:.2f}" for row in table)],
        ["edge of the images, px", *(str(row.record.image_px or "") for row in table)],
        ["GFLOP, one image of each sensor", *map(cost, table)],
        ["standardised by the statistics of", *(row.record.normalise for row in table)],
        ["runs", *(str(row.num_runs) for row in table)],
    ]
    shown = headlines(table)
    lines += [[line.name, *(cell(line.of(row)) for row in table)] for line in shown]
    if len(table) > len(shown):
        lines = [list(column) for column in zip(*lines, strict=True)]
    several = any(row.num_runs > 1 for row in table)
    return "\n".join(
        [
            f"{table[0].record.data.name}: {counted(table[0].record)}.",
            f"Intervals at 95 %: over test samples{', or over runs where there are several' if several else ''}.",
            "",
            _line(lines[0]),
            "|---" * len(lines[0]) + "|",
            *map(_line, lines[1:]),
            "",
            *(f"- {sentence}" for sentence in [*verdicts(table), *notes(table)]),
            "",
        ]
    )


def verdicts(table: Sequence[Row]) -> list[str]:
    """A sentence for every floor: who does not beat it, in how many headlines, and where by most."""
    shown, found = headlines(table), []
    models = [row for row in table if not row.record.is_floor]
    for floor in (row for row in table if row.record.is_floor):
        who, gaps = [], []
        for row in models:
            both = [(line.of(row), line.of(floor), line.name) for line in shown]
            compared = [(one.value, other.value, name) for one, other, name in both if one and other]
            lost = [
                (other - one, row.record.model.name, name, one, other) for one, other, name in compared if one <= other
            ]
            if lost:
                who.append(f"{row.record.model.name} ({len(lost)} of {len(compared)} headlines)")
                gaps.append(max(lost))
        if who:
            _, worst, name, one, other = max(gaps)
            found.append(
                f"Not better than {floor.record.model.name}: "
                f"{', '.join(who) if len(who) <= _NAMES else f'{len(who)} of {len(models)} backbones'}; "
                f"largest gap: {worst}, {name}, {one:.3f} against {other:.3f}."
            )
    return found


def long_csv(records: Iterable[Record]) -> str:
    """All figures, one a line."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    names = ("data", "fingerprint", "task", "model", "kind", "weights", "seed", "normalise", "image_px")
    out.writerow([*names, "figure", "value", "low", "high"])
    for one in records:
        model = [one.model.name, one.model.kind, one.model.weights or ""]
        about = [one.data.name, one.data.fingerprint, one.task, *model, one.seed, one.normalise, one.image_px]
        for name, values in one.figures.items():
            out.writerow([*about, name, *("" if part is None else f"{part:.6g}" for part in values)])
    return text.getvalue()


def _repeats(line: Headline, table: Sequence[Row]) -> bool:
    """Whether a search with something left out found what the one with all did, so that nothing was left out."""
    every = Headline(f"all/{line.view}/{line.figure}")
    return line != every and all(line.of(row) == every.of(row) for row in table)


def _row(own: Sequence[Record]) -> Row:
    first = own[0]
    for one in own:
        for part, value, other in _same(first, one):
            if value != other:
                raise ConfigError(
                    f"results: {first.model.name} stands for backbones that differ in {part} ({value} and {other}): "
                    "give them different names"
                )
    runs: dict[str, dict[Run, Value]] = {}
    for one in own:
        for name, value in one.figures.items():
            known = runs.setdefault(name, {}).setdefault((one.seed, one.model.weights), value)
            if known[0] != value[0]:
                raise ConfigError(
                    f"results: {first.model.name} has {name} twice with seed {one.seed}, {known[0]} and {value[0]}: "
                    "leave one out, or give it another name"
                )
    return Row(
        record=first,
        num_runs=max(map(len, runs.values()), default=0),
        num_weights=len({one.model.weights for one in own}),
        figures={name: _mean([as_figure(value) for value in values.values()]) for name, values in runs.items()},
    )


def _same(one: Record, other: Record) -> list[tuple[str, object, object]]:
    """What records of one backbone have in common."""
    return [
        ("kind", one.model.kind, other.model.kind),
        ("parameters", one.model.num_parameters, other.model.num_parameters),
        ("edge of the images", one.image_px, other.image_px),
        ("standardisation", one.normalise, other.normalise),
    ]


def _mean(runs: Sequence[Figure]) -> Figure:
    """Of runs that differ; what chance has no part in keeps its interval over samples."""
    if len({one.value for one in runs}) == 1:
        return runs[0]
    return over_seeds([{"": one} for one in runs])[""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(figure: Figure | None) -> str:
    """A figure with its interval."""
    if figure is None:
        return ""
    return f"{figure.value:.3f}" + ("" if math.isnan(figure.low) else f" [{figure.low:.3f}, {figure.high:.3f}]")


def cost(row: Row) -> str:
    """GFLOP of an image of each sensor; empty where nobody knows."""
    gflop = row.record.gflop("joint")
    return "" if gflop is None else f"{gflop:.3g}"


def counted(record: Record) -> str:
    """Samples by split."""
    return ", ".join(f"{count:,} {split}" for split, count in record.data.samples.items())


def notes(table: Sequence[Row]) -> list[str]:
    """Of the data once, then of backbones, with the names of those that it is true of."""
    of_whom: dict[str, list[str]] = {}
    for row in table:
        trainings = [f"{row.num_weights} trainings"] if row.num_weights > 1 else []
        for note in dict.fromkeys([*trainings, *row.record.notes]):
            of_whom.setdefault(note, []).append(row.record.model.name)
    everyone = [row.record.model.name for row in table if row.record.model.kind != "prior"]
    said = [f"{_who(names, everyone)}: {note}" for note, names in of_whom.items()]
    return [*table[0].record.data.notes, *said]


def _who(names: Sequence[str], everyone: Sequence[str]) -> str:
    if names == everyone and len(names) > 1:
        return "all backbones"
    return "; ".join(names) if len(names) <= _NAMES else f"{len(names)} of {len(everyone)} backbones"
