"""How far our Köppen-Geiger classes of the ERA5 normals agree with the published map of Beck et al. (2023).

Both describe 1991-2020. Every 0.1° pixel of the map whose centre lies in a 0.25° cell of ERA5 is compared with the
class of that cell, and counts by its area. What differs is mostly the climate data behind the two, not the rules.

    uv run python benchmarks/koppen_agreement.py ../shared/data
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from csmoe_sampler.koppen import GROUPS, SYMBOLS, Rule, classify
from csmoe_sampler.types import Bool, Float64, Int64

NORMALS = "climate/era5_monthly_normals_1991_2020_0p5.npz"
PUBLISHED_MAP = "koppen/koppen_geiger_0p1.tif"
ERA5_CELL_DEG = 0.25
MAIN_CLIMATES = "ABCDE"


@dataclass(frozen=True)
class Agreement:
    """Agreement by area with the published map."""

    classes_frac: float
    groups_frac: float
    confusion: Float64
    """(5, 5) shares of the compared area; rows are the published main climates, columns ours, in order A to E."""
    cells_per_s: float


def agreement(data: Path, rule: Rule) -> Agreement:
    """Compares the classes of the ERA5 normals under `rule` with the published map."""
    temperature, precipitation, lon, lat = _read_normals(data / NORMALS)
    classify(temperature[:, :1], precipitation[:, :1], rule)
    start = time.perf_counter()
    ours = classify(temperature, precipitation, rule)
    cells_per_s = ours.size / (time.perf_counter() - start)
    with rasterio.open(data / PUBLISHED_MAP) as raster:
        theirs = raster.read(1)
        pixel_lon = raster.bounds.left + raster.res[0] * (0.5 + np.arange(raster.width))
        pixel_lat = raster.bounds.top - raster.res[1] * (0.5 + np.arange(raster.height))
    col, col_inside = _nearest(pixel_lon, lon)
    row, row_inside = _nearest(pixel_lat, lat)
    ours = ours[np.ix_(row, col)]
    compared = (ours > 0) & (theirs > 0) & row_inside[:, None] & col_inside
    area = np.broadcast_to(np.cos(np.radians(pixel_lat))[:, None], theirs.shape)[compared]
    ours, theirs = ours[compared], theirs[compared]
    group = np.array([MAIN_CLIMATES.index(letter) for letter in GROUPS])
    pair = len(MAIN_CLIMATES) * group[theirs - 1] + group[ours - 1]
    confusion = np.bincount(pair, area, len(MAIN_CLIMATES) ** 2).reshape(2 * (len(MAIN_CLIMATES),)) / area.sum()
    return Agreement(
        classes_frac=float(area[ours == theirs].sum() / area.sum()),
        groups_frac=float(confusion.trace()),
        confusion=confusion,
        cells_per_s=cells_per_s,
    )


def _read_normals(path: Path) -> tuple[Float64, Float64, Float64, Float64]:
    with np.load(path) as stored:
        temperature = np.where(stored["t_x10"] == -32768, np.nan, stored["t_x10"] / 10)
        precipitation = np.where(stored["p_x10"] == 65535, np.nan, stored["p_x10"] / 10)
        return temperature, precipitation, stored["lon"].astype(float), stored["lat"].astype(float)


def _nearest(pixels: Float64, cells: Float64) -> tuple[Int64, Bool]:
    """Position of the nearest cell centre for each pixel centre, and whether the pixel lies in that cell."""
    position = np.abs(pixels[:, None] - cells).argmin(axis=1)
    return position, np.abs(pixels - cells[position]) <= ERA5_CELL_DEG / 2 + 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that holds climate/ and koppen/")
    data = parser.parse_args().data
    rules: tuple[Rule, ...] = ("peel2007", "beck_compat")
    for rule in rules:
        result = agreement(data, rule)
        print(f"{rule}: {result.classes_frac:.4f} of the area in the same of {len(SYMBOLS)} classes, ", end="")
        print(f"{result.groups_frac:.4f} in the same main climate; {result.cells_per_s / 1e6:.0f} million cells/s")
        print("  % of the area   ours:" + "".join(f"{letter:>7}" for letter in MAIN_CLIMATES) + "   agreed")
        for letter, row in zip(MAIN_CLIMATES, result.confusion, strict=True):
            agreed = row[MAIN_CLIMATES.index(letter)] / row.sum()
            print(f"  published {letter}:         " + "".join(f"{100 * x:7.2f}" for x in row) + f"{agreed:9.3f}")


if __name__ == "__main__":
    main()
