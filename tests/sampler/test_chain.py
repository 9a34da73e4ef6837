"""The whole chain, from a region to pixels: the same bytes however the catalogue is reached and whatever goes wrong."""

import json
import random
import shutil
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import xarray as xr

from csmoe_sampler import pipeline
from csmoe_sampler.chips import fetch_chips
from csmoe_sampler.config import ChipConfig, SceneConfig, load_config
from csmoe_sampler.errors import ConfigError
from csmoe_sampler.manifest import read_manifest, validate
from csmoe_sampler.pipeline import Outputs, Runtime
from csmoe_sampler.rasters import patience
from csmoe_sampler.remote import Patience
from csmoe_sampler.scenes import resolve_href, signer_of
from csmoe_sampler.scenes.assets import SceneFiles
from sampler.processes import ended, killed_after, start_command
from services.http_files import Faults
from services.signed_files import serve_signed
from services.stac_server import serve_stac

CHIPS = ChipConfig(size_px=32, pixel_m=300, shard_chips=4)
NUM_TILES = 16
COMMAND = [sys.executable, "-m", "csmoe_sampler"]
KILLS = 3


@pytest.fixture(scope="module")
def world(sensed_earth):
    """An Earth with scenes of two granules."""
    return sensed_earth


def build_config(world, **overrides):
    return load_config(
        None,
        {
            "region": str(world.region),
            "n": NUM_TILES,
            "landcover.stac.url": str(world.catalog),
            "climate.source": str(world.root / "koppen_geiger_0p1.tif"),
            "strata.min_size": 5,
            **overrides,
        },
    )


@pytest.fixture(scope="module")
def atlas(world, tmp_path_factory):
    path = tmp_path_factory.mktemp("atlas") / "out.atlas.parquet"
    pipeline.describe(build_config(world), path, Runtime(workers=1))
    return path


def run_chain(world, atlas, folder, scenes, *, report=False):
    """Select, pair, fetch, as the commands do."""
    outputs = Outputs.beside(folder / "out.parquet", atlas=atlas, report=report)
    pipeline.select(build_config(world), outputs, Runtime(workers=1), scenes=scenes)
    result = pipeline.fetch(outputs.manifest, folder / "chips.zarr", CHIPS, scenes, Runtime(workers=2))
    return SimpleNamespace(outputs=outputs, store=folder / "chips.zarr", result=result, scenes=scenes)


def pixels_of(store):
    """Bytes of everything in a store that does not say where it came from."""
    files = sorted(path for path in store.rglob("*") if path.is_file() and path != store / "zarr.json")
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def chain(world, atlas, tmp_path_factory):
    return run_chain(world, atlas, tmp_path_factory.mktemp("chain"), SceneConfig(url=str(world.catalog)), report=True)


def test_the_chain_without_network(chain):
    assert validate(chain.outputs.manifest) == []
    assert chain.result.failed == ()
    manifest = read_manifest(chain.outputs.manifest)
    assert manifest.column("chip").tolist() == list(range(NUM_TILES))
    with xr.open_zarr(chain.store) as chips:
        assert chips.tile_id.values.tolist() == manifest.column("tile_id").tolist()
        assert chips.s2.shape == (NUM_TILES, 12, 32, 32)
        assert np.isfinite(chips.s2).mean() > 0.95
        assert -30 < float(chips.s1.sel(s1_band="VH").mean()) < float(chips.s1.sel(s1_band="VV").mean()) < 0


def test_pixels_are_those_of_the_files(chain, world):
    manifest = read_manifest(chain.outputs.manifest)
    with xr.open_zarr(chain.store, mask_and_scale=False) as chips:
        for rank in (0, 7, 15):
            row = manifest.table.slice(rank, 1).to_pylist()[0]
            files = SceneFiles(row["s2_href"], row["s2_stem"], row["s2_files"]).unpack()
            x_min, _, _, y_max = chips.bounds[rank].values
            with rasterio.open(resolve_href(files["B08"], chain.scenes)) as dataset:
                row_start, col_start = dataset.index(x_min + 150, y_max - 150)
                window = rasterio.windows.Window(col_start, row_start, 32, 32)
                numbers = dataset.read(1, window=window).astype(np.int32)
            stored = chips.s2.sel(s2_band="B08")[rank].values
            expected = np.where(numbers == 0, -32768, numbers - int(row["s2_offset"]))
            np.testing.assert_array_equal(stored, expected)


