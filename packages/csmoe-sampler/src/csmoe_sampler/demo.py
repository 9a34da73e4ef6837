"""The story on the synthetic Earth: everything without network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from csmoe_sampler.config import ChipConfig, SceneConfig, load_config
from csmoe_sampler.pipeline import Outputs, Runtime, build, fetch, report
from csmoe_sampler.synthetic import write_earth, write_scenes


def quickstart(folder: Path, n: int, runtime: Runtime) -> tuple[Outputs, Path]:
    """The whole chain on the synthetic Earth, all in `folder`: what a build writes, and the chip store."""
    earth = write_earth(folder / "earth", "small", 0, runtime.progress)
    region = write_scenes(earth, "small", runtime.progress).region
    outputs, store = Outputs.beside(folder / "sample.parquet"), folder / "chips.zarr"
    overrides = {
        "region": str(region),
        "n": n,
        "landcover.stac.url": str(earth.catalog),
        "climate.source": str(earth.climate),
        "descriptors": [{"name": "elevation", "source": [str(earth.elevation)], "scale": 1000.0}],
        "spectral": {"url": str(earth.catalog), "decimation": 2},
        "strata.min_size": 20,
        # Scenes lie in six squares of 110 km: small blocks, so that all splits see several of them.
        # Their footprints are 9.6 km wide and do not overlap.
        "split.block_km": 30.0,
        "split.buffer_km": 3.0,
        "split.validation": 0.1,
        "split.test": 0.25,
        "selection.weights": {"landcover": 1.0, "climate": 0.5, "spectral": 0.5, "elevation": 0.25, "position": 0.5},
    }
    scenes = SceneConfig(url=str(earth.catalog), seasons=("summer",))
    build(
        load_config(None, overrides), dataclasses.replace(outputs, report=None), runtime, scenes=scenes, overwrite=True
    )
    # The pixels of this Earth are ten times as large as Sentinel's.
    fetch(outputs.manifest, store, ChipConfig(size_px=96, pixel_m=100), scenes, runtime)
    assert outputs.report is not None
    report(outputs.manifest, outputs.atlas, outputs.report, runtime, chips=store)
    return outputs, store
