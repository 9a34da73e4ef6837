"""The figures of a run over its steps, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from csmoe_model.errors import DataError
from csmoe_model.train.logs import read_metrics
from csmoe_model.train.pictures import save_figure


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A plot of some figures over steps."""

    title: str
    starts: tuple[str, ...]
    """Names, or the starts of names that end in `/`."""
    smooth: bool = False
    """Draw a running mean over the values of single steps."""
    log: bool = False
    from_zero: bool = False

    def holds(self, name: str) -> bool:
        """Whether a figure is drawn here."""
        return any(name.startswith(start) if start.endswith("/") else name == start for start in self.starts)

    def label(self, name: str) -> str:
        """Of a figure in the legend: of the probe's, what the panel's title does not say."""
        return name.split("/", 2)[-1] if name.startswith("probe/") else name


PANELS = (
    Panel(title="loss", starts=("loss",), smooth=True),
    Panel(title="squared error of hidden pixels", starts=("umr/", "cmr/"), smooth=True),
    Panel(title="agreement of the views of a place", starts=("mim/", "mde/", "same/"), smooth=True),
    Panel(title="k-NN accuracy, held out", starts=("probe/knn/",)),
    Panel(title="k-NN balanced accuracy, held out", starts=("probe/knn_balanced/",)),
    Panel(title="linear accuracy, held out", starts=("probe/linear/",)),
    Panel(title="retrieval of the other sensor, recall at 1", starts=("probe/retrieval/",)),
    Panel(title="retrieval, mean reciprocal rank", starts=("probe/retrieval_mrr/",)),
    Panel(title="effective rank of the features", starts=("probe/effective_rank/",)),
    Panel(title="deviation of the features (1: fill the sphere)", starts=("probe/feature_std/",)),
    Panel(
        title="routing",
        starts=(
            "probe/routing/dispatch_entropy",
            "probe/routing/combine_entropy",
            "probe/routing/dead_slots",
            "probe/routing/expert_similarity",
        ),
    ),
    Panel(
        title="share of an expert, of an even part",
        starts=("probe/routing/expert_share_min", "probe/routing/expert_share_max"),
    ),
    Panel(title="router scale", starts=("probe/routing/router_scale",)),
    Panel(title="learning rate", starts=("lr",)),
    Panel(title="norm of the gradient", starts=("grad_norm",), smooth=True, log=True),
    Panel(title="samples a second", starts=("samples_s",), from_zero=True),
    Panel(title="share of time waiting for data", starts=("data_wait",), from_zero=True),
)
"""What `draw_curves` shows of a run; empty ones are left out."""


def draw_curves(metrics_path: Path, path: Path) -> None:
    """Writes a PNG of the figures of a metrics.jsonl over steps; floors of the probe are dashed.

    Raises:
        DataError: There are no figures.
    """
    try:
        lines = read_metrics(metrics_path)
    except OSError as error:
        raise DataError(
            f"metrics {metrics_path}: cannot be read ({error.strerror}): name a run's metrics.jsonl"
        ) from error
    if not any(len(line) > 1 for line in lines):
        raise DataError(f"metrics {metrics_path}: holds no figures yet: wait for the run's first ones")
    save_figure(curve_figure(lines), path)


def curve_figure(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """The figure of `draw_curves`."""
    found = {name for line in lines for name in line} - {"step"}
    names = sorted(found, key=lambda name: (name.endswith("/joint"), name))
    panels = [(panel, own) for panel in PANELS if (own := [name for name in names if panel.holds(name)])]
    columns = min(3, len(panels)) or 1
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 2.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for k, (panel, own) in enumerate(panels):
        _draw_panel(figure.add_subplot(rows, columns, k + 1), panel, own, lines)
    return figure


def _draw_panel(axes: Axes, panel: Panel, names: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """Lines over steps, and the floor of each dashed in its colour."""
    for k, name in enumerate(names):
        steps, values = _series(lines, name)
        colour = f"C{k % 10}"
        floors = _series(lines, name.replace("probe/", "floor/", 1))[1] if name.startswith("probe/") else values[:0]
        smooth = panel.smooth and len(steps) > 60
        if smooth:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            values = _running_mean(values, len(values) // 30)
        marker = "." if len(steps) < 40 else ""
        axes.plot(steps, values, color=colour, linewidth=1.5, marker=marker, label=panel.label(name))
        if len(floors):
            axes.axhline(floors[-1], color=colour, linestyle="--", linewidth=1.0)
    if panel.title.startswith("k-NN accuracy") and len(majority := _series(lines, "floor/knn/majority")[1]):
        axes.axhline(majority[-1], color="0.4", linestyle=":", linewidth=1.0, label="commonest label")
    if any(line.get_linestyle() == "--" for line in axes.lines):
        axes.plot([], [], color="0.4", linestyle="--", linewidth=1.0, label="floor")
    if panel.log:
        axes.set_yscale("log")
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.from_zero:
        axes.set_ylim(bottom=0.0)
    if len(panel.starts) > 1 or panel.starts[0].endswith("/"):  # more than the title says
        axes.legend(fontsize=7, framealpha=0.7, edgecolor="none")


def _series(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and values of a figure; NaN where it was not finite."""
    found = [(line["step"], line[name]) for line in lines if name in line]
    values = [np.nan if value is None else float(value) for _, value in found]
    return np.array([step for step, _ in found], np.int64), np.array(values, np.float64)


def _running_mean(values: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    """Mean of each value with up to `reach` on either side; those that are not finite are left out."""
    good = np.isfinite(values)
    sums, counts = (
        np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(good, values, 0.0), good.astype(np.float64))
    )
    place = np.arange(len(values))
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    count = counts[high] - counts[low]
    return np.where(count > 0, (sums[high] - sums[low]) / np.maximum(count, 1.0), np.nan)
