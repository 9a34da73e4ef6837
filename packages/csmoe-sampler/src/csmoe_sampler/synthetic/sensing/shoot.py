"""From planned scenes to files: the ground of a frame once, and on it one scene after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csmoe_sampler.storage import write_json
from csmoe_sampler.synthetic.earth import Planet
from csmoe_sampler.synthetic.sensing.cogs import write_band
from csmoe_sampler.synthetic.sensing.ground import Ground, observe, survey
from csmoe_sampler.synthetic.sensing.items import scene_files, sentinel1_item, sentinel2_item
from csmoe_sampler.synthetic.sensing.optics import FACTORS, OFFSET_DN, View, photograph
from csmoe_sampler.synthetic.sensing.plan import OFFSET_START, Scene, Sentinel1Scene, Sentinel2Scene
from csmoe_sampler.synthetic.sensing.radar import NODATA, sound
from csmoe_sampler.synthetic.sensing.sky import cover_sky, sun_above


def shoot(root: Path, planet: Planet, stack: Sequence[Scene]) -> None:
    """Write the pixels and the items of scenes that have the same frame; an item after all files of its scene.

    Raises:
        StorageError: The disk is full, or the place is not writable.
    """
    ground = survey(planet, stack[0].frame)
    for scene in stack:
        if isinstance(scene, Sentinel2Scene):
            _shoot_sentinel2(root / scene.collection, planet.seed, ground, scene)
        elif isinstance(scene, Sentinel1Scene):
            _shoot_sentinel1(root / scene.collection, planet.seed, ground, scene)


def _shoot_sentinel2(folder: Path, seed: int, ground: Ground, scene: Sentinel2Scene) -> None:
    frame, key = scene.frame, scene.key(seed)
    sun = sun_above(ground.lon, ground.lat, scene.when)
    valid = frame.inside(scene.outline)
    view = View(
        ground=ground,
        state=observe(ground, scene.when),
        clouds=cover_sky(ground.points, valid.shape, frame.pixel_m, scene.cloud, sun, key),
        sun=sun,
        valid=valid,
        key=key,
    )
    files = scene_files(scene)
    scl: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
    for band, values in photograph(view, OFFSET_DN if scene.when >= OFFSET_START else 0):
        resampling = "mode" if band == "SCL" else "average"
        write_band(folder / files[band], values, frame.coarser(FACTORS[band]), 0, resampling)
        if band == "SCL":
            scl = values.astype(np.uint8)
    write_json(folder / "items" / f"{scene.item_id}.json", sentinel2_item(scene, scl, int(valid.sum()), sun))


def _shoot_sentinel1(folder: Path, seed: int, ground: Ground, scene: Sentinel1Scene) -> None:
    state, valid = observe(ground, scene.when), scene.frame.inside(scene.outline)
    for part, (polarization, file) in enumerate(scene_files(scene).items()):
        values = sound(ground, state, polarization, scene.look, valid, scene.key(seed) + part)
        write_band(folder / file, values, scene.frame, NODATA, "average")
    write_json(folder / "items" / f"{scene.item_id}.json", sentinel1_item(scene))
