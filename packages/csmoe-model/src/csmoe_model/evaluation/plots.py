"""Quality against cost, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from csmoe_model.evaluation.figures import Figure
from csmoe_model.evaluation.records import Record
from csmoe_model.evaluation.tables import Headline, Row, headlines, rows

_COLUMNS = 3
_INCHES = 4.4, 3.3
_DODGE = 0.02
"""Of the width of a panel, between points that cost the same."""
_FLOORS: tuple[tuple[str, Any], ...] = (("0.3", "--"), ("0.3", "-."), ("0.6", "--"), ("0.6", "-."))
"""Colours and dashes of floors, but for the label prior."""
_MARKERS = "osD^vP*<>"


class _Point(NamedTuple):
    row: Row
    figure: Figure
    gflop: float


def draw_costs(records: Sequence[Record], path: Path) -> None:
    """Draws the most telling figure of each method and view against the GFLOP of an image, with intervals.

    Floors are lines from side to side. Points of one curve (numbers of slots or experts) are connected, with a band for
    their intervals. Nothing is drawn where no backbone has a known cost.

    Raises:
        ConfigError: The records cannot be compared.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture

    from csmoe_model.train.pictures import save_figure

    table = rows(records)
    panels = {line: points for line in _panels(table) if (points := _points(line, table))}
    if not panels:
        return
    columns = min(_COLUMNS, len(panels))
    num_rows = -(-len(panels) // columns)
    picture = Picture(figsize=(_INCHES[0] * columns, _INCHES[1] * num_rows + 0.9), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots(num_rows, columns, squeeze=False)
    styles = _styles(table)
    for axis, (line, points) in zip(axes.flat, panels.items(), strict=False):
        _draw_panel(axis, line, points, table, styles)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    picture.suptitle(f"{table[0].record.data.name}: {table[0].record.task}", fontsize=11)
    handles = _legend(list(axes.flat)[: len(panels)])
    picture.legend(handles.values(), handles, loc="outside lower center", ncols=2 * columns, fontsize=8, frameon=False)
    save_figure(picture, path)


def _panels(table: Sequence[Row]) -> list[Headline]:
    """The first headline of each method and view."""
    return [next(own) for _, own in groupby(headlines(table), key=lambda line: (line.method, line.view))]


def _points(line: Headline, table: Sequence[Row]) -> list[_Point]:
    """Those that have a cost, by cost."""
    found = []
    for row in table:
        figure, gflop = line.of(row), row.record.gflop(line.view)
        if figure is not None and gflop and not row.record.is_floor:
            found.append(_Point(row, figure, gflop))
    return sorted(found, key=lambda point: point.gflop)


def _styles(table: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Of floors, by name, and of each curve or backbone on none, by its label."""
    floors = [row.record.model for row in table if row.record.is_floor]
    dashes = iter(_FLOORS * len(floors))
    styles: dict[str, dict[str, Any]] = {}
    for model in floors:
        colour, dash = ("0.3", ":") if model.kind == "prior" else next(dashes)
        styles[model.name] = {"color": colour, "linestyle": dash, "linewidth": 1.2}
    labels = dict.fromkeys(_label(row) for row in table if not row.record.is_floor)
    for k, label in enumerate(labels):
        styles[label] = {"color": f"C{k % 10}", "marker": _MARKERS[k % len(_MARKERS)], "markersize": 6}
    return styles


def _draw_panel(
    axis: Any, line: Headline, points: Sequence[_Point], table: Sequence[Row], styles: Mapping[str, dict[str, Any]]
) -> None:
    for row in (row for row in table if row.record.is_floor):
        if figure := line.of(row):
            axis.axhline(figure.value, label=row.record.model.name, **styles[row.record.model.name])
    alone = _dodged([point for point in points if not point.row.record.model.curve])
    for label in dict.fromkeys(_label(point.row) for point in points):
        own = [point for point in points if _label(point.row) == label]
        values, low, high = (np.array(column) for column in zip(*(point.figure for point in own), strict=True))
        if own[0].row.record.model.curve:
            at = [point.gflop for point in own]
            axis.fill_between(at, low, high, color=styles[label]["color"], alpha=0.12, linewidth=0)
            axis.plot(at, values, label=label, **styles[label])
        else:
            spread = np.nan_to_num(np.stack([values - low, high - values])).clip(min=0)
            at = [alone[point.row.record.model.name] for point in own]
            axis.errorbar(at, values, spread, label=label, linestyle="none", capsize=2.5, **styles[label])
    axis.set_title(f"{line.method}, {line.view}", fontsize=9)
    axis.set_ylabel(line.figure.replace("/", ", "), fontsize=8)
    axis.set_xlabel("GFLOP, one image of each sensor", fontsize=8)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.tick_params(labelsize=8)
    _scale(axis, [*alone.values(), *(point.gflop for point in points)])


def _scale(axis: Any, places: Sequence[float]) -> None:
    """A logarithmic axis with room at both ends and plain numbers at round places."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axis.set_xscale("log")
    room = max(1.06, (max(places) / min(places)) ** 0.15) if max(places) > min(places) else 1.5
    low, high = min(places) / room, max(places) * room
    ticks = [step * 10.0**power for power in range(-6, 6) for step in (1, 2, 5)]
    if high < 10 * low:
        ticks = list(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high))
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def _dodged(points: Sequence[_Point]) -> dict[str, float]:
    """Where backbones stand: beside each other where they would lie upon each other; `points` rise in cost."""
    if not points:
        return {}
    logs = np.log([point.gflop for point in points])
    step = _DODGE * max(logs[-1] - logs[0], 1.0)
    groups = np.cumsum(np.r_[0, np.diff(logs) > step / 2])
    for group in np.unique(groups):
        own = groups == group
        logs[own] = logs[own].mean() + step * (np.arange(own.sum()) - (own.sum() - 1) / 2)
    return {point.row.record.model.name: float(place) for point, place in zip(points, np.exp(logs), strict=True)}


def _label(row: Row) -> str:
    return row.record.model.curve or row.record.model.name


def _legend(axes: Sequence[Any]) -> dict[str, Any]:
    """Handles by label, of all panels."""
    found: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    return found
