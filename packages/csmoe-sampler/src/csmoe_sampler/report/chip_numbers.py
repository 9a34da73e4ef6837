"""A chip store -> pictures of some tiles, statistics of the bands, what failed and what looks wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csmoe_sampler.chips.guards import check_chip, sum_up
from csmoe_sampler.chips.pictures import Picture, false_color, true_color
from csmoe_sampler.chips.rows import ChipRow, ChipRows, masked
from csmoe_sampler.errors import ManifestError
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.progress import Progress
from csmoe_sampler.report.data import BandStatistics, Category, ChipPicture, ChipSummary
from csmoe_sampler.report.png import encode_rgba
from csmoe_sampler.types import Float32, Float64, Int64

NUM_PICTURES = 10
MAX_MEASURED = 64
PICTURE_PX = 256
_LEVELS = 4
"""Steps of a colour in a picture: six bits look the same and take a third less."""


@dataclass
class _Sums:
    """Of the bands of a sensor."""

    num: Float64
    valid: Float64
    total: Float64
    squares: Float64

    @staticmethod
    def of(num_bands: int) -> _Sums:
        return _Sums(*(np.zeros(num_bands) for _ in range(4)))

    def add(self, values: Float32) -> None:
        flat = values.reshape(len(values), -1).astype(np.float64)
        self.num += flat.shape[1]
        self.valid += np.isfinite(flat).sum(axis=1)
        self.total += np.nansum(flat, axis=1)
        self.squares += np.nansum(flat**2, axis=1)


def summarise_chips(
    manifest: Manifest, path: Path, climates: Sequence[Category], covers: Sequence[Category], progress: Progress
) -> ChipSummary:
    """The numbers and pictures of a store.

    Args:
        manifest: Its manifest.
        path: The store.
        climates: Classes of the manifest's climate legend.
        covers: Classes of its land-cover legend.
        progress: Told of the chips read.

    Raises:
        ChipError: There is no store, or it is unfinished.
        ManifestError: The store is of another manifest.
    """
    with ChipRows(path) as rows:
        tiles = manifest.column("tile_id").astype(np.str_)
        if rows.tile_ids != tiles[: len(rows.tile_ids)].tolist():
            raise ManifestError(f"manifest: its tiles are not those of the chip store {path}; give the store's own")
        shown = _spread(rows.fetched, manifest.column("stratum").astype(np.str_).tolist())
        measured = np.union1d(_evenly(rows.fetched, MAX_MEASURED), shown).astype(np.int64)
        progress.start("chips", len(measured) * len(rows.seasons), "chips")
        sums = {sensor: _Sums.of(len(bands)) for sensor, bands in rows.bands.items()}
        season_of = {int(row): rows.seasons[k % len(rows.seasons)] for k, row in enumerate(shown)}
        legends = {category.label: category for category in (*climates, *covers)}
        pictures, found = [], []
        for chip in rows.read(measured):
            stored = {sensor: masked(chip.arrays[sensor], rows.layers[sensor]) for sensor in rows.bands}
            found.append((chip.tile_id, check_chip(stored, rows.bands)))
            values = {sensor: array * _scale(rows, sensor) for sensor, array in stored.items()}
            for sensor, array in values.items():
                sums[sensor].add(array)
            if season_of.get(chip.row) == chip.season:
                pictures.append(_picture(chip, values, rows, manifest, legends))
            progress.advance(1)
        progress.finish()
        return ChipSummary(
            num_fetched=len(rows.fetched),
            num_rows=len(rows.tile_ids),
            size_px=int(rows.metadata["size_px"]),
            pixel_m=float(rows.metadata["pixel_m"]),
            pictures=tuple(pictures),
            bands=tuple(_statistics(rows, sums)),
            num_measured=len(measured),
            failures=tuple((line["tile_id"], line["reason"]) for line in rows.failures()),
            findings=tuple(finding.message for finding in sum_up(found)),
        )


def _evenly(rows: Int64, number: int) -> Int64:
    places = np.unique(np.linspace(0, len(rows) - 1, min(number, len(rows))).astype(np.int64))
    return rows[places]


def _spread(rows: Int64, strata: Sequence[str]) -> Int64:
    """Ten rows over all ranks, of different strata as far as there are any."""
    seen: set[str] = set()
    chosen = []
    for part in np.array_split(rows, min(NUM_PICTURES, len(rows))) if len(rows) else ():
        new = [row for row in part.tolist() if strata[row] not in seen]
        chosen.append((new or part.tolist())[0])
        seen.add(strata[chosen[-1]])
    return np.array(chosen, np.int64)


def _scale(rows: ChipRows, sensor: str) -> np.float32:
    return np.float32(rows.layers[sensor].get("scale_factor", 1.0))


def _picture(
    chip: ChipRow, values: dict[str, Float32], rows: ChipRows, manifest: Manifest, legends: dict[str, Category]
) -> ChipPicture:
    radar = false_color(_shrunk(values["s1"]), rows.bands["s1"]) if "s1" in values else None
    cover = str(manifest.column("landcover")[chip.row])
    climate = str(manifest.column("climate")[chip.row])
    return ChipPicture(
        tile_id=chip.tile_id,
        rank=chip.row,
        season=chip.season,
        s2_date=_date(chip, "s2_time"),
        s1_date=_date(chip, "s1_time"),
        landcover=legends.get(cover, Category(label=cover, title=cover, color="#8a8a8a")),
        climate=climate,
        optical=_png(true_color(_shrunk(values["s2"]), rows.bands["s2"])),
        radar=b"" if radar is None else _png(radar),
    )


def _date(chip: ChipRow, name: str) -> str:
    return str(chip.facts.get(name) or "")[:10]


def _shrunk(values: Float32) -> Float32:
    """Means of square blocks, so that no edge is longer than a picture may be; blocks without valid pixels are NaN."""
    factor = -(-max(values.shape[1:]) // PICTURE_PX)
    if factor == 1:
        return values
    rows, cols = (edge // factor for edge in values.shape[1:])
    blocks = values[:, : rows * factor, : cols * factor].reshape(len(values), rows, factor, cols, factor)
    valid = np.isfinite(blocks)
    num = valid.sum(axis=(2, 4))
    total = np.where(valid, blocks, 0).sum(axis=(2, 4))
    return np.where(num > 0, total / np.maximum(num, 1), np.nan).astype(np.float32)


def _png(picture: Picture) -> bytes:
    coarse = picture.copy()
    coarse[..., :3] = np.minimum(255, (coarse[..., :3] // _LEVELS) * _LEVELS + (coarse[..., :3] >= 252) * 3)
    return encode_rgba(coarse)


def _statistics(rows: ChipRows, sums: dict[str, _Sums]) -> list[BandStatistics]:
    lines = []
    for sensor, of in sums.items():
        unit = str(rows.layers[sensor].get("units", ""))
        for k, band in enumerate(rows.bands[sensor]):
            num = of.valid[k]
            mean = of.total[k] / num if num else float("nan")
            lines.append(
                BandStatistics(
                    sensor=sensor,
                    band=band,
                    unit="reflectance" if unit == "1" else unit,
                    mean=float(mean),
                    std=float(np.sqrt(max(of.squares[k] / num - mean**2, 0.0))) if num else float("nan"),
                    valid_share=float(num / of.num[k]) if of.num[k] else float("nan"),
                )
            )
    return lines
