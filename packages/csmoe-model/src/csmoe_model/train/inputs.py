"""What a run is made from: folder, manifest, chips."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from csmoe_model.data.manifest import Rows, read_rows
from csmoe_model.data.order import SampleOrder
from csmoe_model.data.samples import Batch, ChipSamples, Key
from csmoe_model.data.store import ChipStore
from csmoe_model.errors import ConfigError
from csmoe_model.train.checkpoint import CHECKPOINTS, checkpoints, read_config
from csmoe_model.train.config import MAY_CHANGE, TrainConfig
from csmoe_model.train.pictures import varied_places
from csmoe_model.train.probe import Probe

_SHOWN = 4
"""Places that are drawn."""
_FAR_MEAN, _FAR_STD = 1.5, 3.0
"""Of standardised bands: beyond these (or below the inverse) the statistics are not those of the data."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Where a run reads and writes."""

    manifest: Path
    chips: Path
    out: Path
    resume: bool = False
    init_from: Path | None = None
    """A checkpoint whose weights a new run begins with."""
    wandb: str | None = None
    """Project of Weights & Biases to log to."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a run learns from, and what it is looked at with."""

    samples: ChipSamples
    order: SampleOrder
    rows: Rows
    fingerprint: str
    """Of the training rows and their store."""
    probe: Probe | None = None
    shown: tuple[Batch, list[str]] | None = None
    notes: Sequence[str] = ()


def check_folder(config: TrainConfig, inputs: Inputs) -> None:
    """Sees to it that a run is begun or continued, never overwritten; writes nothing.

    Raises:
        ConfigError: It is there already, or there is nothing to continue, or that was something else.
    """
    out = inputs.out
    if inputs.resume and inputs.init_from:
        raise ConfigError("--resume continues a run and --init-from begins one: give one of them")
    found = checkpoints(out / CHECKPOINTS)
    if inputs.resume:
        if not found:
            raise ConfigError(f"run {out}: has no checkpoint to go on from: leave --resume out to begin")
        changed = differences(read_config(found[-1]), config)
        if changed:
            raise ConfigError(
                f"run {out}: was begun with another {', '.join(changed)}: leave them as they were, or begin another "
                f"run with --init-from {out}"
            )
    # What was killed before its first checkpoint has left nothing else.
    elif found or (out.exists() and (not out.is_dir() or any(path.name != CHECKPOINTS for path in out.iterdir()))):
        raise ConfigError(f"run {out}: is there already: add --resume to go on with it, or choose another --out")


def differences(before: TrainConfig, now: TrainConfig) -> list[str]:
    """Keys that differ and would make another run of it."""
    one, other = before.model_dump(mode="json"), now.model_dump(mode="json")
    for values in (one, other):
        values["data"].pop("workers")
        for name in MAY_CHANGE:
            values.pop(name)
    return [
        f"{key}.{name}" if isinstance(one[key], dict) else key
        for key in one
        for name in (one[key] if isinstance(one[key], dict) else [""])
        if (one[key][name] != other[key][name] if name else one[key] != other[key])
    ]


def load_inputs(config: TrainConfig, inputs: Inputs, processes: int, *, main: bool) -> Loaded:
    """Manifest and chips as samples in order; for the main process places held out and notes as well.

    Raises:
        DataError: They are not usable, do not belong together, or are too few.
        ConfigError: The batch does not divide by the processes.
    """
    if config.batch % (config.accumulate * processes):
        raise ConfigError(
            f"batch {config.batch} does not divide by accumulate {config.accumulate} x {processes} processes: "
            "choose a multiple"
        )
    store = ChipStore(inputs.chips)
    store.check(config.model.sensors)
    everything = read_rows(inputs.manifest, store)
    part = config.batch // config.accumulate
    rows = everything.of_split(config.data.split, least=part)
    weights = rows.weight if config.data.weighted else None
    samples = ChipSamples(store, rows, config.model, config.seed, config.data.crop_scale)
    order = SampleOrder(num_rows=len(rows), batch=part, seed=config.seed, weights=weights)
    loaded = Loaded(samples=samples, order=order, rows=rows, fingerprint=_fingerprint(rows, store))
    return _with_probe(loaded, config, store, everything.of_split(config.data.held_out)) if main else loaded


