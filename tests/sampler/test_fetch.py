"""Fetching: whatever servers, tokens, disks and kills do, the same store to the byte."""

import csv
import random
import shutil
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from csmoe_sampler.chips.fetch import failures_of, fetch_chips
from csmoe_sampler.chips.journal import journal_of
from csmoe_sampler.chips.rows import ChipRows
from csmoe_sampler.chips.store import ChipStore, read_provenance
from csmoe_sampler.config import ChipConfig, SceneConfig
from csmoe_sampler.engine import open_client
from csmoe_sampler.errors import ChipError, ConfigError, ManifestError, RasterUnreachableError, StorageError
from csmoe_sampler.progress import NoProgress
from sampler import processes
from sampler.chip_inputs import Chosen, fetch_slowly, manifest_of, write_band, write_provider
from services.http_files import Faults, serve_files
from services.signed_files import serve_signed

CRS = "EPSG:32633"
CORNER = (500_000.0, 5_300_040.0)
CONFIG = ChipConfig(size_px=48, s2_bands=("B01", "B03", "B05"), shard_chips=4)
NUM_TILES = 11
HASTY = (0.005,) * 40
pytestmark = pytest.mark.usefixtures("short_delays")


@pytest.fixture(scope="module")
def client():
    with open_client(workers=2) as client:
        yield client


