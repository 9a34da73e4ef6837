"""What an atlas becomes with further tiles or descriptors, and where that is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from csmoe_sampler.atlas.files import PLACE_COLUMNS, RECORD, Atlas, Described, open_atlas
from csmoe_sampler.atlas.lattice import block_edge
from csmoe_sampler.atlas.tile_sets import TileSet
from csmoe_sampler.errors import AtlasError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.types import Descriptor, Int64


def extend_atlas(path: Path, grid: TileGrid, descriptors: Sequence[Descriptor], tiles: Int64) -> Atlas:
    """The atlas in `path`, which need not exist, once it has `tiles` and `descriptors` too; nothing is written.

    Raises:
        AtlasError: The atlas is on another grid, or has descriptors of the same name from other sources.
    """
    given = [Described.by(descriptor) for descriptor in descriptors]
    asked = TileSet.of(tiles)
    if _is_new(path):
        edge = block_edge(grid, descriptors)
        atlas = Atlas(path=path, grid=grid, block_deg=edge, descriptors=tuple(given), asked=asked)
    else:
        found = open_atlas(path)
        _check_grid(found, grid)
        known = {descriptor.name: descriptor for descriptor in found.descriptors}
        for descriptor in given:
            if descriptor.name in known:
                _check_same(path, known[descriptor.name], descriptor)
        further = [descriptor for descriptor in given if descriptor.name not in known]
        atlas = replace(found, descriptors=(*found.descriptors, *further), asked=found.asked | asked)
    _check_columns(atlas)
    return atlas


def _is_new(path: Path) -> bool:
    if not path.is_dir():
        return True
    if (path / RECORD).exists():
        return False
    others = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith((".", "_")))
    if others:
        raise AtlasError(f"{path} is no atlas: it holds {others[0]}, but no {RECORD}; choose another folder")
    return True


def _check_grid(atlas: Atlas, grid: TileGrid) -> None:
    if atlas.grid != grid:
        raise AtlasError(
            f"atlas {atlas.path} has tiles of {atlas.grid.spacing_km:g} km within latitude {atlas.grid.lat_max_deg:g}, "
            f"this run {grid.spacing_km:g} km within {grid.lat_max_deg:g}: choose another folder for it"
        )


def _check_same(path: Path, found: Described, given: Described) -> None:
    if found.digest == given.digest:
        return
    here = {"columns": list(found.columns.items())} | found.provenance
    there = {"columns": list(given.columns.items())} | given.provenance
    raise AtlasError(
        f"atlas {path} has '{given.name}' from other sources: {_difference(here, there, '')}; "
        "choose another folder for this run"
    )


def _check_columns(atlas: Atlas) -> None:
    names = [*PLACE_COLUMNS, *(name for descriptor in atlas.descriptors for name in descriptor.columns)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise AtlasError(f"atlas {atlas.path}: two descriptors have a column '{twice[0]}'; rename one of them")


def _difference(found: Any, given: Any, where: str) -> str:
    """The first place where two JSON values differ."""
    if isinstance(found, dict) and isinstance(given, dict):
        for key in [*found, *(key for key in given if key not in found)]:
            if found.get(key) != given.get(key):
                return _difference(found.get(key), given.get(key), f"{where}.{key}" if where else key)
    if isinstance(found, list) and isinstance(given, list) and len(found) == len(given):
        for index, (one, other) in enumerate(zip(found, given, strict=True)):
            if one != other:
                return _difference(one, other, f"{where}[{index}]")
    return f"{where or 'value'} was {_brief(found)}, now {_brief(given)}"


def _brief(value: Any) -> str:
    text = f"{len(value)} entries" if isinstance(value, list) else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