def _with_probe(loaded: Loaded, config: TrainConfig, store: ChipStore, held_out: Rows) -> Loaded:
    """With places to look at, and notes on what looks wrong."""
    probe, shown = None, None
    notes = _size_notes(store, config)
    if config.probe_every and len(held_out) > 1:
        probe, shown = _probe_of(config, store, loaded.rows, held_out)
        notes += probe.caveats()
    elif config.probe_every:
        notes.append(f"split '{config.data.held_out}' has {len(held_out)} chips: there will be no probe")
    notes += _statistics_notes(_whole(config, store, _spread(loaded.rows, 64)), config)
    return replace(loaded, probe=probe, shown=shown, notes=notes)


def _probe_of(
    config: TrainConfig, store: ChipStore, rows: Rows, held_out: Rows
) -> tuple[Probe, tuple[Batch, list[str]] | None]:
    train, asked = (_spread(part, config.probe_places) for part in (rows, held_out))
    batches = [_whole(config, store, part) for part in (train, asked)]
    labels = [getattr(part, config.data.label) for part in (train, asked)]
    probe = Probe(batches[0], batches[1], labels[0], labels[1])
    if not (config.model.loss.umr or config.model.loss.cmr):
        return probe, None
    few = asked.take(np.array(varied_places(labels[1].tolist(), _SHOWN)))
    titles = [" ".join(words) for words in zip(few.tile_id, few.landcover, few.climate, strict=True)]
    return probe, (_whole(config, store, few), titles)


def _whole(config: TrainConfig, store: ChipStore, rows: Rows) -> Batch:
    """The middle of chips, without augmentation."""
    samples = ChipSamples(store, rows, config.model, config.seed, None)
    return samples.batch([Key(0, k) for k in range(len(rows))])


def _spread(rows: Rows, most: int) -> Rows:
    """At most so many rows, evenly through the ranks."""
    return rows.take(np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)))


def _size_notes(store: ChipStore, config: TrainConfig) -> list[str]:
    chip, image = store.size_px, config.model.image_px
    if chip >= image:
        return []
    return [f"chips of {chip} px are enlarged to images of {image} px: --image-px {_fitting(chip, config)} would not"]


def _fitting(chip_px: int, config: TrainConfig) -> int:
    patch = config.model.patch_px
    return max(patch, chip_px // patch * patch)


def _statistics_notes(batch: Batch, config: TrainConfig) -> list[str]:
    """Bands that are far from mean 0 and deviation 1 after standardisation."""
    far = []
    for name, sensor in config.model.sensors.items():
        images, valid = batch.images[name], batch.valid[name]
        for k, band in enumerate(sensor.bands):
            pixels = images[:, k][valid[:, k]].double()
            if len(pixels) < 2:
                continue
            mean, std = float(pixels.mean()), float(pixels.std())
            if abs(mean) > _FAR_MEAN or not 1 / _FAR_STD < std < _FAR_STD:
                far.append(f"{band} of {name} has mean {mean:.1f} and deviation {std:.1f}")
    if not far:
        return []
    more = f" and {len(far) - 3} more" if len(far) > 3 else ""
    return [
        f"after standardisation {'; '.join(far[:3])}{more}: `csmoe-train stats` gives the statistics of these chips"
    ]


def _fingerprint(rows: Rows, store: ChipStore) -> str:
    digest = hashlib.sha256("\n".join(rows.tile_id).encode())
    digest.update(np.ascontiguousarray(rows.chip, "<i8").tobytes())
    digest.update(str(store.about.get("manifest", {}).get("rows_digest")).encode())
    return digest.hexdigest()[:16]
