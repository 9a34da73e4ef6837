import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csmoe_sampler.atlas import Atlas, describe_tiles, open_atlas, plan_blocks, read_atlas
from csmoe_sampler.atlas.lattice import block_edge, cut_blocks
from csmoe_sampler.atlas.tile_sets import TileSet
from csmoe_sampler.descriptors import ClassShares
from csmoe_sampler.engine import open_client
from csmoe_sampler.errors import AtlasError, LegendError, StorageError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.legend import load_legend
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.rasters import open_source
from csmoe_sampler.types import Int64, ReadCost
from sampler import processes
from sampler.atlas_fakes import FakeShares, describe_here
from sampler.conftest import DaskCluster

GRID = TileGrid(200.0)
LANDCOVER = FakeShares(pixel_deg=0.001)
"""Makes blocks of 30 degrees."""
CLIMATE = FakeShares(name="climate", pixel_deg=0.1, labels=("Af", "Dfb"))
ALL = np.arange(GRID.size)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with open_client(workers=2) as client:
        yield client


@pytest.fixture(scope="module")
def whole(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tiles, both descriptors, in one go."""
    out = tmp_path_factory.mktemp("whole") / "atlas.parquet"
    _describe(client, out, ALL)
    return out


def _describe(
    client: Client,
    out: Path,
    tiles: Int64,
    descriptors: Sequence[FakeShares] = (LANDCOVER, CLIMATE),
    progress: Progress | None = None,
) -> Atlas:
    return describe_tiles(tiles, GRID, descriptors, out, client=client, progress=progress or NoProgress())


def _bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"}


def _on_land(tiles: Int64) -> Int64:
    columns = LANDCOVER.describe(GRID, tiles)
    valid, water = columns["landcover_valid"], columns["landcover_water"]
    return tiles[(valid > 0) & (valid - water > 0)]


# ---- lattice and sets of tiles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacing_km", "pixel_deg", "edge"),
    [
        (10, 1 / 12000, 3),  # ESA WorldCover: its own files
        (10, 0.05, 30),
        (10, 0.1, 30),
        (5, 0.1, 15),
        (2.5, 0.1, 6),
        (10, 1 / 1200, 30),
        (100, 0.1, 90),
        (10, 1e-6, 1),
        (0.5, 0.1, 1),
    ],
)
def test_blocks_are_as_large_as_pixels_and_tiles_allow(spacing_km: float, pixel_deg: float, edge: int) -> None:
    coarse = FakeShares(pixel_deg=0.5)
    assert block_edge(TileGrid(spacing_km), [coarse, FakeShares(pixel_deg=pixel_deg)]) == edge


@pytest.mark.parametrize(("spacing_km", "edge"), [(137.0, 6), (200.0, 30), (333.0, 90), (90.0, 3)])
def test_every_tile_is_in_the_one_block_that_holds_its_centre(spacing_km: float, edge: int) -> None:
    grid = TileGrid(spacing_km, 89.0)
    some = np.flatnonzero(np.random.default_rng(0).random(grid.size) < 0.3)
    blocks = list(cut_blocks(grid, some, edge))
    assert np.array_equal(np.sort(np.concatenate([tiles for _, tiles in blocks])), some)
    assert len({name for name, _ in blocks}) == len(blocks)
    for name, tiles in blocks:
        assert (np.diff(tiles) > 0).all()
        lon, lat = grid.centre(tiles)
        south, west = int(name[3:6]), int(name[10:])
        assert ((south <= lat) & (lat < south + edge)).all()
        assert ((west <= lon) & (lon < west + edge)).all()


def test_a_block_is_named_after_its_south_west_corner() -> None:
    tiles = np.sort(TileGrid(10.0).locate_index([6.5, -0.1, 178.5, 0.0], [-0.1, 0.1, 84.0, 0.0]))
    assert {name: len(tiles) for name, tiles in cut_blocks(TileGrid(10.0), tiles, 3)} == {
        "lat-03_lon+006": 1,
        "lat+00_lon-003": 1,
        "lat+00_lon+000": 1,
        "lat+84_lon+177": 1,
    }


Sets = st.sets(st.integers(0, 60), max_size=40)


@given(one=Sets, other=Sets)
def test_sets_of_tiles_are_sets(one: set[int], other: set[int]) -> None:
    first, second = (np.array(sorted(numbers), np.int64) for numbers in (one, other))
    both = TileSet.of(first) | TileSet.of(second)
    assert len(both) == len(one | other)
    assert both.text == TileSet.of(np.array(sorted(one | other), np.int64)).text
    assert TileSet.parse(both.text).text == both.text
    assert set(second[TileSet.of(first).holds(second)].tolist()) == one & other
    assert TileSet.of(first).count(second) == len(one & other)


# ---- describing -----------------------------------------------------------------------------------------------------


def test_every_tile_with_land_has_a_row_with_its_columns(whole: Path) -> None:
    table = read_atlas(whole)
    land = _on_land(ALL)
    assert 0 < land.size < ALL.size
    assert table.column_names[:4] == ["tile", "tile_id", "lon", "lat"]
    lon, lat = GRID.centre(land)
    expected = {"tile": land, "tile_id": GRID.ids(land), "lon": lon, "lat": lat}
    expected |= LANDCOVER.describe(GRID, land) | CLIMATE.describe(GRID, land)
    assert table.column_names == list(expected)
    for name, column in expected.items():
        assert np.array_equal(table[name].to_numpy(), column), name
    assert str(table.schema.field("landcover_tree").type) == "float"
    assert not any(field.nullable for field in table.schema)


def test_other_readers_see_one_table(whole: Path) -> None:
    table = read_atlas(whole)
    dataset = pyarrow.dataset.dataset(whole)
    assert dataset.to_table().sort_by("tile").equals(table)
    assert dataset.count_rows(filter=pyarrow.dataset.field("lat") > 60) == (table["lat"].to_numpy() > 60).sum()
    frame = pd.read_parquet(whole, columns=["tile_id", "climate_Af"])
    assert sorted(frame.tile_id) == sorted(table["tile_id"].to_pylist())


def test_open_atlas_knows_what_is_in_it(whole: Path) -> None:
    atlas = open_atlas(whole)
    assert atlas.grid == GRID
    assert atlas.num_tiles == _on_land(ALL).size
    assert list(atlas.columns) == read_atlas(whole).column_names
    assert atlas.provenance["climate"] == {
        "sources": [{"name": "climate", "version": "1"}],
        "labels": ["Af", "Dfb"],
    }
    assert len(list(whole.glob("lat*.parquet"))) == 72


class Counter(NoProgress):
    def __init__(self) -> None:
        self.total = self.done = 0
        self.notes: list[str] = []

    def start(self, name: str, total: int, unit: str) -> None:
        assert (name, unit) == ("describe", "tiles")
        self.total += total

    def advance(self, count: int) -> None:
        self.done += count

    def note(self, text: str) -> None:
        self.notes.append(text)


def _asked(log: Path) -> int:
    """Tiles that were asked for since the last call."""
    text = log.read_text() if log.exists() else ""
    log.write_text("")
    return sum(map(int, text.split()))


def test_only_what_is_missing_is_computed(client: Client, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "atlas.parquet"
    log1, log2 = tmp_path / "1", tmp_path / "2"
    landcover, climate = replace(LANDCOVER, log=log1), replace(CLIMATE, log=log2)
    north, middle = ALL[ALL.size // 2 :], ALL[ALL.size // 3 : ALL.size // 3 * 2]
    rows = _on_land(np.union1d(north, middle)).size

    def run(tiles: Int64, *descriptors: FakeShares) -> tuple[int, int, Counter]:
        counter = Counter()
        _describe(client, out, tiles, descriptors, counter)
        assert counter.done == counter.total
        return _asked(log1), _asked(log2), counter

    assert run(north, landcover)[:2] == (north.size, 0)
    assert run(north, landcover)[:2] == (0, 0)
    fresh = np.setdiff1d(middle, north).size
    asked1, asked2, counter = run(middle, landcover)
    assert (asked1, asked2, counter.total) == (fresh, 0, fresh)
    assert counter.notes == [f"{out} has {middle.size - fresh:,} of {middle.size:,} tiles already"]
    assert run(np.union1d(north, middle), climate, landcover)[:2] == (0, rows)
    asked1, asked2, _ = run(ALL, landcover, climate)
    assert (asked1, asked2) == (ALL.size - np.union1d(north, middle).size, _on_land(ALL).size - rows)
    assert run(ALL, landcover, climate)[:2] == (0, 0)
    assert _bytes(out) == _bytes(whole)


def test_tiles_and_descriptors_at_once_in_the_same_blocks(client: Client, whole: Path, tmp_path: Path) -> None:
    _describe(client, tmp_path / "a", ALL[::2], [LANDCOVER])
    _describe(client, tmp_path / "a", ALL)
    assert _bytes(tmp_path / "a") == _bytes(whole)


def test_a_repeated_run_leaves_the_files_alone(client: Client, tmp_path: Path) -> None:
    _describe(client, tmp_path / "a", ALL[:500])
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.parquet")}
    _describe(client, tmp_path / "a", ALL[:500])
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.parquet")} == before


def test_blocks_with_most_tiles_come_first(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _describe(client, tmp_path / "a", ALL, [replace(LANDCOVER, log=log, pause_s=0.01)])
    sizes = [int(line) for line in log.read_text().split()]
    assert len(sizes) == 72
    assert min(sizes[:20]) > max(sizes[-20:])


def test_ocean_is_remembered(client: Client, tmp_path: Path) -> None:
    ocean = np.setdiff1d(ALL, _on_land(ALL))[:300]
    log = tmp_path / "log"
    landcover = replace(LANDCOVER, log=log)
    _describe(client, tmp_path / "a", ocean, [landcover])
    assert _asked(log) == ocean.size
    assert read_atlas(tmp_path / "a").num_rows == 0
    _describe(client, tmp_path / "a", ocean, [landcover, CLIMATE])
    assert _asked(log) == 0
    assert read_atlas(tmp_path / "a", columns=["climate_Af"]).num_rows == 0
    _describe(client, tmp_path / "b", ocean)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_the_first_descriptor_of_the_atlas_decides_what_is_land(client: Client, tmp_path: Path) -> None:
    land = FakeShares(name="climate", labels=("Af", "water"), pixel_deg=0.001)
    _describe(client, tmp_path / "a", ALL[:400], [land])
    _describe(client, tmp_path / "a", ALL[:900], [LANDCOVER, land])
    columns = land.describe(GRID, ALL[:900])
    expected = ALL[:900][columns["climate_valid"] > columns["climate_water"]]
    assert np.array_equal(read_atlas(tmp_path / "a")["tile"].to_numpy(), expected)


def test_a_finer_descriptor_keeps_the_blocks_and_cuts_the_work(client: Client, whole: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "atlas.parquet", tmp_path / "log"
    shutil.copytree(whole, out)
    before = set(_bytes(out))
    texture = FakeShares(name="texture", pixel_deg=0.0006, labels=("rough",), log=log)
    assert block_edge(GRID, [texture]) == 15
    _describe(client, out, ALL, [LANDCOVER, CLIMATE, texture])
    assert len(log.read_text().split()) > 200
    assert set(_bytes(out)) == before
    table = read_atlas(out, ["tile", "texture_rough"])
    assert np.array_equal(table["texture_rough"].to_numpy(), texture.describe(GRID, _on_land(ALL))["texture_rough"])
    again = tmp_path / "again.parquet"
    _describe(client, again, ALL[:7], [LANDCOVER])
    _describe(client, again, ALL, [LANDCOVER, CLIMATE, texture])
    assert _bytes(again) == _bytes(out)


Steps = st.lists(
    st.tuples(st.sampled_from([(0, 100), (60, 220), (0, 300), (210, 220)]), st.integers(1, 7), st.booleans()),
    max_size=3,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=Steps)
def test_history_leaves_no_trace(
    steps: list[tuple[tuple[int, int], int, bool]], client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("history")
    with_climate = False
    for (start, stop), stride, further in steps:
        with_climate |= further
        descriptors = [LANDCOVER, CLIMATE] if with_climate else [LANDCOVER]
        _describe(client, folder / "steps", ALL[start:stop:stride], descriptors)
    for out in ("steps", "once"):
        _describe(client, folder / out, ALL[:300])
    assert _bytes(folder / "steps") == _bytes(folder / "once")


# ---- plan -----------------------------------------------------------------------------------------------------------


def test_a_plan_counts_and_writes_nothing(client: Client, tmp_path: Path) -> None:
    out = tmp_path / "a"
    tiles = ALL[:900]
    plan = plan_blocks(tiles, GRID, [LANDCOVER, CLIMATE], out)
    assert not out.exists()
    assert plan.num_tiles == 900
    assert plan.num_blocks == len(list(cut_blocks(GRID, tiles, 30)))
    assert plan.cost == ReadCost(files=2, requests=4, bytes=18_000, pixels=180_000)
    _describe(client, out, tiles[:600], [LANDCOVER])
    before = _bytes(out)
    plan = plan_blocks(tiles, GRID, [LANDCOVER, CLIMATE], out)
    rows = _on_land(tiles[:600]).size
    assert plan.num_tiles == 300 + rows
    assert plan.cost.bytes == 10 * (300 + 300 + rows)
    assert _bytes(out) == before
    _describe(client, out, tiles)
    plan = plan_blocks(tiles, GRID, [LANDCOVER, CLIMATE], out)
    assert (plan.num_blocks, plan.num_tiles, plan.cost.files) == (0, 0, 0)


# ---- refusals -------------------------------------------------------------------------------------------------------


def _refused(client: Client, out: Path, match: str, descriptors: Sequence[FakeShares], grid: TileGrid = GRID) -> None:
    before = _bytes(out)
    with pytest.raises(AtlasError, match=match):
        plan_blocks(np.arange(90), grid, descriptors, out)
    with pytest.raises(AtlasError, match=match):
        describe_tiles(np.arange(90), grid, descriptors, out, client=client, progress=NoProgress())
    assert _bytes(out) == before


def test_another_grid_is_refused(client: Client, whole: Path) -> None:
    found = r"atlas \S+ has tiles of 200 km within latitude 85, this run 200 km within 80: choose another folder"
    _refused(client, whole, found, [LANDCOVER], TileGrid(200.0, 80.0))


def test_other_sources_are_refused_by_what_differs(client: Client, whole: Path) -> None:
    found = r"has 'climate' from other sources: sources\[0\]\.version was '1', now '2'; choose another folder"
    _refused(client, whole, found, [LANDCOVER, replace(CLIMATE, version="2")])
    found = r"from other sources: columns was 5 entries, now 4 entries"
    _refused(client, whole, found, [replace(LANDCOVER, labels=("tree", "water"))])


def test_descriptors_with_a_common_column_are_refused(client: Client, tmp_path: Path) -> None:
    clash = FakeShares(name="landcover_tree", labels=())
    with pytest.raises(AtlasError, match="two descriptors have a column 'landcover_tree_valid'"):
        _describe(client, tmp_path / "a", ALL[:9], [FakeShares(labels=("tree_valid",)), clash])
    assert not (tmp_path / "a").exists()


def test_further_tiles_need_all_descriptors_of_the_atlas(client: Client, tmp_path: Path) -> None:
    _describe(client, tmp_path / "a", ALL[:90])
    _describe(client, tmp_path / "a", ALL[:80], [LANDCOVER])
    with pytest.raises(AtlasError, match="has descriptor 'climate', which further tiles need too"):
        _describe(client, tmp_path / "a", ALL[:91], [LANDCOVER])
    assert read_atlas(tmp_path / "a")["tile"].to_pylist() == _on_land(ALL[:90]).tolist()


def test_a_folder_of_other_things_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    _refused(client, tmp_path, r"is no atlas: it holds photo\.jpg, but no _atlas\.json", [LANDCOVER])
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageError, match="a parent of it is a file"):
        _describe(client, file, ALL[:9])


def test_wrong_columns_of_a_descriptor_are_refused(client: Client, tmp_path: Path) -> None:
    wrong = Wrong(pixel_deg=0.001)
    with pytest.raises(AtlasError, match=r"descriptor 'landcover' gave \('landcover_pixels', 'float64', \(\d+,\)\)"):
        _describe(client, tmp_path / "a", ALL[:9], [wrong])


class Wrong(FakeShares):
    def describe(self, grid: TileGrid, tiles: Int64) -> dict[str, np.ndarray]:
        return super().describe(grid, tiles) | {"landcover_pixels": tiles / 2}


# ---- reading --------------------------------------------------------------------------------------------------------


def test_columns_and_tiles_can_be_chosen(whole: Path) -> None:
    tiles = ALL[1000:3000:3]
    table = read_atlas(whole, ["climate_valid", "tile_id"], tiles)
    assert table.column_names == ["climate_valid", "tile_id"]
    assert table["tile_id"].to_pylist() == GRID.ids(_on_land(tiles)).tolist()
    assert read_atlas(whole, ["tile"], tiles[:0]).num_rows == 0
    with pytest.raises(
        AtlasError, match="has no column 'landcover_shrub': it has tile, tile_id, lon, lat, landcover_tree"
    ):
        read_atlas(whole, ["landcover_shrub"])


def test_an_unfinished_atlas_is_not_read(client: Client, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    shutil.copytree(whole, out)
    (out / "lat+30_lon-060.parquet").unlink()
    gone = dict(cut_blocks(GRID, ALL, 30))["lat+30_lon-060"]
    there = np.setdiff1d(ALL, gone)
    with pytest.raises(AtlasError, match=rf"lacks {gone.size} of {ALL.size:,} tiles: run describe again, it continues"):
        read_atlas(out)
    with pytest.raises(AtlasError, match="lacks 1 of 1 tiles: run describe again"):
        read_atlas(out, tiles=gone[:1])
    assert read_atlas(out, tiles=there).num_rows == _on_land(there).size
    _describe(client, out, ALL)
    assert _bytes(out) == _bytes(whole)


def test_a_descriptor_of_some_parts_only_is_not_read(client: Client, tmp_path: Path) -> None:
    out = tmp_path / "a"
    south, north = ALL[:90], ALL[-90:]
    _describe(client, out, south, [LANDCOVER])
    _describe(client, out, north)
    with pytest.raises(AtlasError, match=r"lacks descriptor 'climate' in \d+ of \d+ parts: run describe with it again"):
        read_atlas(out)
    assert len(open_atlas(out).asked) == 180
    assert read_atlas(out, tiles=north).num_rows == _on_land(north).size
    assert read_atlas(out, ["landcover_tree"]).num_rows == _on_land(np.concatenate([south, north])).size


def test_there_must_be_an_atlas(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("nothing", "file", "."):
        with pytest.raises(AtlasError, match=r"is no atlas, it holds no _atlas\.json: write one with describe"):
            read_atlas(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda record: record.update(schema=2), "has format 2, this version reads 1"),
        (lambda record: record.pop("grid"), "_atlas.json is damaged"),
        (lambda record: record.update(tiles=["1-2"]), "_atlas.json is damaged"),
        (lambda record: record["grid"].update(spacing_km=-1), "_atlas.json is damaged"),
    ],
)
def test_a_damaged_record_is_named(whole: Path, tmp_path: Path, change, found: str) -> None:
    record = json.loads((whole / "_atlas.json").read_text())
    change(record)
    (tmp_path / "_atlas.json").write_text(json.dumps(record))
    with pytest.raises(AtlasError, match=found):
        open_atlas(tmp_path)


def _flip(path: Path) -> None:
    chunk = pq.read_metadata(path).row_group(0).column(5)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _replace_by_other_block(path: Path) -> None:
    shutil.copy(path.with_name("lat+00_lon+000.parquet"), path)


def _replace_by_other_table(path: Path) -> None:
    pq.write_table(pa.table({"tile": [1]}), path)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_flip, r"is damaged \(.*\): delete this file and run describe again"),
        (_truncate, r"is damaged \(.*\): delete this file and run describe again"),
        (_replace_by_other_block, "is no part of this atlas: remove it"),
        (_replace_by_other_table, "is no part of this atlas: remove it"),
    ],
)
def test_a_spoilt_part_is_named(client: Client, whole: Path, tmp_path: Path, spoil, found: str) -> None:
    out = tmp_path / "a"
    shutil.copytree(whole, out)
    part = out / "lat+30_lon-060.parquet"
    spoil(part)
    with pytest.raises(AtlasError, match=rf"lat\+30_lon-060\.parquet {found}"):
        read_atlas(out)
    part.unlink()
    _describe(client, out, ALL)
    assert _bytes(out) == _bytes(whole)


# ---- what goes wrong on the way -------------------------------------------------------------------------------------


def test_an_error_of_a_descriptor_keeps_what_is_done(client: Client, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    last = dict(cut_blocks(GRID, ALL, 30))["lat-90_lon-180"]
    with pytest.raises(LegendError, match="holds code 77"):
        _describe(client, out, ALL, [replace(LANDCOVER, bad_tile=int(last[0])), CLIMATE])
    done = list(out.glob("lat*.parquet"))
    assert 0 < len(done) < 72
    assert not list(out.glob(".*.tmp-*"))
    _describe(client, out, ALL)
    assert _bytes(out) == _bytes(whole)


def _stamps(out: Path) -> set[tuple[str, int]]:
    with suppress(FileNotFoundError):  # a temporary file that has gone meanwhile
        return {(path.name, path.stat().st_mtime_ns) for path in out.glob("*.parquet")}
    return set()


def test_a_killed_run_is_continued_to_the_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    out = tmp_path / "killed"
    for region, names in (((900, 6000), ("landcover",)), ((0, 7000), ("landcover", "climate"))):
        for changes in rng.integers(0, 9, size=2):
            before = _stamps(out)
            process = processes.start(describe_here, out, region, names, 0.01)
            while len(_stamps(out) - before) < changes:
                assert process.is_alive()
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
        describe_here(out, region, names, 0)
    describe_here(tmp_path / "whole", (0, 7000), ("landcover", "climate"), 0)
    assert _bytes(out) == _bytes(tmp_path / "whole")


def test_a_remote_cluster_gives_the_same_bytes(dask_cluster: DaskCluster, whole: Path, tmp_path: Path) -> None:
    with open_client(dask_cluster.address) as remote:
        _describe(remote, tmp_path / "a", ALL[5000:], [LANDCOVER])
        _describe(remote, tmp_path / "a", ALL)
    assert _bytes(tmp_path / "a") == _bytes(whole)


def test_a_worker_may_be_killed_on_the_way(dask_cluster: DaskCluster, whole: Path, tmp_path: Path) -> None:
    doomed = dask_cluster.start_worker()

    class Killer(Counter):
        def advance(self, count: int) -> None:
            super().advance(count)
            if self.done > ALL.size // 3:
                doomed.kill()

    counter = Killer()
    with open_client(dask_cluster.address) as remote:
        _describe(remote, tmp_path / "a", ALL, [replace(LANDCOVER, pause_s=0.03), CLIMATE], counter)
    assert doomed.wait() == -signal.SIGKILL
    assert counter.done == ALL.size
    assert _bytes(tmp_path / "a") == _bytes(whole)


def test_real_maps_do_not_depend_on_the_blocks(
    shared_data: Path, client: Client, dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    grid = TileGrid(40.0)
    koppen = shared_data / "koppen" / "koppen_geiger_0p5.tif"
    climate = ClassShares(name="climate", raster=open_source([str(koppen)]), legend=load_legend("koppen"))
    texture = FakeShares(name="texture", pixel_deg=0.0006)
    tiles = grid.in_box(grid.row_first, grid.row_last + 1, 120, -130)  # over the antimeridian
    assert block_edge(grid, [climate]) > block_edge(grid, [climate, texture])
    for out, descriptors in (("wide", [climate]), ("narrow", [climate, texture])):
        describe_tiles(tiles, grid, descriptors, tmp_path / out, client=client, progress=NoProgress())
    with open_client(dask_cluster.address) as remote:
        describe_tiles(tiles, grid, [climate], tmp_path / "remote", client=remote, progress=NoProgress())
    assert _bytes(tmp_path / "remote") == _bytes(tmp_path / "wide")
    table = read_atlas(tmp_path / "wide")
    assert 2000 < table.num_rows < tiles.size
    assert read_atlas(tmp_path / "narrow", table.column_names).equals(table)


def test_a_full_disk_stops_the_run_and_space_lets_it_go_on(client: Client, whole: Path, small_disk: Path) -> None:
    out = small_disk / "a"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 19))
    with pytest.raises(StorageError, match=r"parquet cannot be written: the disk is full: .*: it continues"):
        _describe(client, out, ALL)
    for path in out.glob("*.parquet"):
        assert path.read_bytes() == (whole / path.name).read_bytes()
    assert not list(out.glob(".*.tmp-*"))
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    _describe(client, out, ALL)
    assert _bytes(out) == _bytes(whole)


def test_two_runs_at_once_are_refused(client: Client, tmp_path: Path) -> None:
    out = tmp_path / "a"
    other = processes.start(describe_here, out, (0, 7000), ("landcover",), 0.5)
    while not (out / "_atlas.json").exists():
        assert other.is_alive()
    with pytest.raises(StorageError, match="another process is writing to this folder"):
        _describe(client, out, ALL[:9])
    other.kill()
    other.join()
