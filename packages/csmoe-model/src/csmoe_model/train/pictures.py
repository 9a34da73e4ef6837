"""What a model makes of hidden patches, as a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from csmoe_model.data.samples import Batch
from csmoe_model.errors import ConfigError
from csmoe_model.nn.losses import patch_statistics
from csmoe_model.nn.masking import Mask
from csmoe_model.nn.model import CSMoE
from csmoe_model.sensors import Sensor

Float32 = npt.NDArray[np.float32]
_BLANK = 0.82
"""Grey of what is hidden or invalid."""
_GAMMA = 0.7
"""Of true colours: land is dark."""
_TRUE_COLOURS = ("B04", "B03", "B02")
_PANEL_INCHES, _LABEL_INCHES, _TITLE_INCHES = 1.8, 0.16, 0.22
_DPI = 130


@dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """Images of places in the sensors' own units, (B, C, H, W) each; NaN where hidden or invalid."""

    original: dict[str, Tensor]
    visible: dict[str, Tensor]
    """What the encoder was shown."""
    rebuilt: dict[tuple[str, str], Tensor]
    """(source, target) -> the target as decoded from the source where the source was hidden, as it is elsewhere."""


@torch.no_grad()
def reconstruct(model: CSMoE, batch: Batch, masks: Mapping[str, Mask]) -> Reconstructions:
    """What a model makes of hidden patches; in evaluation mode, on the CPU.

    Predictions of patch-standardised pixels (`loss.normalise_patches`) are brought back with the mean and deviation of
    the patch that they predict, as customary: texture is then the model's, brightness is not.

    Raises:
        ConfigError: The model learns no reconstruction.
    """
    weights = {True: model.config.loss.umr, False: model.config.loss.cmr}
    pairs = [pair for pair in product(batch.images, repeat=2) if weights[pair[0] == pair[1]]]
    if not pairs:
        raise ConfigError("no reconstructions: loss.umr and loss.cmr are 0, the decoders have learned nothing")
    device = next(model.parameters()).device
    batch = batch.to(torch.device("cpu"))
    training = model.training
    model.eval()
    try:
        placed = {name: Mask(mask.visible.to(device), mask.hidden.to(device)) for name, mask in masks.items()}
        seen = {name: model.encoder(name, x.to(device), placed[name].visible) for name, x in batch.images.items()}
        predicted = {(one, other): model.decoders(seen[one], placed[one], other).float().cpu() for one, other in pairs}
    finally:
        model.train(training)
    sensors = model.config.sensors
    original = {
        name: _in_units(x, sensors[name]).where(batch.valid[name], torch.nan) for name, x in batch.images.items()
    }
    visible = {name: model.unpatchify(_hide(model.patchify(x), masks[name])) for name, x in original.items()}
    rebuilt = {}
    for (source, target), patches in predicted.items():
        if model.config.loss.normalise_patches:
            mean, std = patch_statistics(model.patchify(batch.images[target]), model.patchify(batch.valid[target]))
            patches = patches * std + mean
        images = _in_units(model.unpatchify(patches), sensors[target])
        shown = torch.where(
            masks[source].hidden[..., None].cpu(), model.patchify(images), model.patchify(original[target])
        )
        rebuilt[source, target] = model.unpatchify(shown)
    return Reconstructions(original=original, visible=visible, rebuilt=rebuilt)


def draw_reconstructions(
    model: CSMoE, batch: Batch, masks: Mapping[str, Mask], path: Path, titles: Sequence[str]
) -> None:
    """Writes a PNG: a row for each place and sensor; original, what is visible, and what each sensor makes of the rest.

    Args:
        model: In any mode; it is given back in that mode.
        batch: A few places.
        masks: What is hidden of each sensor.
        path: Of the picture; it is replaced whole.
        titles: One a place.

    Raises:
        ConfigError: The model learns no reconstruction.
    """
    found = reconstruct(model, batch, masks)
    save_figure(reconstruction_figure(found, model.config.sensors, titles), path)