def test_the_report_shows_scenes_and_chips(chain, atlas):
    page = chain.outputs.manifest.with_name("report.html")
    pipeline.report(chain.outputs.manifest, atlas, page, Runtime(), chips=chain.store)
    text = page.read_text()
    assert text.count("data:image/png;base64") >= 20
    assert 'id="scenes"' in text
    assert 'id="chips"' in text


def write_provider(path, server):
    """The Planetary Computer's tables, with tokens for the host of `server`."""
    from importlib.resources import files

    text = files("csmoe_sampler.scenes").joinpath("providers", "planetary-computer.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("sign", "api"))]
    path.write_text(f'sign = "{server.sign}"\nsign_hosts = ["127.0.0.1"]\n' + "\n".join(lines))


def absolute_items(world, url, folder):
    """Copies of collections and items whose hrefs are addresses of a server; their paths."""
    paths = []
    for name in ("sentinel-2-l2a", "sentinel-1-rtc"):
        collection = json.loads((world.root / name / "collection.json").read_text())
        collection["links"] = []
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(collection))
        items = []
        for path in sorted((world.root / name / "items").glob("*.json")):
            item = json.loads(path.read_text())
            for asset in item["assets"].values():
                local = (path.parent / asset["href"]).resolve().relative_to(world.root.resolve())
                asset["href"] = f"{url}/{local}"
            item["links"] = []
            items.append(item)
        paths.append(folder / f"{name}-items.json")
        paths[-1].write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return paths


def make_short_waits(monkeypatch):
    """As many attempts as ever where a server fails, with tenths of a second for an answer and between them."""
    monkeypatch.setitem(patience.REOPENING, "GDAL_HTTP_TIMEOUT", "0.5")
    pauses = tuple(0.05 for _ in patience.BACKOFF_S)
    monkeypatch.setattr("csmoe_sampler.chips.fetch_chips", partial(fetch_chips, pauses=pauses))
    tokens = partial(signer_of, patience=Patience(backoff_s=0.01, backoff_max_s=0.1, timeout_s=0.5))
    monkeypatch.setattr("csmoe_sampler.chips.fetch.signer_of", tokens)


@pytest.mark.usefixtures("short_delays")
def test_the_chain_over_a_stac_api_with_tokens_and_faults(chain, world, atlas, tmp_path, monkeypatch):
    make_short_waits(monkeypatch)
    faults = Faults(kinds=("429", "503", "timeout", "truncate", "reset"), rate=1 / 3, seed=5)
    with serve_signed(world.root, 40, faults) as server:
        paths = absolute_items(world, server.files.url, tmp_path)
        write_provider(tmp_path / "provider.toml", server)
        with serve_stac(*paths) as api:
            scenes = SceneConfig(provider=str(tmp_path / "provider.toml"), url=api, sign=server.sign)
            remote = run_chain(world, atlas, tmp_path, scenes)
        failed = sum(request.fault is not None for request in server.files.requests)
        assert failed > len(server.files.requests) / 5
        assert len(server.tokens) > 3
    assert remote.result.failed == ()
    assert pixels_of(remote.store) == pixels_of(chain.store)
    here, there = (read_manifest(one.outputs.manifest) for one in (chain, remote))
    places = [name for name in here.table.column_names if name.endswith(("_href",))]
    assert here.table.drop_columns(places).equals(there.table.drop_columns(places))
    assert "sig=" not in str(there.table["s2_href"].to_pylist())


