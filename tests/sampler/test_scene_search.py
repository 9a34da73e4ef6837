import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rustac
import shapely

from csmoe_sampler.config import SceneConfig
from csmoe_sampler.errors import CatalogError, ConfigError, StorageError
from csmoe_sampler.remote import Patience
from csmoe_sampler.scenes import RequestPlan, Tiles, open_pairer, resolve_href
from csmoe_sampler.scenes.assets import SceneFiles
from csmoe_sampler.scenes.search import Cell, cells_of
from csmoe_sampler.storage import Lock
from sampler.scene_fakes import shifted, tiles_at, write_json
from services.blob_server import BlobServer, serve_blobs
from services.http_files import Faults, serve_files
from services.stac_server import serve_stac

QUICK = Patience(retries=1, backoff_s=0.01, timeout_s=20)
STUBBORN = Patience(retries=9, backoff_s=0.01, backoff_max_s=0.05, timeout_s=0.5)
SUMMER_2020 = {"start": "2020-06-01", "end": "2020-07-31", "max_dt_days": 4}
STAC_API = ["core", "item-search", "item-search#query"]


@pytest.fixture(scope="module")
def items(shared_data: Path) -> list[dict]:
    """The genuine search result of 35MNM, and genuine Sentinel-1 items that were moved there, at three times."""
    stac = shared_data / "stac"
    optical = json.loads((stac / "site2-2020_jun_jul-35MNM.geojson").read_text())["features"]
    radar = json.loads((stac / "planetary_computer_items/sentinel-1-rtc-pc.json").read_text())[1]
    middle = shapely.box(*radar["bbox"]).centroid
    when = datetime.fromisoformat(radar["properties"]["datetime"])
    times = [datetime(2020, 6, day, 16, tzinfo=UTC) for day in (2, 14, 26)]
    moved = [
        shifted(
            radar,
            lon=27.5 - middle.x,
            lat=-7.7 - middle.y,
            days=(time - when) / timedelta(days=1),
            name=f"S1A_IW_GRDH_1SDV_{time:%Y%m%d}_rtc",
            match_epsg=32735,
        )
        for time in times
    ]
    return [*optical, *moved]


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """Some inside the granule 35MNM, one over its edge, one elsewhere."""
    return tiles_at([27.3, 27.6, 27.8, 27.0, 12.0], [-7.5, -7.7, -8.0, -7.6, 50.0])


def collections(shared_data: Path) -> list[dict]:
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2014-01-01T00:00:00Z", None]]}}
    base = {"type": "Collection", "stac_version": "1.0.0", "description": "x", "license": "proprietary", "links": []}
    return [{**base, "id": name, "extent": extent} for name in ("sentinel-2-l2a", "sentinel-1-rtc")]


def write_static(folder: Path, items: list[dict]) -> Path:
    """catalog.json -> collections -> items, all relative; assets lie beside the items."""
    children = []
    for collection in collections(folder):
        name = collection["id"]
        own = [item for item in items if item["collection"] == name]
        for item in own:
            assets = {
                key: {**asset, "href": f"./{asset['href'].rpartition('/')[2]}"} for key, asset in item["assets"].items()
            }
            write_json(folder / name / item["id"] / "item.json", {**item, "assets": assets, "links": []})
        links = [{"rel": "item", "href": f"./{item['id']}/item.json"} for item in own]
        write_json(folder / name / "collection.json", {**collection, "links": links})
        children.append({"rel": "child", "href": f"./{name}/collection.json"})
    root = {"type": "Catalog", "id": "root", "stac_version": "1.0.0", "description": "all", "links": children}
    return write_json(folder / "catalog.json", root)


def write_api(folder: Path, url: str, items: list[dict]) -> None:
    """An API as files, whose search by POST answers everything it has, whatever it is asked."""
    link = {"rel": "search", "href": f"{url}/search", "method": "POST", "type": "application/geo+json"}
    conforms = [f"https://api.stacspec.org/v1.0.0/{name}" for name in STAC_API]
    root = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "api", "links": [link]}
    write_json(folder / "landing", {**root, "conformsTo": conforms})
    write_json(folder / "search", {"type": "FeatureCollection", "features": items, "links": []})


def choose(config: SceneConfig, journal: Path, tiles: Tiles, patience: Patience = QUICK) -> pa.Table:
    return open_pairer(config, journal, patience=patience).choose(tiles)