def reconstruction_figure(found: Reconstructions, sensors: Mapping[str, Sensor], titles: Sequence[str]) -> Figure:
    """The figure of `draw_reconstructions`; its axes run by place, sensor, column."""
    names = list(found.original)
    beside = len(names) if len(names) < 3 else 1  # two sensors fit beside each other, more stand in rows
    rows, columns = len(names) // beside, beside * (len(names) + 2)
    height = (_PANEL_INCHES + _LABEL_INCHES) * rows + _TITLE_INCHES
    figure = Figure(figsize=(_PANEL_INCHES * columns * 1.04, height * len(titles)))
    FigureCanvasAgg(figure)
    places = figure.subfigures(len(titles), 1, squeeze=False)[:, 0]
    for k, (place, title) in enumerate(zip(places, titles, strict=True)):
        place.suptitle(title, fontsize=9, fontweight="bold", x=0.005, ha="left", y=1 - 0.04 / height, va="top")
        axes = place.subplots(rows, columns, squeeze=False).reshape(len(names), -1)
        place.subplots_adjust(
            left=0.005,
            right=0.995,
            bottom=0.01,
            top=1 - (_TITLE_INCHES + _LABEL_INCHES) / height,
            wspace=0.04,
            hspace=0.12,
        )
        for row, name in zip(axes, names, strict=True):
            _draw_row(row, found, name, sensors[name], k)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """The figure as PNG, whole or not at all; the same figure gives the same bytes."""
    draft = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(draft, format="png", dpi=_DPI, metadata={"Software": None})
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def varied_places(labels: Sequence[str], count: int) -> list[int]:
    """Positions of up to `count` places with as many different labels as there are, in their order.

    The first place of each label, then the second of each, and so on.
    """
    turn: dict[str, int] = {}
    turns = []
    for label in map(str, labels):
        turns.append(turn.get(label, 0))
        turn[label] = turns[-1] + 1
    return sorted(sorted(range(len(turns)), key=lambda k: (turns[k], k))[:count])


def _draw_row(row: Sequence[Axes], found: Reconstructions, name: str, sensor: Sensor, place: int) -> None:
    """Panels of a sensor of a place."""
    original = _composite(found.original[name][place], sensor)
    limits = _limits(original, sensor)
    others = [source for source in found.original if source != name]
    panels: list[tuple[str, Tensor | None]] = [
        (f"{name}, original", found.original[name][place]),
        ("visible", found.visible[name][place]),
        ("from itself", _of(found, (name, name), place)),
        *((f"from {source}", _of(found, (source, name), place)) for source in others),
    ]
    for axes, (label, image) in zip(row, panels, strict=True):
        axes.set_axis_off()
        if image is not None:
            axes.set_title(label, fontsize=8, pad=2)
            axes.imshow(_stretched(_composite(image, sensor), limits, sensor), interpolation="nearest")


def _of(found: Reconstructions, pair: tuple[str, str], place: int) -> Tensor | None:
    return found.rebuilt[pair][place] if pair in found.rebuilt else None


def _composite(image: Tensor, sensor: Sensor) -> Float32:
    """(C, H, W) -> (H, W, 3): true colours where the sensor has them, else a band in grey, VV before others."""
    bands = {name: image[k].numpy() for k, name in enumerate(sensor.bands)}
    grey = "VV" if "VV" in bands else sensor.bands[0]
    names = _TRUE_COLOURS if _is_coloured(sensor) else [grey] * 3
    return np.stack([bands[name] for name in names], axis=-1).astype(np.float32)


def _is_coloured(sensor: Sensor) -> bool:
    return all(name in sensor.bands for name in _TRUE_COLOURS)


def _limits(original: Float32, sensor: Sensor) -> tuple[float, float]:
    """Values shown as black and as white, the same for all colours, so that their balance is kept."""
    pixels = original[np.isfinite(original)]
    if not len(pixels):  # the place lacks the sensor: only predictions are there to be seen
        middle, spread = (torch.tensor(values)[:, None, None] for values in (sensor.mean, sensor.std))
        pixels = np.stack([_composite(middle + side * spread, sensor) for side in (-1.5, 1.5)])
    low, high = np.percentile(pixels, (2, 98))
    least = 0.2 * min(sensor.std)  # so that noise does not become a picture
    return float(low), float(max(high, low + least))


def _stretched(image: Float32, limits: tuple[float, float], sensor: Sensor) -> Float32:
    """(H, W, 3) in [0, 1]; grey where a channel is missing."""
    low, high = limits
    shown = np.clip((image - low) / (high - low), 0.0, 1.0) ** (_GAMMA if _is_coloured(sensor) else 1.0)
    known = np.isfinite(image).all(-1, keepdims=True)
    return np.where(known, shown, _BLANK).astype(np.float32)


def _in_units(images: Tensor, sensor: Sensor) -> Tensor:
    """Standardised images in the sensor's unit."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (sensor.mean, sensor.std))
    return images * std + mean


def _hide(patches: Tensor, mask: Mask) -> Tensor:
    return patches.masked_fill(mask.hidden[..., None].cpu(), torch.nan)
