"""Scenes of a synthetic Earth on disk: pixels, items and item tables beside its land cover, in one catalogue."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
import shapely.ops

from csmoe_sampler.errors import ConfigError, StorageError
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.storage import Lock, file_digest, write_json
from csmoe_sampler.synthetic.catalog import link_collections
from csmoe_sampler.synthetic.earth import Planet
from csmoe_sampler.synthetic.sensing.items import SENTINEL1, SENTINEL2, collection, scene_files
from csmoe_sampler.synthetic.sensing.layouts import LAYOUTS, SceneLayout, choose_granules
from csmoe_sampler.synthetic.sensing.plan import Sentinel1Scene, Sentinel2Scene, plan_scenes
from csmoe_sampler.synthetic.sensing.region import common_area
from csmoe_sampler.synthetic.sensing.shoot import shoot
from csmoe_sampler.synthetic.sensing.tables import write_item_table
from csmoe_sampler.synthetic.write import SIZES, Earth, record_file, remove_damaged

MANIFEST = "scenes.json"
REGION = "scenes.geojson"

_GENERATION = 1
"""To be raised with every change of what a seed looks like: scenes of another generation are not continued."""
_MAX_WORKERS = 8

AnyScene = Sentinel1Scene | Sentinel2Scene


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Scenes of a synthetic Earth on disk."""

    root: Path
    """Folder of the Earth."""
    catalog: Path
    """Static STAC catalogue with the collections of both sensors."""
    region: Path
    """GeoJSON of the area in which tiles have scenes of both sensors; may be the region of a run."""
    items: dict[str, Path]
    """Collection -> item table (STAC-GeoParquet)."""
    num_scenes: int


def write_scenes(earth: Earth, layout: str | SceneLayout = "small", progress: Progress | None = None) -> Scenes:
    """Sentinel-2 and Sentinel-1 scenes of an Earth, in its folder; what is there already is checked and kept.

    Args:
        earth: From `write_earth`; its catalogue gets two more collections.
        layout: `small` (six granules, pixels of 100 m), `medium` (four times as many) or `tiny` (two, of 300 m), or
            one of your own. The same layout and Earth give the same files to the byte.
        progress: Told of every scene.

    Raises:
        ConfigError: No such layout, or no granule of it has enough land inside the Earth's land cover.
        StorageError: The folder holds scenes of another layout, is in use, or cannot be written.
    """
    chosen = _layout(layout)
    identity = {
        "format": "csmoe synthetic scenes",
        "generation": _GENERATION,
        "layout": repr(chosen),
        "size": earth.size,
        "seed": earth.seed,
    }
    with Lock(earth.root):
        digests = _recorded(earth.root, identity)
        if not digests or remove_damaged(earth.root, digests):
            write_json(earth.root / MANIFEST, identity)
            digests = _write_files(earth, chosen, progress or NoProgress())
            write_json(earth.root / MANIFEST, identity | {"files": digests})
    return Scenes(
        root=earth.root,
        catalog=earth.catalog,
        region=earth.root / REGION,
        items={name: earth.root / f"{name}.parquet" for name in (SENTINEL2, SENTINEL1)},
        num_scenes=sum("/items/" in name for name in digests),
    )


def _layout(layout: str | SceneLayout) -> SceneLayout:
    if isinstance(layout, SceneLayout):
        return layout
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r} of synthetic scenes is unknown: choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def _recorded(root: Path, identity: Mapping[str, Any]) -> dict[str, str]:
    """Name and digest of every file of complete scenes; empty where there are none, or unfinished ones."""
    manifest = root / MANIFEST
    if not manifest.exists():
        return {}
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        files = dict(found.pop("files", {}))
    except (ValueError, AttributeError, TypeError) as error:
        raise StorageError(
            f"{manifest} is not the record of synthetic scenes: write the Earth to another folder"
        ) from error
    if found != identity:
        raise StorageError(
            f"{root} holds synthetic scenes of another layout or version: write the Earth to another folder"
        )
    return files


def _write_files(earth: Earth, layout: SceneLayout, progress: Progress) -> dict[str, str]:
    """Name and digest of every file, those written and those that were there, in the order of their names."""
    planet, boxes = Planet(earth.seed), SIZES[earth.size].boxes
    stacks = plan_scenes(layout, choose_granules(planet, layout.climates, boxes))
    if not stacks:
        raise ConfigError(
            f"layout {layout.name!r} of synthetic scenes has no granule with enough land in a synthetic Earth of size "
            f"{earth.size!r}: choose another layout, size or seed"
        )
    todo = [[scene for scene in stack if not _is_written(earth.root, scene)] for stack in stacks]
    _shoot_all(earth.root, planet, todo, progress)
    scenes = sorted((scene for stack in stacks for scene in stack), key=lambda scene: scene.item_id)
    names = [REGION]
    for name, kind in ((SENTINEL2, Sentinel2Scene), (SENTINEL1, Sentinel1Scene)):
        own = [scene for scene in scenes if isinstance(scene, kind)]
        items = [json.loads((earth.root / _item_name(scene)).read_text(encoding="utf-8")) for scene in own]
        write_item_table(earth.root / f"{name}.parquet", items)
        write_json(earth.root / name / "collection.json", collection(name, items))
        names += [f"{name}.parquet", f"{name}/collection.json"]
        names += [file for scene in own for file in (_item_name(scene), *_scene_names(scene))]
    write_json(earth.root / REGION, _region(common_area(scenes, boxes)))
    link_collections(earth.root)
    record_file(earth.root, "catalog.json")
    return {name: file_digest(earth.root / name) for name in sorted(names)}


def _shoot_all(root: Path, planet: Planet, stacks: Sequence[Sequence[AnyScene]], progress: Progress) -> None:
    """Write the scenes of the stacks side by side; the first error stops what has not begun."""
    progress.start("synthetic scenes", sum(map(len, stacks)), "scenes")
    with ThreadPoolExecutor(min(_MAX_WORKERS, os.cpu_count() or 1)) as pool:
        writes = {pool.submit(shoot, root, planet, stack): len(stack) for stack in stacks if stack}
        try:
            for write in as_completed(writes):
                write.result()
                progress.advance(writes[write])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    progress.finish()


def _is_written(root: Path, scene: AnyScene) -> bool:
    return all((root / name).exists() for name in (_item_name(scene), *_scene_names(scene)))


def _item_name(scene: AnyScene) -> str:
    return f"{scene.collection}/items/{scene.item_id}.json"


def _scene_names(scene: AnyScene) -> list[str]:
    return [f"{scene.collection}/{file}" for file in scene_files(scene).values()]


def _region(area: shapely.MultiPolygon) -> dict[str, Any]:
    """GeoJSON of an area."""
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(part)} for part in area.geoms
        ],
    }