def test_killed_at_random_moments_and_continued(chain, world, atlas, tmp_path):
    """Pairing and fetching, killed from outside and started again as typed."""
    pipeline.select(build_config(world), Outputs.beside(tmp_path / "out.parquet", atlas=atlas, report=False), Runtime())
    manifest, config, elsewhere = tmp_path / "out.parquet", tmp_path / "chips.toml", tmp_path / "elsewhere"
    pair = ["pair", str(manifest), "--scenes", str(world.catalog), "--atlas", str(atlas), "--no-report"]
    config.write_text("[chips]\nsize_px = 32\npixel_m = 300\nshard_chips = 4\n")
    fetch = ["fetch", str(manifest), "--config", str(config), "--scenes", str(world.catalog)]
    elsewhere.mkdir()  # the store goes beside the manifest
    chance = random.Random(3)
    for command, seconds in ((pair, 0.3), (fetch, 1.5)):
        for _ in range(KILLS):  # on a quick machine one may come to its end before
            killed_after(start_command([*command, "--quiet"], elsewhere), chance.uniform(0.01, seconds))
        assert ended(start_command([*command, "--quiet"], elsewhere)) == 0
    assert manifest.read_bytes() == chain.outputs.manifest.read_bytes()
    assert pixels_of(tmp_path / "chips.zarr") == pixels_of(chain.store)
    assert (tmp_path / "chips.zarr" / "zarr.json").read_bytes() == (chain.store / "zarr.json").read_bytes()


def test_scenes_and_chips_are_not_lost_unasked(chain, world, atlas, tmp_path):
    copy = tmp_path / "out.parquet"
    shutil.copy(chain.outputs.manifest, copy)
    outputs = Outputs.beside(copy, atlas=atlas, report=False)
    with pytest.raises(ConfigError, match="has chips that would be lost: choose another --out, or add --overwrite"):
        pipeline.select(build_config(world), outputs, Runtime())
    other = SceneConfig(url=str(world.catalog), max_cloud_percent=50)
    with pytest.raises(ConfigError, match="chosen with other settings: add --overwrite"):
        pipeline.pair(copy, other, outputs, Runtime())
    again = pipeline.pair(copy, chain.scenes, outputs, Runtime())
    assert copy.read_bytes() == chain.outputs.manifest.read_bytes()
    assert "chip" in again.table.column_names
    anew = pipeline.pair(copy, other, outputs, Runtime(), overwrite=True)
    assert "chip" not in anew.table.column_names
    assert validate(copy) == []


def test_a_pair_a_season(world, atlas, tmp_path):
    scenes = SceneConfig(url=str(world.catalog), seasons=("summer", "winter"), max_cloud_percent=60, max_dt_days=30)
    chained = run_chain(world, atlas, tmp_path, scenes)
    manifest = read_manifest(chained.outputs.manifest)
    north = manifest.column("lat") > 0
    months = manifest.table["s2_datetime_winter"].to_pandas().dt.month.to_numpy()
    assert set(months[north]) <= {12, 1, 2}
    assert set(months[~north]) <= {6, 7, 8}
    with xr.open_zarr(chained.store) as chips:
        assert dict(chips.s2.sizes)["season"] == 2
        assert chips.season.values.tolist() == ["summer", "winter"]
    assert validate(chained.outputs.manifest) == []


def test_spectra_as_an_axis_of_the_selection(world, tmp_path):
    """As typed: the axis is named, and the scenes that it is read from are those of the pairing."""
    command = ["build", "--region", str(world.region), "--n", "12", "--stac-url", str(world.catalog)]
    command += ["--climate", str(world.root / "koppen_geiger_0p1.tif"), "--scenes", str(world.catalog), "--pair"]
    command += ["--diversity", "spectral,landcover", "--no-report", "--quiet", "--config", "run.toml"]
    (tmp_path / "run.toml").write_text(f'[spectral]\nurl = "{world.catalog}"\ndecimation = 2\n')
    subprocess.run([*COMMAND, *command], cwd=tmp_path, check=True, timeout=120)
    manifest = read_manifest(tmp_path / "out.parquet")
    assert validate(manifest) == []
    assert set(manifest.metadata["config"]["selection"]["weights"]) == {"spectral", "landcover"}
    entropy = manifest.column("spectral_entropy")
    assert np.isfinite(entropy).all()
    assert 0.5 < entropy.min() < entropy.max() < 5
    assert {"spectral_texture", "spectral_mean_B08", "s2_item"} <= set(manifest.table.column_names)
