"""Pictures of queries and what they found: the best and the worst of a direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from csmoe_model.evaluation.dataset import Bands, EvaluationSet, Float32
from csmoe_model.evaluation.extract import JOINT
from csmoe_model.evaluation.retrieval import Direction
from csmoe_model.evaluation.search import Ints
from csmoe_model.train.pictures import save_figure

RESULTS = 5
"""Shown beside a query."""
_GREEN, _RED, _GREY = "#1f9d55", "#d1352b", "#5a5a5a"
_BLANK, _GAMMA = 0.82, 0.7
"""Grey of what is missing; of true colours, for land is dark."""
_TRUE_COLOURS = (("B04", "B03", "B02"), ("red", "green", "blue"))
_INCHES, _TITLE_INCHES, _HEAD_INCHES = 1.6, 0.36, 0.3
_LETTERS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scene:
    """What a gallery is drawn from."""

    data: EvaluationSet
    direction: Direction
    sources: Mapping[str, str]

    def sensor(self, view: str) -> str:
        """Sensor of the data set that shows a view: of all together one in true colours, where there is one."""
        if view != JOINT:
            return self.sources.get(view, view)
        return max(self.data.sensors, key=lambda name: bool(_colours(self.data.sensors[name].names)))

    def pixels(self, sample: int, view: str) -> Float32 | None:
        """(H, W, 3) Bands to show, not yet stretched."""
        name = self.sensor(view)
        found = self.data.reader.images(sample).get(name)
        return None if found is None else composite(found, self.data.sensors[name])

    def relevant(self, query: int, sample: int) -> bool:
        """Whether they share a label or, without labels, are a pair."""
        labels = self.data.labels
        if labels is None:
            return query == sample
        return bool((labels[query] & labels[sample]).any() if labels.ndim == 2 else labels[query] == labels[sample])

    def title(self, sample: int) -> str:
        """Names of its labels, or its id."""
        labels = self.data.labels
        if labels is None:
            return _short(str(self.data.ids[sample]))
        codes = np.flatnonzero(labels[sample]).tolist() if labels.ndim == 2 else [int(labels[sample])]
        more = f" +{len(codes) - 1}" if len(codes) > 1 else ""
        return _short(self.data.classes[codes[0]] if codes else "no label", _LETTERS - len(more)) + more


def draw_gallery(
    data: EvaluationSet, direction: Direction, path: Path, *, each: int = 4, sources: Mapping[str, str] | None = None
) -> None:
    """Writes a PNG: a row for each of the best and the worst queries, with what they found, framed by relevance.

    Green frames share a label with the query or, where there are no labels, are its pair; red ones do not.

    Args:
        data: The data set.
        direction: Queries and what they found.
        path: Of the picture; it is replaced whole.
        each: Best queries, and worst ones.
        sources: Sensors of the data set by those of the model, where their names differ.

    Raises:
        DataError: A sample cannot be read.
    """
    save_figure(gallery_figure(data, direction, each=each, sources=sources), path)


def gallery_figure(
    data: EvaluationSet, direction: Direction, *, each: int = 4, sources: Mapping[str, str] | None = None
) -> Figure:
    """The figure of `draw_gallery`; its axes run by query, then query and results."""
    best, worst = extremes(direction.scores, each)
    rows = [*best.tolist(), *worst.tolist()]
    columns = 1 + min(RESULTS, direction.found.shape[1])
    height = (_INCHES + _TITLE_INCHES) * len(rows) + _HEAD_INCHES
    figure = Figure(figsize=(_INCHES * (columns + 0.35), height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    figure.subplots_adjust(
        left=0.05,
        right=0.995,
        top=1 - (_HEAD_INCHES + _TITLE_INCHES) / height,
        bottom=0.03 / height,
        hspace=0.22,
        wspace=0.08,
    )
    asked = f"{direction.source} asks {direction.num_items:,} items of {direction.target}"
    figure.suptitle(
        f"{data.name}: {asked}, scores {direction.scored}",
        fontsize=10,
        y=1 - 0.08 / height,
        va="top",
    )
    scene = _Scene(data=data, direction=direction, sources=sources or {})
    for place, (row, line) in enumerate(zip(rows, axes, strict=True)):
        kind = "best" if place < len(best) else "worst"
        _draw_row(scene, row, line, f"{kind}, {direction.scores[row]:.2f}")
    return figure


def extremes(scores: npt.NDArray[np.float64], each: int) -> tuple[Ints, Ints]:
    """Numbers of the best and of the worst queries, none twice: best first, worst last."""
    known = np.flatnonzero(np.isfinite(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    best = order[: min(each, (len(order) + 1) // 2)]
    return best, order[len(best) :][-each:]


def composite(pixels: Float32, bands: Bands) -> Float32:
    """(C, H, W) -> (H, W, 3): true colours, else VV or the first band in grey."""
    by_name = dict(zip(bands.names, pixels, strict=True))
    if colours := _colours(bands.names):
        shown = [by_name[name] for name in colours]
    else:
        shown = [by_name[min(by_name, key=lambda name: name != "VV")]] * 3
    return np.stack(shown, axis=-1).astype(np.float32)


def stretched(images: Sequence[Float32 | None], bands: Bands) -> list[Float32 | None]:
    """Images in [0, 1], stretched alike, so that they can be compared; grey where a band is missing."""
    coloured = bool(_colours(bands.names))
    low, high = _limits([image for image in images if image is not None], bands, together=coloured)
    gamma = _GAMMA if coloured and bands.unit != "byte" else 1.0
    found: list[Float32 | None] = []
    for image in images:
        if image is not None:
            known = np.isfinite(image).all(-1, keepdims=True)
            scaled = np.clip((np.where(known, image, low) - low) / (high - low), 0, 1) ** gamma
            image = np.where(known, scaled, _BLANK).astype(np.float32)
        found.append(image)
    return found


def _colours(names: Sequence[str]) -> tuple[str, ...]:
    """Bands of red, green and blue; none where one is lacking."""
    return next((colours for colours in _TRUE_COLOURS if set(colours) <= set(names)), ())


def _limits(images: Sequence[Float32], bands: Bands, *, together: bool) -> tuple[Float32, Float32]:
    """Values (3,) shown as black and as white; of true colours the same for all, so that their balance is kept."""
    if bands.unit == "byte":
        return np.zeros(3, np.float32), np.full(3, 255, np.float32)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images] or [np.zeros((1, 3), np.float32)])
    pixels = pixels[np.isfinite(pixels).all(1)]
    if not len(pixels):
        return np.zeros(3, np.float32), np.ones(3, np.float32)
    low, high = np.percentile(pixels, (2, 98), axis=None if together else 0)
    low = np.broadcast_to(low, 3).astype(np.float32)
    return low, np.maximum(np.broadcast_to(high, 3), low + 1e-3).astype(np.float32)


def _draw_row(scene: _Scene, row: int, line: Sequence[Axes], label: str) -> None:
    direction = scene.direction
    query = int(direction.queries[row])
    found = direction.found[row, : len(line) - 1].tolist()
    views = [direction.source] + [direction.target] * len(found)
    raw = [
        scene.pixels(sample, view) if sample >= 0 else None for sample, view in zip([query, *found], views, strict=True)
    ]
    shown: list[Float32 | None] = [None] * len(raw)
    for name in {scene.sensor(view) for view in views}:
        places = [place for place, view in enumerate(views) if scene.sensor(view) == name]
        for place, image in zip(places, stretched([raw[k] for k in places], scene.data.sensors[name]), strict=True):
            shown[place] = image
    _draw(line[0], shown[0], f"{scene.title(query)}\n{direction.source}", _GREY)
    line[0].set_ylabel(label, fontsize=9)
    for place, (axes, sample) in enumerate(zip(line[1:], found, strict=True)):
        if sample < 0:
            axes.set_visible(False)
            continue
        colour = _GREEN if scene.relevant(query, sample) else _RED
        pair = ", its pair" if sample == query else ""
        title = f"{scene.title(sample)}\n{direction.cosines[row, place]:.3f}{pair}"
        _draw(axes, shown[place + 1], title, colour)


def _draw(axes: Axes, image: Float32 | None, title: str, colour: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=7.5, pad=3, color=colour if colour != _GREY else "black", linespacing=1.15)
    axes.imshow(np.full((1, 1, 3), _BLANK) if image is None else image, interpolation="nearest")
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=3.0)


def _short(text: str, letters: int = _LETTERS) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
