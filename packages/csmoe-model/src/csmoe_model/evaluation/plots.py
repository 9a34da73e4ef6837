"""Quality against cost, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csmoe_model.evaluation.records import Record
from csmoe_model.evaluation.tables import Row, headlines, rows

_COLUMNS = 3
_LABEL_FREE = 1e-6


def draw_costs(records: Sequence[Record], path: Path) -> None:
    """Draws every headline against the GFLOP of a sample, with intervals; floors are lines.

    Raises:
        ConfigError: The records cannot be compared.
    """
    from matplotlib.figure import Figure as Picture

    table = rows(records)
    shown = [name for name in headlines(table) if any(_cost(row, name) for row in table)]
    if not shown:
        return
    num_rows = -(-len(shown) // _COLUMNS)
    columns = min(_COLUMNS, len(shown))
    picture = Picture(figsize=(4.6 * columns, 3.4 * num_rows), layout="constrained")
    axes = picture.subplots(num_rows, columns, squeeze=False)
    colours = {row.record.model.name: f"C{k % 10}" for k, row in enumerate(table)}
    for axis, name in zip(axes.flat, shown, strict=False):
        for row in table:
            _draw(axis, row, name, colours[row.record.model.name])
        axis.set_title(name, fontsize=9)
        axis.set_xscale("log")
        axis.grid(alpha=0.3, linewidth=0.5)
        axis.tick_params(labelsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("GFLOP a sample", fontsize=8)
    for axis in axes.flat[len(shown) :]:
        axis.remove()
    handles = _legend(axes)
    picture.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    picture.savefig(path, dpi=110)


def _draw(axis: Any, row: Row, name: str, colour: str) -> None:
    figure = row.figures.get(name)
    if figure is None or np.isnan(figure.value):
        return
    label = row.record.model.name
    cost = _cost(row, name)
    if row.record.model.kind == "statistics" or cost is None:
        axis.axhline(figure.value, color=colour, linestyle="--", linewidth=1, label=label)
        return
    spread = np.nan_to_num([[figure.value - figure.low], [figure.high - figure.value]])
    marker = "x" if row.record.is_floor else "o"
    axis.errorbar(
        [max(cost, _LABEL_FREE)],
        [figure.value],
        np.maximum(spread, 0),
        fmt=marker,
        color=colour,
        capsize=3,
        label=label,
    )


def _cost(row: Row, name: str) -> float | None:
    return row.record.gflop(name.split("/")[1])


def _legend(axes: Any) -> dict[str, Any]:
    """Handles by label, of all panels."""
    found: dict[str, Any] = {}
    for axis in axes.flat:
        if axis.figure is not None:
            found |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    return found
