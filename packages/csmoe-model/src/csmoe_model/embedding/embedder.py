"""Chips -> features -> rows, batch by batch."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import Field

from csmoe_model import __version__
from csmoe_model.config import Positive, Section
from csmoe_model.data.augment import centre_view
from csmoe_model.data.batch import Batch
from csmoe_model.data.manifest import read_rows
from csmoe_model.data.order import Draws, Place, SampleOrder
from csmoe_model.data.samples import ChipSamples, open_loader
from csmoe_model.data.store import ChipStore
from csmoe_model.embedding.layout import Places, rows_of
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.train.checkpoint import WEIGHTS, load_model, resolve

Floats = npt.NDArray[np.float64]


class EmbedConfig(Section):
    """What is embedded, and how."""

    sensors: tuple[str, ...] = ()
    """Of the model's; none: all."""
    per_patch: bool = False
    """A row for each patch in place of one for each tile."""
    dtype: Literal["float32", "float16"] = "float32"
    """Of the numbers that are kept."""
    batch: Positive = 64
    """Tiles at once."""
    workers: Annotated[int, Field(ge=0)] = 2
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedBatch:
    """The rows of some tiles."""

    rows: pa.RecordBatch
    extents: Floats
    """(n, 4) West, south, east, north of their geometries."""
    num_tiles: int
    missing: dict[str, int]
    """Tiles without a sensor, hence without rows of it."""
    waited_s: float
    """For their pixels."""


