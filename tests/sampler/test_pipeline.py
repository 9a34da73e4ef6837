"""Whole builds: the same manifest however it was reached, and what a user is promised of it."""

import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from csmoe_sampler import pipeline
from csmoe_sampler.config import load_config
from csmoe_sampler.errors import ConfigError, SelectionError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.legend import load_legend
from csmoe_sampler.manifest import read_manifest, validate
from csmoe_sampler.pipeline import Outputs, Runtime
from sampler.processes import ended, killed_after, start_command


def config_on(earth, **overrides):
    return load_config(
        None,
        {
            "region": "global",
            "n": 600,
            "grid.spacing_km": 25,
            "landcover.stac.url": str(earth.catalog),
            "climate.source": str(earth.climate),
            "strata.min_size": 20,
            **{key.replace("__", "."): value for key, value in overrides.items()},
        },
    )


def build(config, folder, *, report=False, **runtime):
    outputs = Outputs.beside(folder / "out.parquet", report=report)
    pipeline.build(config, outputs, Runtime(**runtime))
    return outputs


def files_of(outputs):
    """Bytes of the manifest and of all parts of the atlas, by name."""
    parts = {path.name: path.read_bytes() for path in sorted(outputs.atlas.iterdir()) if path.name != ".lock"}
    return {"manifest": outputs.manifest.read_bytes(), **parts}


@pytest.fixture(scope="module")
def built(earth, tmp_path_factory):
    return build(config_on(earth), tmp_path_factory.mktemp("built"), workers=1)


def test_the_manifest_is_sound_and_complete(built):
    assert validate(built.manifest) == []
    table = pq.read_table(built.manifest)
    assert table.num_rows == 600
    assert len(set(table["tile_id"].to_pylist())) == 600


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_does_not_matter(earth, built, tmp_path, workers):
    assert files_of(build(config_on(earth), tmp_path, workers=workers)) == files_of(built)


def test_a_cluster_of_processes_gives_the_same(earth, built, tmp_path, dask_cluster):
    assert files_of(build(config_on(earth), tmp_path, scheduler=dask_cluster.address)) == files_of(built)


def test_describe_then_select_is_build(earth, built, tmp_path):
    outputs = Outputs.beside(tmp_path / "out.parquet", report=False)
    pipeline.describe(config_on(earth), outputs.atlas, Runtime())
    settings = pipeline.selection_config(outputs.atlas, None, {"n": 600})
    pipeline.select(settings, outputs, Runtime())
    assert outputs.manifest.read_bytes() == built.manifest.read_bytes()


def test_a_prefix_is_the_smaller_sample_within_strata(earth, built, tmp_path):
    """Ranks inside a stratum do not depend on n; the first rows of a larger sample serve as a smaller one."""
    outputs = Outputs.beside(tmp_path / "out.parquet", atlas=built.atlas, report=False)
    pipeline.select(pipeline.selection_config(built.atlas, None, {"n": 200}), outputs, Runtime())
    small, large = pq.read_table(outputs.manifest), pq.read_table(built.manifest)
    for stratum in set(small["stratum"].to_pylist()):
        few = [
            t for t, s in zip(small["tile_id"].to_pylist(), small["stratum"].to_pylist(), strict=True) if s == stratum
        ]
        many = [
            t for t, s in zip(large["tile_id"].to_pylist(), large["stratum"].to_pylist(), strict=True) if s == stratum
        ]
        assert many[: len(few)] == few


def test_another_seed_draws_other_tiles(earth, built, tmp_path):
    outputs = Outputs.beside(tmp_path / "out.parquet", atlas=built.atlas, report=False)
    pipeline.select(pipeline.selection_config(built.atlas, None, {"n": 600, "seed": 1}), outputs, Runtime())
    ours, theirs = (set(pq.read_table(o.manifest)["tile_id"].to_pylist()) for o in (built, outputs))
    assert 0 < len(ours & theirs) < 600


