"""What a segmenter makes of test images, as a picture: the best, the middle and the worst ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from csmoe_model.evaluation.crops import IGNORED
from csmoe_model.evaluation.dataset import Bands, EvaluationSet, Float32
from csmoe_model.evaluation.gallery import composite, stretched
from csmoe_model.evaluation.segment_batches import SegmentConfig
from csmoe_model.evaluation.segmentation import SegmentationResult, predict
from csmoe_model.train.pictures import save_figure

_BLANK = 0.82
"""Grey of pixels that are invalid or count for nothing."""
_WRONG, _RIGHT = (0.84, 0.15, 0.16), (0.93, 0.96, 0.93)
_PANEL_INCHES, _LEGEND_INCHES = 1.9, 0.3
_IN_A_ROW = 6
"""Classes of the legend."""


def draw_masks(
    data: EvaluationSet,
    result: SegmentationResult,
    config: SegmentConfig,
    path: Path,
    *,
    device: torch.device,
    each: int = 2,
) -> None:
    """Writes a PNG: a row for each image with its sensors, the reference, the prediction, and where these differ.

    Args:
        data: That the result is of.
        result: The segmenter and its figures.
        config: That it was made with.
        path: Of the picture; it is replaced whole.
        device: Where to compute.
        each: Images among the best, in the middle, and among the worst.

    Raises:
        DataError: A sample cannot be read.
    """
    save_figure(mask_figure(data, result, config, device=device, each=each), path)


def mask_figure(
    data: EvaluationSet, result: SegmentationResult, config: SegmentConfig, *, device: torch.device, each: int = 2
) -> Figure:
    """The figure of `draw_masks`; its axes run by image, then column."""
    chosen = chosen_images(result.image_miou, each)
    samples = [int(result.samples[place]) for place, _ in chosen]
    rows = []
    for (place, kind), sample, found in zip(
        chosen, samples, predict(data, result.segmenter, config, samples, device), strict=True
    ):
        scene, predicted = found
        title = f"{kind}: {data.ids[sample]}, mIoU {result.image_miou[place]:.2f}"
        rows.append((title, data.reader.images(sample), scene.reference.numpy(), predicted.numpy()))
    return _figure(data, rows)


def chosen_images(scores: npt.NDArray[np.float64], each: int) -> list[tuple[int, str]]:
    """Positions of the best, middle and worst images, the best first, and which they are; none stands twice."""
    known = [int(k) for k in np.argsort(-scores, kind="stable") if np.isfinite(scores[k])]
    first = max(0, (len(known) - each) // 2)
    ranks = {"best": range(each), "median": range(first, first + each), "worst": range(len(known) - each, len(known))}
    found: dict[int, str] = {}
    for kind in ("best", "worst", "median"):
        for rank in ranks[kind]:
            if 0 <= rank < len(known):
                found.setdefault(known[rank], kind)
    return [(place, found[place]) for place in known if place in found]


def _figure(data: EvaluationSet, rows: Sequence[tuple[str, dict[str, Float32], Any, Any]]) -> Figure:
    names = list(data.sensors)
    colours = colormaps["tab10" if len(data.classes) <= 10 else "turbo"]
    palette = colours(np.arange(10) if len(data.classes) <= 10 else np.linspace(0, 1, len(data.classes)))[:, :3]
    legend = _LEGEND_INCHES * -(-len(data.classes) // _IN_A_ROW)
    height = (_PANEL_INCHES + 0.3) * len(rows) + legend
    figure = Figure(figsize=(_PANEL_INCHES * (len(names) + 3), height))
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), len(names) + 3, squeeze=False)
    figure.subplots_adjust(
        left=0.005, right=0.995, top=1 - 0.36 / height, bottom=legend / height, wspace=0.04, hspace=0.2
    )
    for axes, (title, images, reference, predicted) in zip(grid, rows, strict=True):
        for k, name in enumerate(names):
            _show(axes[k], name, _picture(images.get(name), data.sensors[name], reference.shape))
        counts = reference != IGNORED
        blank = np.full((*reference.shape, 3), _BLANK)
        _show(axes[-3], "reference", np.where(counts[..., None], palette[reference], blank))
        _show(axes[-2], "prediction", palette[predicted])
        wrong = np.where((reference != predicted)[..., None], _WRONG, _RIGHT)
        _show(axes[-1], "error", np.where(counts[..., None], wrong, blank))
        axes[0].annotate(title, (0, 1), (0, 14), "axes fraction", textcoords="offset points", fontsize=9, weight="bold")
    marks = [Patch(color=tuple(colour), label=name) for colour, name in zip(palette, data.classes, strict=False)]
    marks.append(Patch(color=(_BLANK,) * 3, label="counts for nothing"))
    figure.legend(handles=marks, loc="lower center", ncols=_IN_A_ROW, fontsize=8, frameon=False)
    return figure


def _show(axes: Axes, title: str, image: npt.NDArray[Any]) -> None:
    axes.set_axis_off()
    axes.set_title(title, fontsize=8, pad=2)
    axes.imshow(image, interpolation="nearest")


def _picture(image: Float32 | None, bands: Bands, shape: tuple[int, int]) -> Float32:
    """(C, H, W) -> (H, W, 3) in [0, 1]; grey where nothing is known."""
    (shown,) = stretched([None if image is None else composite(image, bands)], bands)
    return np.full((*shape, 3), _BLANK, np.float32) if shown is None else shown