class Embedder:
    """Embeddings of the chips of a manifest: of the middle of each, in its first season, as the probe looks at them.

    Args:
        checkpoint: A checkpoint or run.
        manifest: Its rows that have chips are taken, in their order.
        chips: The store.
        config: What and how.

    Raises:
        CheckpointError: The model cannot be loaded.
        ConfigError: The model has no such sensor.
        DataError: Manifest and store cannot be used.
    """

    def __init__(self, checkpoint: Path, manifest: Path, chips: Path, config: EmbedConfig) -> None:
        self.config, self._device = config, torch.device(config.device)
        self._model = load_model(checkpoint).to(self._device)
        own = self._model.config.sensors
        if unknown := [name for name in config.sensors if name not in own]:
            raise ConfigError(f"--sensor {', '.join(unknown)}: the model has {', '.join(own)}")
        self._sensors = {name: sensor for name, sensor in own.items() if name in (config.sensors or own)}
        model = self._model.config.model_copy(update={"sensors": self._sensors})
        self._store = ChipStore(chips)
        self._store.check(self._sensors)
        self._rows = read_rows(manifest, self._store)
        self._samples = ChipSamples(self._store, self._rows, model, 0, None)
        self._windows = _windows(self._store.size_px, model.image_px, model.grid if config.per_patch else 1)
        self._scenes = _Scenes(self._store, tuple(self._sensors))
        self._weights = _digest(resolve(checkpoint) / WEIGHTS)
        self.inputs: dict[str, Any] = {
            "checkpoint": self._weights,
            "manifest": _manifest_digests(manifest),
            "chips": self._store.about.get("config_digest"),
            "rows": _rows_digest(self._rows.tile_id.tolist(), self._rows.chip.tolist()),
            "sensors": {name: sensor.model_dump(mode="json") for name, sensor in self._sensors.items()},
            "image_px": model.image_px,
            "patch_px": model.patch_px,
            "seasons": list(self._store.seasons),
            "version": __version__,
            **config.model_dump(mode="json", exclude={"sensors", "workers"}),
        }
        """All that decides the rows."""

    @property
    def num_tiles(self) -> int:
        """Tiles to embed."""
        return len(self._rows)

    @property
    def rows_a_batch(self) -> int:
        """At most."""
        return self.config.batch * len(self._sensors) * len(self._windows)

    def batches(self, first: int) -> Iterator[EmbeddedBatch]:
        """The rows of all tiles from batch `first` on, in their order.

        Raises:
            DataError: A chip cannot be read, or features are not finite.
        """
        order = _InOrder(num_rows=self.num_tiles, batch=min(self.config.batch, self.num_tiles), seed=0)
        pin = self._device.type == "cuda"
        loader = open_loader(
            self._samples, order, Place(step=first), rank=0, world=1, workers=self.config.workers, pin=pin
        )
        with closing(loader) as loaded:
            for _ in range(first, order.num_steps):
                asked = time.perf_counter()
                batch = next(loaded)
                yield self._embedded(batch, time.perf_counter() - asked)

    def _embedded(self, batch: Batch, waited_s: float) -> EmbeddedBatch:
        """Rows by tile, then sensor, then patch."""
        features, missing = {}, {}
        has = {name: valid.flatten(1).any(1).numpy() for name, valid in batch.valid.items()}
        for name in self._sensors:
            features[name] = self._features(name, batch, has[name])
            missing[name] = int((~has[name]).sum())
        pairs = [(place, name) for place, name in product(range(len(batch)), self._sensors) if has[name][place]]
        turn = {name: iter(found) for name, found in features.items()}
        embeddings = np.stack([next(turn[name]) for _, name in pairs])  # (pairs, windows, D)
        rows = batch.rows.numpy()
        tiles = [(int(rows[place]), name) for place, name in pairs]
        table, extents = rows_of(self._places(tiles), embeddings.reshape(-1, embeddings.shape[-1]), self._weights)
        return EmbeddedBatch(rows=table, extents=extents, num_tiles=len(batch), missing=missing, waited_s=waited_s)

    @torch.inference_mode()
    def _features(self, name: str, batch: Batch, has: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        """(tiles, windows, D) Of the tiles that have the sensor."""
        kind = np.dtype(self.config.dtype)
        if not has.any():
            return np.empty((0, len(self._windows), self._model.config.encoder.dim), kind)
        found = self._model.encoder(name, batch.images[name][torch.from_numpy(has)].to(self._device))
        kept = found.tokens if self.config.per_patch else found.pooled[:, None]
        features: npt.NDArray[Any] = kept.float().cpu().numpy().astype(kind)
        if not (sound := np.isfinite(features).all((1, 2))).all():
            tile = self._rows.tile_id[batch.rows.numpy()[has][int(np.argmin(sound))]]
            raise DataError(f"embedding of {name} of tile {tile} is not finite: look at its pixels and at the weights")
        return features

    def _places(self, tiles: list[tuple[int, str]]) -> Places:
        """Of all windows of tiles by row of the manifest and sensor."""
        count = len(self._windows)
        scenes = self._scenes.of([(int(self._rows.chip[row]), name) for row, name in tiles])
        return Places(
            tile_id=[str(self._rows.tile_id[row]) for row, _ in tiles for _ in range(count)],
            sensor=[name for _, name in tiles for _ in range(count)],
            product_id=[item for item, _, _, _ in scenes for _ in range(count)],
            time_us=np.repeat(np.array([time_us for _, time_us, _, _ in scenes], np.int64), count),
            crs=[crs for _, _, crs, _ in scenes for _ in range(count)],
            bounds=np.repeat(np.array([bounds for *_, bounds in scenes]), count, axis=0),
            windows=np.tile(self._windows, (len(tiles), 1)),
            chip_px=self._store.size_px,
        )


class _Scenes:
    """What chips were cut from, as the store tells it.

    Raises:
        DataError: It does not.
    """

    def __init__(self, store: ChipStore, sensors: tuple[str, ...]) -> None:
        names = ["bounds", "crs", *(f"{name}_{what}" for name, what in product(sensors, ("item", "time")))]
        found = {name: store.column(name) for name in names}
        if missing := [name for name, values in found.items() if values is None]:
            raise DataError(
                f"chip store {store.path}: has no {', '.join(missing)}, from which place and time of embeddings come: "
                "is it one of csmoe-sampler's?"
            )
        self._store = store
        self._columns = {name: values for name, values in found.items() if values is not None}

    def of(self, chips: list[tuple[int, str]]) -> list[tuple[str, int, str, list[float]]]:
        """Item, time, CRS and bounds by row of the store and sensor, in the first season that a chip has."""
        return [self._of(chip, sensor) for chip, sensor in chips]

    def _of(self, chip: int, sensor: str) -> tuple[str, int, str, list[float]]:
        season = self._store.seasons_of(chip)[0]
        item, time_us = (self._columns[f"{sensor}_{what}"][chip] for what in ("item", "time"))
        if np.ndim(time_us):
            item, time_us = item[season], time_us[season]
        return str(item), int(time_us), str(self._columns["crs"][chip]), self._columns["bounds"][chip].tolist()


class _InOrder(SampleOrder):
    """Every row once, as they stand; the last step may have fewer."""

    @property
    def num_steps(self) -> int:
        """Steps in all."""
        return -(-self.num_rows // self.batch)

    def draws(self, place: Place, rank: int, world: int) -> Iterator[Draws]:
        """What comes in each step from a place on."""
        for first in range(place.step * self.batch, self.num_rows, self.batch):
            yield Draws(epoch=0, first=first, rows=np.arange(first, min(first + self.batch, self.num_rows)))


def _windows(chip_px: int, image_px: int, grid: int) -> Floats:
    """(grid², 4) What the model looks at, row by row from the north-west, as shares of the chip's edge."""
    view = centre_view(chip_px, image_px)
    edges = np.linspace(view.left, view.left + view.size, grid + 1) / chip_px
    low, high = edges[:-1], edges[1:]
    top, left = (axis.ravel() for axis in np.meshgrid(low, low, indexing="ij"))
    bottom, right = (axis.ravel() for axis in np.meshgrid(high, high, indexing="ij"))
    return np.stack([left, top, right, bottom], 1)


def _manifest_digests(manifest: Path) -> dict[str, Any]:
    about = json.loads((pq.read_schema(manifest).metadata or {}).get(b"csmoe", b"{}"))
    return {"config_digest": about.get("config_digest"), "scenes_digest": about.get("scenes", {}).get("config_digest")}


def _rows_digest(tiles: list[str], chips: list[int]) -> str:
    rows = (f"{tile}\t{chip}" for tile, chip in zip(tiles, chips, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