@pytest.mark.parametrize("objective", ["spread", "random", "proportional", "kmeans"])
def test_every_objective_gives_a_sound_manifest(built, tmp_path, objective):
    outputs = Outputs.beside(tmp_path / "out.parquet", atlas=built.atlas, report=False)
    settings = pipeline.selection_config(built.atlas, None, {"n": 300, "selection.objective": objective})
    manifest = pipeline.select(settings, outputs, Runtime())
    assert validate(outputs.manifest) == []
    has_probability = manifest.table["inclusion_probability"].null_count == 0
    assert has_probability == (objective in {"spread", "random", "proportional"})


def test_killed_at_six_moments_and_continued(earth, built, tmp_path):
    """SIGKILL does not ask; whatever is on disk, the same command ends with the same bytes."""
    outputs = Outputs.beside(tmp_path / "out.parquet", report=False)
    command = [
        "build", "--region", "global", "--n", "600", "--grid-km", "25", "--no-report", "--quiet",
        "--stac-url", str(earth.catalog), "--climate", str(earth.climate), "--out", str(outputs.manifest),
        "--config", str(tmp_path / "run.toml"),
    ]  # fmt: skip
    (tmp_path / "run.toml").write_text("[strata]\nmin_size = 20\n")
    rng, killed = random.Random(7), 0
    for _ in range(30):
        if killed_after(start_command(command, tmp_path), rng.uniform(0.1, 2.5)):
            killed += 1
        else:  # it ended before the kill: begin again
            outputs.manifest.unlink()
            shutil.rmtree(outputs.atlas)
        if killed == 6:
            break
    assert killed == 6
    assert ended(start_command(command, tmp_path)) == 0
    assert files_of(outputs) == files_of(built)
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_a_further_descriptor_and_region_extend_the_atlas(earth, built, tmp_path):
    elevation = [{"name": "elevation", "source": [str(earth.elevation)], "scale": 500.0}]
    weights = {"landcover": 1.0, "elevation": 1.0}
    config = config_on(earth, region="-180,0,180,85", n=100)
    outputs = build(config, tmp_path)
    southern = config_on(earth, region="-180,-85,180,0", n=100, descriptors=elevation)
    pipeline.describe(config_on(earth, region="-180,0,180,85", descriptors=elevation), outputs.atlas, Runtime())
    pipeline.describe(southern, outputs.atlas, Runtime())
    settings = pipeline.selection_config(outputs.atlas, None, {"n": 400, "selection.weights": weights})
    assert settings.region == "-180,0,180,85 + -180,-85,180,0"
    manifest = pipeline.select(settings, Outputs.beside(tmp_path / "two.parquet", atlas=outputs.atlas), Runtime())
    described = manifest.column("elevation_valid") > 0
    assert described.mean() > 0.9
    assert (np.isfinite(manifest.column("elevation_mean")) == described).all()
    assert (manifest.column("lat") < 0).any()
    assert (manifest.column("lat") > 0).any()


def test_settings_that_differ_need_overwrite(earth, built, tmp_path):
    manifest = tmp_path / "out.parquet"
    shutil.copy(built.manifest, manifest)
    outputs = Outputs.beside(manifest, atlas=built.atlas, report=False)
    other = pipeline.selection_config(built.atlas, None, {"n": 50})
    with pytest.raises(ConfigError, match="made with other settings"):
        pipeline.select(other, outputs, Runtime())
    assert manifest.read_bytes() == built.manifest.read_bytes()
    pipeline.select(other, outputs, Runtime(), overwrite=True)
    assert len(read_manifest(manifest)) == 50
    assert load_config(outputs.config, {}) == other


