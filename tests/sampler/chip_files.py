"""Chip stores written from arrays, by the product's own writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine

from csmoe_sampler.chips.layout import Layout
from csmoe_sampler.chips.store import compress_chip, create_store, finish_store, open_shard
from sampler.real_chips import Chip

S1_BANDS = ("VV", "VH")
FETCHED, FAILED = 0, 1
FIRST_TIME_US = 1_622_541_600_000_000
"""2021-06-01 10:00."""
FIVE_DAYS_US = 5 * 86_400_000_000


def write_store(
    path: Path,
    chips: Sequence[Chip],
    *,
    failed: int = 0,
    fetched: int | None = None,
    seasons: dict[str, Sequence[Chip]] | None = None,
    tile_ids: Sequence[str] | None = None,
    finished: bool = True,
) -> Path:
    """A store of one row a chip, and `failed` rows after them that could not be fetched.

    Args:
        path: The store.
        chips: Square, of equal shapes and bands.
        failed: Rows at the end that hold nothing.
        fetched: Only the first so many of the chips count as fetched.
        seasons: Chips of each season in place of `chips`, which still give ids and places.
        tile_ids: In place of the names of the chips, failed rows included.
        finished: Whether the last step is taken.
    """
    layers = seasons or {"year": chips}
    num = len(chips) + failed
    layout = Layout(
        num_rows=num,
        size_px=chips[0].s2.shape[-1],
        shard_chips=4,
        s2_bands=chips[0].s2_bands,
        s1_bands=S1_BANDS,
        seasons=tuple(layers),
        mask=True,
    )
    create_store(path, layout)
    for shard in range(layout.num_shards):
        with open_shard(path, layout, shard) as writers:
            for place, row in enumerate(layout.rows_of(shard)):
                for season, layer in enumerate(layers.values()):
                    if row < len(layer):
                        for name, content in compress_chip(layout, encoded(layer[row])).items():
                            writers[name].append(place * len(layers) + season, content)
    names = list(tile_ids or [*(chip.name for chip in chips), *(f"failed_{k}" for k in range(failed))])
    if finished:
        finish_store(path, layout, _columns(chips, names, fetched, layout), _provenance(layout, names[len(chips) :]))
    return path


def encoded(chip: Chip) -> dict[str, np.ndarray]:
    """A chip in the types of the store; all valid pixels are vegetation."""
    s2 = np.where(np.isfinite(chip.s2), np.rint(np.nan_to_num(chip.s2)), -32768).astype(np.int16)
    scl = np.where(np.isfinite(chip.s2[0]), 4, 0).astype(np.uint8)
    return {"s2": s2, "s1": chip.s1.astype(np.float16).astype(np.float32), "scl": scl}


def bounds_of(chip: Chip) -> list[float]:
    """x_min, y_min, x_max, y_max."""
    height, width = chip.s2.shape[1:]
    transform = Affine(*(chip.transform or (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0)))
    left, top = transform @ (0, 0)
    right, bottom = transform @ (width, height)
    return [left, bottom, right, top]


def _columns(chips: Sequence[Chip], names: Sequence[str], fetched: int | None, layout: Layout) -> dict[str, np.ndarray]:
    num, shape = layout.num_rows, (layout.num_rows, *layout.seasons_axis)
    status = np.full(num, FETCHED, np.uint8)
    status[len(chips) if fetched is None else fetched :] = FAILED
    times = (FIRST_TIME_US + FIVE_DAYS_US * np.arange(num)).reshape(num, *[1] * len(layout.seasons_axis))
    lost = num - len(chips)
    return {
        "tile_id": np.array(names, object),
        "lon": np.linspace(-50, 10, num),
        "lat": np.linspace(-25, 57, num),
        "crs": np.array([chip.crs or "EPSG:32633" for chip in chips] + [""] * lost, object),
        "bounds": np.array([bounds_of(chip) for chip in chips] + [[np.nan] * 4] * lost),
        "status": status,
        "s2_time": np.broadcast_to(times, shape).astype(np.int64),
        "s1_time": np.broadcast_to(times - FIVE_DAYS_US // 5, shape).astype(np.int64),
        "s2_item": np.broadcast_to(np.array("S2B_scene", object), shape),
        "s1_item": np.broadcast_to(np.array("S1A_scene", object), shape),
        "s2_offset": np.zeros(shape, np.float32),
        "s2_valid": np.ones(shape, np.float32),
        "s1_valid": np.full(shape, 0.5, np.float32),
    }


def _provenance(layout: Layout, lost: Sequence[str]) -> dict[str, object]:
    return {
        "format": "csmoe chips",
        "version": 1,
        "package_version": "0",
        "manifest": {"config_digest": "ab" * 32, "scenes_digest": "cd" * 32, "num_rows": layout.num_rows},
        "pixel_m": 10.0,
        "size_px": layout.size_px,
        "sensors": {"s2": {"bands": list(layout.s2_bands)}, "s1": {"bands": list(S1_BANDS)}},
        "failed": [{"tile_id": name, "sensor": "s2", "item": "S2B_lost", "reason": "HTTP 404"} for name in lost],
        "warnings": [],
    }