@pytest.fixture(scope="module")
def expected(items: list[dict], tiles: Tiles, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The choice from an item collection on disk."""
    folder = tmp_path_factory.mktemp("expected")
    path = write_json(folder / "items.geojson", {"type": "FeatureCollection", "features": items})
    return choose(SceneConfig(url=str(path), **SUMMER_2020), folder / "journal", tiles)


def test_the_choice_is_the_one_made_by_hand(expected: pa.Table, items: list[dict], tiles: Tiles) -> None:
    properties = {item["id"]: item["properties"] for item in items}
    optical = [item for item in items if item["collection"] == "sentinel-2-l2a"]
    radar = [item for item in items if item["collection"] == "sentinel-1-rtc"]

    def time(item: dict) -> datetime:
        return datetime.fromisoformat(item["properties"]["datetime"])

    scores = {}
    for one in optical:
        cloud = one["properties"]["eo:cloud_cover"]
        dt = min(abs(time(two) - time(one)) / timedelta(days=1) for two in radar)
        if cloud <= 20 and dt <= 4:
            scores[one["id"]] = (1 - cloud / 100) * np.exp(-dt / 10)
    best = max(scores, key=scores.__getitem__)
    rows = expected.to_pylist()
    assert [row["s2_item"] for row in rows] == [best, best, best, None, None]
    assert rows[0]["scene_score"] == pytest.approx(scores[best], abs=1e-6)
    assert rows[0]["s2_cloud_cover"] == pytest.approx(properties[best]["eo:cloud_cover"])
    nearest = min(radar, key=lambda two: abs(time(two) - datetime.fromisoformat(properties[best]["datetime"])))
    assert rows[0]["s1_item"] == nearest["id"]
    assert (rows[0]["s2_baseline"], rows[0]["s2_offset"], rows[0]["s1_polarizations"]) == ("02.12", 0, "VV,VH")
    assert rows[3]["scene_missing"].startswith("no Sentinel-2 scene covers 99 % of the footprint (best ")
    assert rows[4]["scene_missing"] == "no Sentinel-2 scene with cloud cover <= 20 % in the window"


def test_a_real_api_gives_the_same(
    shared_data: Path, tmp_path: Path, items: list[dict], tiles: Tiles, expected: pa.Table
) -> None:
    paths = [write_json(tmp_path / f"{one['id']}.json", one) for one in collections(shared_data)]
    paths.append(write_json(tmp_path / "items.json", {"type": "FeatureCollection", "features": items}))
    with serve_stac(*paths) as url:
        config = SceneConfig(url=url, **SUMMER_2020)
        pairer = open_pairer(config, tmp_path / "journal", patience=QUICK)
        cells = len(cells_of(tiles.geometry))
        assert pairer.plan(tiles) == RequestPlan(requests=2 * cells + 1, bytes=None, searches=2 * cells)
        first = pairer.choose(tiles)
        assert first.equals(expected)
        assert pairer.plan(tiles).requests == 0
    # The journal stands for a catalogue that is gone, and that a new search would find changed.
    again = open_pairer(config, tmp_path / "journal", patience=QUICK)
    assert again.choose(tiles).equals(expected)
    provenance = again.provenance()
    assert provenance["scenes"]["s1"] == {"usable": 3, "read": 6, "left_out": {}}  # in two cells
    assert provenance["scenes"]["s2"]["usable"] > 0
    assert json.loads(json.dumps(provenance)) == provenance


def test_pages_are_read_to_the_end(
    shared_data: Path, tmp_path: Path, items: list[dict], tiles: Tiles, expected: pa.Table
) -> None:
    paths = [write_json(tmp_path / f"{one['id']}.json", one) for one in collections(shared_data)]
    paths.append(write_json(tmp_path / "items.json", {"type": "FeatureCollection", "features": items}))
    provider = tmp_path / "paged.toml"
    shipped = Path(open_pairer.__code__.co_filename).parent / "providers" / "planetary-computer.toml"
    provider.write_text(f"page_items = 2\n{shipped.read_text()}")
    with serve_stac(*paths) as url:
        config = SceneConfig(url=url, provider=str(provider), **SUMMER_2020)
        assert choose(config, tmp_path / "journal", tiles).equals(expected)


def test_requests_are_by_cell_and_never_by_tile(tmp_path: Path, items: list[dict]) -> None:
    random_ = np.random.default_rng(1)
    many = tiles_at(random_.uniform(26.3, 27.7, 600).tolist(), random_.uniform(-7.7, -6.3, 600).tolist())
    folder = tmp_path / "api"
    with serve_files(folder) as server:
        write_api(folder, server.url, items)
        config = SceneConfig(url=f"{server.url}/landing", **SUMMER_2020)
        pairer = open_pairer(config, tmp_path / "journal", patience=QUICK)
        pairer.choose(many)
        assert len(server.requests) == pairer.plan(many).requests + 1 + 2 * len(cells_of(many.geometry)) <= 9
        bodies = [json.loads(request.body) for request in server.requests if request.method == "POST"]
        optical = next(body for body in bodies if body["collections"] == ["sentinel-2-l2a"])
        assert optical["query"] == {"eo:cloud_cover": {"lte": 20}}
        assert optical["datetime"] == "2020-06-01T00:00:00Z/2020-07-31T23:59:59.999999Z"
        radar = next(body for body in bodies if body["collections"] == ["sentinel-1-rtc"])
        assert "query" not in radar and radar["datetime"].startswith("2020-05-28T00:00:00Z/2020-08-04T23")
        before = len(server.requests)
        pairer.choose(tiles_at([27.0, 28.5], [-7.0, -7.0]))
        assert len(server.requests) == before + 1 + 2


@pytest.mark.parametrize("kinds", [("429", "503", "500"), ("truncate", "reset"), ("timeout",)])
def test_faults_in_a_third_of_all_requests_change_nothing(
    tmp_path: Path, items: list[dict], tiles: Tiles, expected: pa.Table, kinds: tuple
) -> None:
    folder = tmp_path / "api"
    faults = Faults(kinds, rate=1 / 3, seed=3, at_most=6 if kinds == ("timeout",) else None)
    with serve_files(folder, faults) as server:
        write_api(folder, server.url, items)
        config = SceneConfig(url=f"{server.url}/landing", **SUMMER_2020)
        assert choose(config, tmp_path / "journal", tiles, STUBBORN).equals(expected)
        assert any(request.fault for request in server.requests)


def test_a_search_that_fails_keeps_what_it_has(
    tmp_path: Path, items: list[dict], tiles: Tiles, expected: pa.Table
) -> None:
    folder = tmp_path / "api"
    faults = Faults(("503",), rate=0.3, seed=1, only="search")
    impatient = Patience(retries=0, backoff_s=0.01)
    with serve_files(folder, faults) as server:
        write_api(folder, server.url, items)
        config = SceneConfig(url=f"{server.url}/landing", **SUMMER_2020)
        portions: list[int] = []
        said: set[str] = set()
        for _ in range(40):
            try:
                table = choose(config, tmp_path / "journal", tiles, impatient)
                break
            except CatalogError as error:
                said.add(str(error))
                portions.append(len(list((tmp_path / "journal").rglob("*.parquet"))))
        assert said == {f"STAC catalogue {config.url} keeps answering HTTP 503: try again later"}
        assert portions and portions == sorted(portions) and portions[-1] > 0
        assert table.equals(expected)
        searches = [request for request in server.requests if request.path == "/search" and not request.fault]
        assert len(searches) == 2 * len(cells_of(tiles.geometry))


@pytest.mark.parametrize("remote", [False, True])
def test_static_catalogues(tmp_path: Path, items: list[dict], tiles: Tiles, expected: pa.Table, remote: bool) -> None:
    path = write_static(tmp_path / "stac", items)
    same = [name for name in expected.column_names if name.rpartition("_")[2] not in ("href", "stem", "files")]
    with serve_files(tmp_path / "stac", Faults(("503", "truncate", "reset"), rate=1 / 3)) as server:
        url = f"{server.url}/catalog.json" if remote else str(path)
        config = SceneConfig(url=url, **SUMMER_2020)
        table = choose(config, tmp_path / "journal", tiles, STUBBORN)
        num_requests = len(server.requests)
        assert choose(config, tmp_path / "journal", tiles, STUBBORN).equals(table)
        assert len(server.requests) == num_requests
    assert table.select(same).equals(expected.select(same))
    files = SceneFiles(*(table[f"s2_{name}"][0].as_py() for name in ("href", "stem", "files"))).unpack()
    item = expected["s2_item"][0].as_py()
    assert files["SCL"].startswith(f"{server.url if remote else 'sentinel-2-l2a'}/"[: 14 if not remote else None])
    assert files["SCL"].split(f"{item}/")[1].endswith("_SCL_20m.tif")
    address = resolve_href(files["SCL"], config)
    assert address == (files["SCL"] if remote else str(tmp_path / "stac" / files["SCL"]))


def test_a_catalogue_without_the_collection_says_what_it_has(tmp_path: Path, items: list[dict], tiles: Tiles) -> None:
    path = write_static(tmp_path / "stac", items)
    config = SceneConfig(url=str(path), sentinel1="grd", **SUMMER_2020)
    with pytest.raises(CatalogError, match="no collection 'sentinel-1-grd': it has sentinel-1-rtc, sentinel-2-l2a"):
        choose(config, tmp_path / "journal", tiles)


def test_the_journal_has_one_writer_and_one_configuration(
    tmp_path: Path, items: list[dict], tiles: Tiles, expected: pa.Table
) -> None:
    path = write_json(tmp_path / "items.geojson", {"type": "FeatureCollection", "features": items})
    journal = tmp_path / "journal"
    config = SceneConfig(url=str(path), **SUMMER_2020)
    assert choose(config, journal, tiles).equals(expected)
    looser = config.model_copy(update={"max_cloud_percent": 60.0})
    assert choose(looser, journal, tiles)["s2_item"].null_count <= expected["s2_item"].null_count
    stricter = config.model_copy(update={"min_coverage": 1.0, "seasons": ("winter",)})
    choose(stricter, journal, tiles)
    folders = sorted(folder for folder in journal.iterdir() if folder.is_dir())
    assert len(folders) == 2
    with Lock(folders[0]), Lock(folders[1]), pytest.raises(StorageError, match="another process"):
        choose(config, journal, tiles)


def test_a_catalogue_on_disk_that_is_written_anew_is_read_anew(
    tmp_path: Path, items: list[dict], tiles: Tiles, expected: pa.Table
) -> None:
    path, journal = tmp_path / "items.geojson", tmp_path / "journal"
    config = SceneConfig(url=str(path), **SUMMER_2020)
    first = expected["s2_item"].drop_null()[0].as_py()
    write_json(path, {"type": "FeatureCollection", "features": items})
    assert first in choose(config, journal, tiles)["s2_item"].to_pylist()
    write_json(path, {"type": "FeatureCollection", "features": [item for item in items if item["id"] != first]})
    assert first not in choose(config, journal, tiles)["s2_item"].to_pylist()


def test_cells_are_few_and_hold_their_tiles() -> None:
    tiles = tiles_at([7.01, 8.0, 179.99, -0.01, 30.0], [46.3, 46.0, -17.0, 0.0, 80.0])
    cells = cells_of(tiles.geometry)
    assert cells == sorted(cells)
    assert {cell.key for cell in cells} == {
        *("n46e006", "n46e008", "n44e006", "n44e008"),
        *("s18e178", "s18w180", "n00w002", "s02w002", "n00e000", "s02e000"),
        *("n80e020", "n80e030", "n78e020", "n78e030"),
    }
    for footprint in tiles.geometry:
        held = shapely.union_all([shapely.box(*cell.box) for cell in cells])
        assert held.buffer(1e-9).covers(footprint)
    assert Cell(-180.0, 88.0, 10.0).box == (-180, 88, -170, 90)


# Item tables


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, items: list[dict]) -> Path:
    """A folder with one STAC-GeoParquet file a collection, written by rustac."""
    folder = tmp_path_factory.mktemp("tables")
    for name in ("sentinel-2-l2a", "sentinel-1-rtc"):
        rows = [item for item in items if item["collection"] == name]
        write_rows(folder / f"{name}.parquet", rows)
    return folder


def write_rows(path: Path, rows: list[dict]) -> None:
    async def write() -> None:
        await rustac.write(str(path), rows)

    path.parent.mkdir(parents=True, exist_ok=True)
    asyncio.run(write())


def test_local_tables_of_a_real_writer_give_the_same(
    tmp_path: Path, tables: Path, tiles: Tiles, expected: pa.Table
) -> None:
    for items in ((str(tables),), (str(tables / "*.parquet"),), tuple(map(str, sorted(tables.iterdir())))):
        config = SceneConfig(items=items, **SUMMER_2020)
        pairer = open_pairer(config, tmp_path / str(len(items[0])), patience=QUICK)
        assert pairer.plan(tiles).requests == 0
        assert pairer.choose(tiles).equals(expected)


def test_the_area_leaves_scenes_out_before_they_are_read(tmp_path: Path, tables: Path, tiles: Tiles) -> None:
    config = SceneConfig(items=(str(tables),), **SUMMER_2020)
    pairer = open_pairer(config, tmp_path, area=(100, 0, 110, 10))
    assert set(pairer.choose(tiles)["s2_item"].to_pylist()) == {None}
    assert pairer.provenance()["scenes"]["s2"]["read"] == 0


def test_unusable_tables(tmp_path: Path, tiles: Tiles) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(CatalogError, match="cannot be read as STAC-GeoParquet"):
        choose(SceneConfig(items=(str(path),)), tmp_path / "journal", tiles)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(CatalogError, match="no column 'id'"):
        choose(SceneConfig(items=(str(path),)), tmp_path / "journal", tiles)
    with pytest.raises(ConfigError, match="no Parquet file"):
        choose(SceneConfig(items=(str(tmp_path / "none*"),)), tmp_path / "journal", tiles)
    with pytest.raises(ConfigError, match="no item tables"):
        choose(SceneConfig(items=("bulk",), provider="earth-search", sentinel1="none"), tmp_path / "journal", tiles)


def test_colorado_by_hand(shared_data: Path, tmp_path: Path) -> None:
    """100 genuine rows: the clearest scene that covers a tile, of the newest generation of its acquisition."""
    path = shared_data / "stac" / "100-sentinel-2-items.parquet"
    rows = pq.read_table(path, columns=["id", "geometry", "eo:cloud_cover", "proj:epsg"]).to_pylist()
    lon, lat = np.meshgrid(np.linspace(-106.3, -104.8, 6), np.linspace(39.6, 40.7, 5))
    tiles = tiles_at(lon.ravel().tolist(), lat.ravel().tolist())
    config = SceneConfig(items=(str(path),), start="2024-01-01", end="2024-12-31", sentinel1="none")
    table = choose(config, tmp_path, tiles)
    expected = []
    for tile, crs in zip(tiles.geometry, tiles.crs, strict=True):
        keys = []
        for row in rows:
            share = shapely.from_wkb(row["geometry"]).intersection(tile).area / tile.area
            old = row["id"] == "S2B_MSIL2A_20240530T174909_R141_T13TDE_20240530T231838"
            if share >= 0.99 and row["eo:cloud_cover"] <= 20 and not old:
                score = round(round(share, 6) * (1 - row["eo:cloud_cover"] / 100), 6)
                keys.append((-score, f"EPSG:{row['proj:epsg']}" != crs, row["id"]))
        expected.append(min(keys)[2] if keys else None)
    assert table["s2_item"].to_pylist() == expected
    assert sum(item is not None for item in expected) > 10


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory, items: list[dict]) -> Path:
    """A container with 60 weekly partitions of Sentinel-2 and 14 monthly ones of Sentinel-1, 2020 inside."""
    root = tmp_path_factory.mktemp("blobs")
    optical, radar = items[0], items[-1]
    for week in range(60):
        start = datetime(2019, 12, 2, tzinfo=UTC) + timedelta(weeks=week)
        write_partition(root / "items" / "sentinel-2-l2a.parquet", week, start, 7, optical)
    for month in range(14):
        start = datetime(2019, 12, 2, tzinfo=UTC) + timedelta(days=30 * month)
        write_partition(root / "items" / "sentinel-1-rtc.parquet", month, start, 30, radar)
    return root


def write_partition(folder: Path, number: int, start: datetime, days: int, item: dict) -> None:
    when = datetime.fromisoformat(item["properties"]["datetime"])
    choice = random.Random(number)
    rows = []
    for turn in range(3):
        time = start + timedelta(days=choice.uniform(0, days))
        row = shifted(item, lon=0, lat=0, days=(time - when) / timedelta(days=1), name=f"X_{number:02d}_{turn}")
        if "eo:cloud_cover" in row["properties"]:
            row["properties"]["eo:cloud_cover"] = choice.uniform(0, 40)
        rows.append(row)
    end = start + timedelta(days=days)
    write_rows(folder / f"part-{number:04d}_{start.isoformat()}_{end.isoformat()}.parquet", rows)


def bulk_provider(folder: Path, url: str, *, sign: bool) -> str:
    shipped = Path(open_pairer.__code__.co_filename).parent / "providers" / "planetary-computer.toml"
    text = shipped.read_text().replace("https://pcstacitems.blob.core.windows.net", url)
    text = text.replace("https://planetarycomputer.microsoft.com/api/sas/v1/token", f"{url}/sign")
    hosts = f'sign_hosts = ["blob.core.windows.net", "{url.rpartition("/")[2]}"]'
    text = text.replace('sign_hosts = ["blob.core.windows.net"]', hosts)
    path = folder / "local.toml"
    path.write_text(text)
    return str(path)


def test_a_year_of_item_tables_takes_few_requests(tmp_path: Path, year: Path, tiles: Tiles) -> None:
    with serve_blobs(BlobServer(year, page_blobs=25)) as server:
        provider = bulk_provider(tmp_path, server.url, sign=True)
        config = SceneConfig(provider=provider, items=("bulk",), start="2020-01-01", end="2020-12-31")
        pairer = open_pairer(config, tmp_path / "journal", patience=QUICK)
        estimate = pairer.plan(tiles)
        assert not server.requests and 60 < estimate.requests < 500
        assert estimate.bytes is None
        table = pairer.choose(tiles)
        assert table["s2_item"].null_count == 2
        asked = [request for request in server.requests if "comp=list" not in request]
        assert len(server.requests) == len(asked) + 3 + 1 < estimate.requests
        assert len(asked) == len(set(asked)) == 53 + 14
        assert sum("sentinel-2-l2a" in path for path in asked) == 53
        assert pairer.plan(tiles) == RequestPlan(requests=0, bytes=0)
        assert not list((tmp_path / "journal").rglob("downloads/*"))
        whole = tmp_path / "whole"
        local = SceneConfig(items=(str(year),), start=config.start, end=config.end)
        same = [name for name in table.column_names if not name.endswith("collection")]
        assert choose(local, whole, tiles).select(same).equals(table.select(same))


def test_bulk_survives_expiring_tokens_cut_files_and_kills(tmp_path: Path, year: Path, tiles: Tiles) -> None:
    dates = {"start": "2020-03-01", "end": "2020-03-31"}
    with serve_blobs(BlobServer(year)) as server:
        config = SceneConfig(provider=bulk_provider(tmp_path, server.url, sign=True), items=("bulk",), **dates)
        expected = choose(config, tmp_path / "a", tiles)
    with serve_blobs(BlobServer(year, token_uses=6, broken_every=4)) as server:
        config = SceneConfig(provider=bulk_provider(tmp_path, server.url, sign=True), items=("bulk",), **dates)
        pairer = open_pairer(config, tmp_path / "b", patience=STUBBORN)
        assert pairer.choose(tiles).equals(expected)
        assert server.tokens > 1
        # Killed: a part of the portions is gone, and one download was left in the middle.
        portions = sorted((tmp_path / "b").rglob("s2-*.parquet"))
        left = portions[0].parent / "downloads" / portions[0].stem
        for path in portions[:3]:
            path.unlink()
        source = next(file for file in (year / "items" / "sentinel-2-l2a.parquet").iterdir())
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"")
        assert source.is_file() and pairer.plan(tiles).requests == 3
        assert open_pairer(config, tmp_path / "b", patience=STUBBORN).choose(tiles).equals(expected)
        assert not pc.all(expected["s2_item"].is_null()).as_py()


def test_nothing_behind_the_address(tmp_path: Path, tiles: Tiles) -> None:
    (tmp_path / "items").mkdir()
    with serve_blobs(BlobServer(tmp_path)) as server:
        config = SceneConfig(provider=bulk_provider(tmp_path, server.url, sign=True), items=("bulk",))
        with pytest.raises(CatalogError, match="no Parquet file there"):
            choose(config, tmp_path / "journal", tiles)


def test_a_single_file_of_any_server(tmp_path: Path, tables: Path, tiles: Tiles, expected: pa.Table) -> None:
    with serve_files(tables) as server:
        addresses = tuple(f"{server.url}/{path.name}" for path in sorted(tables.iterdir()))
        config = SceneConfig(items=addresses, **SUMMER_2020)
        assert choose(config, tmp_path, tiles).equals(expected)