def test_an_atlas_keeps_its_land_cover(built, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[landcover]\nlegend = "igbp"\n')
    with pytest.raises(ConfigError, match=r"described with another \[landcover\]"):
        pipeline.selection_config(built.atlas, path, {})


@pytest.fixture(scope="module")
def islands_raster(shared_data) -> Path:
    """The genuine WorldCover tile N00E006: three islands in the Gulf of Guinea."""
    return shared_data / "worldcover" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"


@pytest.fixture(scope="module")
def islands(shared_data, islands_raster, tmp_path_factory):
    config = load_config(
        None,
        {
            "region": "6,0,9,3",
            "n": 100,
            "landcover.source": [str(islands_raster)],
            "climate.source": str(shared_data / "koppen" / "koppen_geiger_0p1.tif"),
        },
    )
    return build(config, tmp_path_factory.mktemp("islands"), report=True)


def test_fewer_tiles_than_asked_for_are_all_taken_and_it_says_so(islands):
    manifest = read_manifest(islands.manifest)
    assert len(manifest) == manifest.metadata["candidates"]["candidates"] < 100
    assert any("100 were asked for: all of them were taken" in note for note in manifest.metadata["notes"])
    assert validate(islands.manifest) == []


def test_strict_refuses(islands, tmp_path):
    config = pipeline.selection_config(islands.atlas, None, {"strict": True})
    with pytest.raises(SelectionError, match="leave out --strict"):
        pipeline.select(config, Outputs.beside(tmp_path / "o.parquet", atlas=islands.atlas), Runtime())
    assert list(tmp_path.iterdir()) == []


def test_class_shares_equal_a_plain_pixel_count_on_every_tile(islands, islands_raster):
    legend, grid = load_legend("worldcover"), TileGrid(10.0)
    table = pq.read_table(islands.manifest)
    lon_min, lat_min, lon_max, lat_max = grid.bounds(grid.parse(np.array(table["tile_id"].to_pylist())))
    with rasterio.open(islands_raster) as dataset:
        step = 1 / 12000
        for i in range(table.num_rows):
            # The pixels whose centres the cell holds: columns from 6 E, rows from 3 N.
            columns = np.ceil((np.array([lon_min[i], lon_max[i]]) - 6) / step - 0.5).astype(int)
            rows = np.ceil((3 - np.array([lat_max[i], lat_min[i]])) / step - 0.5).astype(int)
            codes = dataset.read(1, window=((rows[0], rows[1]), (columns[0], columns[1])))
            valid = np.isin(codes, [code for codes_ in legend.codes for code in codes_]).sum()
            assert table["landcover_pixels"][i].as_py() == valid
            for label, (code,) in zip(legend.labels, legend.codes, strict=True):
                share = table[f"landcover_{label}"][i].as_py()
                assert share == pytest.approx((codes == code).sum() / valid, abs=2e-5)


def test_every_climate_on_land_is_in_a_global_sample(shared_data, tmp_path):
    """The real rasters at 50 km: 20,000 of about 60,000 tiles."""
    config = load_config(
        None,
        {
            "n": 20_000,
            "grid.spacing_km": 50,
            "landcover.source": [str(shared_data / "landcover" / "MCD12C1.A2019001.006.2020220162300.tif")],
            "landcover.legend": "igbp",
            "climate.source": str(shared_data / "koppen" / "koppen_geiger_0p1.tif"),
        },
    )
    outputs = build(config, tmp_path)
    manifest = read_manifest(outputs.manifest)
    population = pq.read_table(outputs.atlas, columns=None)
    shares = np.stack([population[f"climate_{label}"].to_numpy() for label in load_legend("koppen").labels], axis=1)
    land = population["landcover_valid"].to_numpy() - population["landcover_water"].to_numpy() >= np.float32(0.1)
    on_land = {load_legend("koppen").labels[k] for k in np.unique(shares[land & (shares.sum(1) > 0)].argmax(1))}
    assert len(manifest) == sum(line["quota"] for line in manifest.metadata["strata"]) == 20_000
    assert len(on_land) >= 28
    assert set(manifest.column("climate")) - {"unknown"} == on_land