def texture(shape, seed, low, high):
    random = np.random.default_rng(seed)
    smooth = np.add.outer(np.arange(shape[0]), 2 * np.arange(shape[1])) % 97 / 97
    return low + (high - low) * (0.7 * smooth + 0.3 * random.random(shape))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A folder with a Sentinel-2 scene of 10, 20 and 60 m bands, its mask, and a linear Sentinel-1 scene beside its
    lattice."""
    folder = tmp_path_factory.mktemp("scene") / "data"
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band"}
    for band, pixel_m, seed in (("B01", 60, 1), ("B03", 10, 2), ("B05", 20, 3)):
        dn = texture((6000 // pixel_m, 7200 // pixel_m), seed, 300, 4000).astype(np.uint16)
        write_band(folder / "S2" / f"x_{band}.tif", dn, CRS, CORNER, pixel_m, nodata=0, **tiled)
    classes = np.random.default_rng(4).integers(1, 12, (300, 360)).astype(np.uint8)
    write_band(folder / "S2" / "x_SCL.tif", classes, CRS, CORNER, 20, nodata=0, **tiled)
    for band, seed in (("VV", 5), ("VH", 6)):
        power = texture((620, 740), seed, 0.02, 0.2).astype(np.float32) * (1 if band == "VV" else 0.2)
        corner = (CORNER[0] - 87.5, CORNER[1] + 43.0)
        write_band(folder / "S1" / f"y_{band.lower()}.tif", power, CRS, corner, 10, nodata=-32768, **tiled)
    return folder


def scenes_of(folder, url=None, **more):
    host = 'sign_hosts = ["127.0.0.1"]'
    provider = write_provider(folder.parent / "provider.toml", s1_unit="linear", mask="SCL", more=host)
    return SceneConfig(provider=str(provider), url=str(url or folder), **more)


def tiles_of(base="", num_tiles=NUM_TILES):
    random = np.random.default_rng(7)
    files = {
        "s2": {band: f"{base}S2/x_{band}.tif" for band in (*CONFIG.s2_bands, "SCL")},
        "s1": {band: f"{base}S1/y_{band.lower()}.tif" for band in ("VV", "VH")},
    }
    return [
        Chosen(f"{k}U_{k}R", CRS, (CORNER[0] + x, CORNER[1] - y), files, offset=0.0)
        for k, (x, y) in enumerate(random.uniform((500, 500), (6700, 5500), (num_tiles, 2)))
    ]


class Notes(NoProgress):
    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


def contents(out):
    """Path -> bytes of a store and its list of failures."""
    found = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    return found | {"failed": failures_of(out).read_bytes()}


def pixels(out):
    """Path -> bytes of the shards."""
    return {name: data for name, data in contents(out).items() if "/c/" in name}


@pytest.fixture(scope="module")
def local(scene, tmp_path_factory, client):
    """The store from local files."""
    out = tmp_path_factory.mktemp("local") / "chips.zarr"
    result = fetch_chips(manifest_of(tiles_of()), out, CONFIG, scenes_of(scene), client=client)
    assert result.failed == ()
    assert result.chip.tolist() == list(range(NUM_TILES))
    return out


def test_a_complete_fetch_does_nothing(scene, local, client):
    before = {path: path.stat().st_mtime_ns for path in local.rglob("*")}
    result = fetch_chips(manifest_of(tiles_of()), local, CONFIG, scenes_of(scene), client=client)
    assert result.chip.tolist() == list(range(NUM_TILES))
    assert {path: path.stat().st_mtime_ns for path in local.rglob("*")} == before


def test_a_server_that_fails_a_third_of_the_time_changes_nothing(scene, local, client, tmp_path):
    faults = Faults(("429", "500", "503", "truncate", "reset"), rate=0.34, seed=5)
    with serve_files(scene, faults) as server:
        manifest = manifest_of(tiles_of(f"{server.url}/"))
        out = tmp_path / "chips.zarr"
        result = fetch_chips(
            manifest, out, CONFIG, scenes_of(scene, server.url), client=client, connections=4, pauses=HASTY
        )
        met = sum(request.fault is not None for request in server.requests)
    assert result.failed == ()
    assert met > 40
    assert pixels(out) == pixels(local)


def test_tokens_that_die_are_asked_for_anew(scene, local, client, tmp_path):
    with serve_signed(scene.parent, requests_per_token=30) as server:
        manifest = manifest_of(tiles_of(f"{server.files.url}/data/"))
        scenes = scenes_of(scene, server.files.url, sign=server.sign)
        out = tmp_path / "chips.zarr"
        result = fetch_chips(manifest, out, CONFIG, scenes, client=client, connections=4, pauses=HASTY)
        assert (len(server.tokens) > 3, server.refused > 3) == (True, True)
    assert result.failed == ()
    assert pixels(out) == pixels(local)
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"sig=" not in everything


# ---- killed and continued -------------------------------------------------------------------------------------------


def test_killed_and_continued(scene, local, client, tmp_path):
    out = tmp_path / "chips.zarr"
    chance = random.Random(11)
    unfinished = 0
    for sign in ("chips.journal", "chips.zarr/zarr.json", "chips.journal/shard-*"):
        process = processes.start(fetch_slowly, manifest_of(tiles_of()), out, CONFIG, scenes_of(scene))
        while process.is_alive() and not list(tmp_path.glob(sign)):
            time.sleep(0.002)
        assert processes.killed_after(process, chance.uniform(0, 0.05))
        if (out / "zarr.json").exists() and b"csmoe" not in (out / "zarr.json").read_bytes():
            unfinished += 1
            with pytest.raises(ChipError, match="is unfinished: run the same fetch again"):
                read_provenance(out)
    fetch_chips(manifest_of(tiles_of()), out, CONFIG, scenes_of(scene), client=client)
    assert unfinished > 0
    assert contents(out) == contents(local)


# ---- from an earlier store ------------------------------------------------------------------------------------------


def test_what_an_earlier_store_has_is_not_fetched_again(scene, local, client, tmp_path):
    """Rows that moved, one with another scene, new ones: only these are read, and the bytes are as if all were."""
    before = tiles_of(num_tiles=NUM_TILES + 3)
    changed = replace(before[3], item="other")
    rows = [before[8], changed, *before[4:8], before[12], before[0], before[11], before[2], before[13]]
    fetch_chips(manifest_of(rows), tmp_path / "anew.zarr", CONFIG, scenes_of(scene), client=client)
    gone = {sensor: dict.fromkeys(bands, "gone.tif") for sensor, bands in before[0].files.items()}
    kept = [row if row in (changed, *before[11:]) else replace(row, files=gone) for row in rows]
    out, noted = tmp_path / "chips.zarr", Notes()
    result = fetch_chips(manifest_of(kept), out, CONFIG, scenes_of(scene), client=client, reuse=local, progress=noted)
    assert result.failed == ()
    assert [note for note in noted.said if "taken from" in note] == [f"7 of 11 tiles are taken from {local}"]
    assert pixels(out) == pixels(tmp_path / "anew.zarr")
    with ChipRows(out) as ours, ChipRows(tmp_path / "anew.zarr") as theirs:
        for one, other in zip(ours.read(ours.fetched), theirs.read(theirs.fetched), strict=True):
            assert one.facts == other.facts


@pytest.mark.parametrize("seasons", [("summer",), ("summer", "winter")], ids=" ".join)
def test_seasons_are_taken_over_together(scene, client, tmp_path, seasons):
    """One of them has no name in a store; with two, a tile of which one has another scene is fetched."""
    scenes = scenes_of(scene, seasons=seasons)
    tiles = [[replace(tile, item=f"{tile.item}-{season}") for season in seasons] for tile in tiles_of(num_tiles=6)]
    later = [tiles[4], [*tiles[1][:-1], replace(tiles[1][-1], item="other")], tiles[0], tiles[5]]
    fetched = partial(fetch_chips, config=CONFIG, scenes=scenes, client=client)
    fetched(manifest_of(tiles, seasons), tmp_path / "old.zarr")
    fetched(manifest_of(later, seasons), tmp_path / "anew.zarr")
    noted = Notes()
    fetched(manifest_of(later, seasons), tmp_path / "chips.zarr", reuse=tmp_path / "old.zarr", progress=noted)
    assert f"3 of 4 tiles are taken from {tmp_path / 'old.zarr'}" in noted.said
    assert pixels(tmp_path / "chips.zarr") == pixels(tmp_path / "anew.zarr")


def test_tiles_that_failed_before_are_tried_again(scene, client, tmp_path):
    tiles = tiles_of(num_tiles=6)
    bad = replace(tiles[1], files={**tiles[1].files, "s1": dict.fromkeys(("VV", "VH"), "gone.tif")})
    first = fetch_chips(
        manifest_of([tiles[0], bad, *tiles[2:]]), tmp_path / "a.zarr", CONFIG, scenes_of(scene), client=client
    )
    assert [failure.tile_id for failure in first.failed] == [bad.tile_id]
    second = fetch_chips(
        manifest_of(tiles), tmp_path / "b.zarr", CONFIG, scenes_of(scene), client=client, reuse=tmp_path / "a.zarr"
    )
    assert (second.failed, second.chip.tolist()) == ((), list(range(6)))


def test_a_damaged_chip_is_not_taken_over(scene, local, client, tmp_path):
    """It is told, and what its shard had is fetched once its entry in the journal is gone, as the message says."""
    old = tmp_path / "old.zarr"
    shutil.copytree(local, old)
    shutil.copytree(journal_of(local), journal_of(old))
    shard = max((old / "s2").rglob("c/1/**/0"), key=lambda path: path.is_file())
    data = bytearray(shard.read_bytes())
    data[100] ^= 0xFF
    shard.write_bytes(data)
    again = partial(fetch_chips, manifest_of(tiles_of()), config=CONFIG, scenes=scenes_of(scene), client=client)
    with pytest.raises(ChipError, match=r"its shard .*old\.zarr/s2/c/1/.* is damaged: delete the store's entry of it"):
        again(out=tmp_path / "chips.zarr", reuse=old)
    (journal_of(old) / "shard-000001.json").unlink()
    noted = Notes()
    again(out=tmp_path / "chips.zarr", reuse=old, progress=noted)
    assert f"7 of 11 tiles are taken from {old}" in noted.said
    assert pixels(tmp_path / "chips.zarr") == pixels(local)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_valid": 0.4}, "was fetched with another configuration, so that"),
        ({"size_px": 32}, "was fetched with another configuration, so that"),
    ],
)
def test_an_earlier_store_has_the_same_recipe(scene, local, client, tmp_path, change, message):
    config = CONFIG.model_copy(update=change)
    with pytest.raises(ChipError, match=message):
        fetch_chips(
            manifest_of(tiles_of()), tmp_path / "chips.zarr", config, scenes_of(scene), client=client, reuse=local
        )


def test_an_earlier_store_is_whole(scene, local, client, tmp_path):
    again = partial(
        fetch_chips, manifest_of(tiles_of()), tmp_path / "chips.zarr", CONFIG, scenes_of(scene), client=client
    )
    with pytest.raises(ChipError, match="no such store: check the path"):
        again(reuse=tmp_path / "nothing.zarr")
    shutil.copytree(local, tmp_path / "alone.zarr")
    with pytest.raises(ChipError, match=r"run\.json: cannot be read: a store is of use only with its journal"):
        again(reuse=tmp_path / "alone.zarr")


# ---- refused --------------------------------------------------------------------------------------------------------


def test_a_store_belongs_to_its_manifest_and_configuration(scene, local, client):
    scenes = scenes_of(scene)
    with pytest.raises(ChipError, match=r"was begun with another manifest: .* another --out, and give this one as"):
        fetch_chips(manifest_of(tiles_of(num_tiles=5)), local, CONFIG, scenes, client=client)
    with pytest.raises(ChipError, match=r"was begun with another configuration: go on with that, or .* --out$"):
        fetch_chips(manifest_of(tiles_of()), local, CONFIG.model_copy(update={"min_valid": 0.4}), scenes, client=client)


def test_what_was_never_fetched_is_not_overwritten(scene, client, tmp_path):
    (tmp_path / "chips.zarr").mkdir()
    with pytest.raises(ChipError, match="is there without its journal"):
        fetch_chips(manifest_of(tiles_of()), tmp_path / "chips.zarr", CONFIG, scenes_of(scene), client=client)


def test_a_manifest_without_scenes(scene, client, tmp_path):
    manifest = manifest_of(tiles_of())
    bare = replace(manifest, table=manifest.table.drop_columns(["s2_href"]))
    with pytest.raises(ManifestError, match="has no column s2_href: choose its scenes with `pair`"):
        fetch_chips(bare, tmp_path / "chips.zarr", CONFIG, scenes_of(scene), client=client)


def test_amplitudes_in_radar_geometry_are_refused(scene, client, tmp_path):
    with pytest.raises(ConfigError, match=r"missing is calibration and terrain correction \(RTC\)"):
        fetch_chips(
            manifest_of(tiles_of()), tmp_path / "c.zarr", CONFIG, scenes_of(scene, sentinel1="grd"), client=client
        )
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_run_with_advice(scene, local, client, small_disk):
    big = CONFIG.model_copy(update={"size_px": 256})
    with pytest.raises(StorageError, match="disk is full: free space"):
        fetch_chips(manifest_of(tiles_of(num_tiles=4)), small_disk / "chips.zarr", big, scenes_of(scene), client=client)


# ---- failures -------------------------------------------------------------------------------------------------------


def test_missing_files_fail_their_tiles_alone(scene, local, client, tmp_path):
    tiles = tiles_of()
    for row, item in ((2, "gone"), (9, "scene")):
        files = {**tiles[row].files, "s1": {"VV": "S1/y_vv.tif", "VH": "S1/gone.tif"}}
        tiles[row] = replace(tiles[row], files=files, item=item)
    out = tmp_path / "chips.zarr"
    result = fetch_chips(manifest_of(tiles), out, CONFIG, scenes_of(scene), client=client)
    assert result.chip.tolist() == [0, 1, -1, 3, 4, 5, 6, 7, 8, -1, 10]
    assert [(failure.tile_id, failure.sensor, failure.item) for failure in result.failed] == [
        ("2U_2R", "s1", "gone-s1"),
        ("9U_9R", "s1", "scene-s1"),
    ]
    with failures_of(out).open(newline="") as file:
        lines = list(csv.DictReader(file))
    # The last one holds for all tiles: nothing could be read from this scene, while others have chips from the other.
    assert [(line["tile_id"], line["item"]) for line in lines] == [
        ("2U_2R", "gone-s1"),
        ("9U_9R", "scene-s1"),
        ("", "gone-s1"),
    ]
    assert lines[0]["reason"].startswith("raster gone.tif: reading band 1 failed: gone.tif: No such file")
    assert str(scene) not in failures_of(out).read_text()
    with ChipStore(out) as store, ChipStore(local) as whole:
        assert (store.read(2)["s2"] == -32768).all()
        assert np.isnan(store.read(2)["s1"]).all()
        for name, array in store.read(3).items():
            assert np.array_equal(array, whole.read(3)[name], equal_nan=name == "s1")
    assert read_provenance(out)["failed"][0]["tile_id"] == "2U_2R"


def test_a_missing_remote_file_is_asked_for_once(scene, client, tmp_path):
    with serve_files(scene) as server:
        tiles = tiles_of(f"{server.url}/", 1)
        files = {**tiles[0].files, "s1": {"VV": f"{server.url}/S1/y_vv.tif", "VH": f"{server.url}/S1/gone.tif"}}
        out = tmp_path / "chips.zarr"
        result = fetch_chips(
            manifest_of([replace(tiles[0], files=files)]), out, CONFIG, scenes_of(scene, server.url), client=client
        )
        asked = [request for request in server.requests if request.path == "/S1/gone.tif"]
    assert len(asked) == 1
    assert "404" in result.failed[0].reason


def test_what_was_out_of_reach_is_tried_again_by_the_next_run(scene, local, client, tmp_path):
    out = tmp_path / "chips.zarr"
    config = CONFIG.model_copy(update={"shard_chips": 2})
    with serve_files(scene, Faults(("503",), only="y_vh", at_most=20)) as server:
        manifest, scenes = manifest_of(tiles_of(f"{server.url}/", 3)), scenes_of(scene, server.url)
        fetch = lambda: fetch_chips(manifest, out, config, scenes, client=client, pauses=(0.001,))  # noqa: E731
        first = fetch()
        while len(failed := fetch().failed):
            assert all(failure.passing for failure in failed)
    assert len(first.failed) == 3
    assert failures_of(out).read_text() == "tile_id,item,sensor,reason\n"


def test_an_outage_ends_the_run(scene, client, tmp_path):
    # Whole shards alone: a shard of three tiles is too few to tell an outage from scenes that are gone.
    with serve_files(scene, Faults(("503",))) as server:
        manifest, scenes = manifest_of(tiles_of(f"{server.url}/", 8)), scenes_of(scene, server.url)
        with pytest.raises(RasterUnreachableError, match=r"none of 4 tiles from .* could be read .* continues"):
            fetch_chips(manifest, tmp_path / "chips.zarr", CONFIG, scenes, client=client, pauses=(0.001,))
    assert not list(journal_of(tmp_path / "chips.zarr").glob("shard-*"))


# ---- elsewhere ------------------------------------------------------------------------------------------------------


def test_a_cluster_writes_the_same_store(scene, local, dask_cluster, tmp_path):
    out = tmp_path / "chips.zarr"
    with open_client(dask_cluster.address) as client:
        fetch_chips(manifest_of(tiles_of()), out, CONFIG, scenes_of(scene), client=client)
    assert contents(out) == contents(local)


def test_only_the_bytes_needed_are_asked_for(scene, client, tmp_path):
    with serve_files(scene) as server:
        out = tmp_path / "chips.zarr"
        fetch_chips(
            manifest_of(tiles_of(f"{server.url}/", 1)), out, CONFIG, scenes_of(scene, server.url), client=client
        )
        requests = list(server.requests)
    files = {request.path for request in requests}
    assert len(files) == 6
    opened = [one for one in requests if one.method == "HEAD" or (one.range or "").startswith("bytes=0-")]
    assert len(opened) == 2 * len(files)
    assert not [request for request in requests if request.method == "GET" and request.range is None]
    # 48 pixels touch at most two rows of blocks of 64, each one range.
    assert len(requests) - len(opened) <= 2 * len(files)
