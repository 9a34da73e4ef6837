import json
import pickle
import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from csmoe_sampler.config import StacConfig
from csmoe_sampler.errors import CatalogError
from csmoe_sampler.rasters import RasterSource
from csmoe_sampler.remote import Patience, Signer, planetary_computer_signer
from csmoe_sampler.stac import Search, catalogue, search
from csmoe_sampler.stac.items import to_record
from services.http_files import Faults, FileServer, no_proxy, serve_files
from services.stac_server import serve_stac

COG = "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
V200 = "ESA_WorldCover_10m_2021_v200_N00E006"
V100 = "ESA_WorldCover_10m_2020_v100_N00E006"
QUICK = Patience(retries=4, backoff_s=0.01, timeout_s=5)


@pytest.fixture(scope="module")
def cogs(shared_data: Path) -> Iterator[FileServer]:
    with serve_files(shared_data / "worldcover") as server:
        yield server


@pytest.fixture(scope="module")
def genuine(shared_data: Path, cogs: FileServer) -> list[dict]:
    """The two genuine items, one of each version, whose maps lie on the loopback server."""
    items = []
    for path in sorted((shared_data / "worldcover" / "stac_items").glob("*.json")):
        item = json.loads(path.read_text())
        item["links"] = []
        item["assets"]["map"]["href"] = f"{cogs.url}/{COG}"
        items.append(item)
    return items


@pytest.fixture(scope="module")
def collection(shared_data: Path) -> dict:
    """The collection of the Planetary Computer; the blanks of its template are filled in."""
    text = (shared_data / "stac" / "pc_collections" / "esa-worldcover" / "template.json").read_text()
    extent = {
        "spatial": {"bbox": [[-180, -60, 180, 84]]},
        "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]},
    }
    return {**json.loads(text), "description": "Land cover", "license": "CC-BY-4.0", "extent": extent}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, genuine: list[dict], collection: dict) -> Iterator[str]:
    """A genuine STAC API with the two genuine items, and 20 of either version further east."""
    folder = tmp_path_factory.mktemp("api")
    items = [*genuine, *(moved(item, step) for step in range(1, 21) for item in genuine)]
    random.Random(0).shuffle(items)
    write(folder / "collection.json", collection)
    write(folder / "items.json", {"type": "FeatureCollection", "features": items})
    with serve_stac(folder / "collection.json", folder / "items.json") as url:
        yield url


def moved(item: dict, step: int) -> dict:
    """The item of a tile `step` tiles further east."""
    east = 3.0 * step
    corner = f"E{6 + 3 * step:03d}"
    west, south, right, north = item["bbox"]
    a, b, c, *rest = item["assets"]["map"]["proj:transform"]
    asset = {**item["assets"]["map"], "proj:transform": [a, b, c + east, *rest]}
    ring = [[lon + east, lat] for lon, lat in item["geometry"]["coordinates"][0]]
    return {
        **item,
        "id": item["id"].replace("E006", corner),
        "bbox": [west + east, south, right + east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "assets": {"map": asset},
    }


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_static(folder: Path, collection: dict, items: list[dict]) -> Path:
    """A static catalogue: catalog.json -> worldcover/collection.json -> items beside their assets, all relative."""
    catalog = {"type": "Catalog", "id": "root", "stac_version": "1.0.0", "description": "all"}
    child = {"rel": "child", "href": "./worldcover/collection.json"}
    links = [{"rel": "item", "href": f"./{item['id']}/{item['id']}.json"} for item in items]
    for item in items:
        asset = {**item["assets"]["map"], "href": f"./{item['id']}.tif"}
        place = folder / "worldcover" / item["id"] / f"{item['id']}.json"
        write(place, {**item, "links": [], "assets": {"map": asset}})
    write(folder / "worldcover" / "collection.json", {**collection, "links": links})
    return write(folder / "catalog.json", {**catalog, "links": [child]})


def write_api(folder: Path, conforms_to: list[str], items: list[dict]) -> None:
    """An API as files: a landing page that names a search by POST, and its answer."""
    root = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "api"}
    core = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
    write(folder / "search", {"type": "FeatureCollection", "features": items, "links": []})
    write(folder / "landing", {**root, "conformsTo": [*core, *conforms_to], "links": []})


def add_search_link(folder: Path, url: str) -> None:
    landing = json.loads((folder / "landing").read_text())
    link = {"rel": "search", "href": f"{url}/search", "method": "POST", "type": "application/geo+json"}
    write(folder / "landing", {**landing, "links": [link]})


def ids(found: Search) -> list[str]:
    return [record.item_id for record in found.records]


def test_api_search_keeps_one_version_and_the_grid_of_the_file(api: str, cogs: FileServer) -> None:
    found = search(StacConfig(url=api), (6, 0, 9, 3), patience=QUICK)
    assert V200 in ids(found)
    assert V100 not in ids(found)
    record = next(record for record in found.records if record.item_id == V200)
    assert record.href == f"{cogs.url}/{COG}"
    assert record.transform == pytest.approx((1 / 12000, 0, 6, 0, -1 / 12000, 3))
    assert record.shape == (36000, 36000)
    assert found.sign is None


def test_all_pages_are_read(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(StacConfig(url=api), patience=QUICK)
    monkeypatch.setattr(catalogue, "_PAGE_ITEMS", 4)
    assert search(StacConfig(url=api), patience=QUICK) == whole
    assert ids(whole) == sorted(ids(whole))
    assert len(whole.records) == whole.provenance["items"] == 21


def test_box_is_honoured_across_the_antimeridian(api: str) -> None:
    west, east = search(StacConfig(url=api), (5, -1, 8, 1)), search(StacConfig(url=api), (65, -1, 70, 1))
    assert ids(west) == [V200]
    assert ids(east) == [V200.replace("E006", "E063"), V200.replace("E006", "E066")]
    around = search(StacConfig(url=api), (65, -1, 368, 1))
    assert set(ids(around)) == {*ids(west), *ids(east)}


def test_found_files_are_read_through_gdal(api: str, cogs: FileServer, shared_data: Path) -> None:
    found = search(StacConfig(url=api), (6, 0, 6.5, 3), patience=QUICK)
    source = RasterSource.from_table(found.records, sign=found.sign, origin=found.provenance)
    (file,) = source.files
    window = Window(7000, 33000, 700, 300)
    already = len(cogs.requests)
    with no_proxy(), source.open(file) as reader, rasterio.open(shared_data / "worldcover" / COG) as local:
        assert reader.header.lattice == file.lattice
        with rasterio.open(f"/vsicurl/{file.href}") as remote:
            values = remote.read(1, window=window)
        np.testing.assert_array_equal(values, local.read(1, window=window))
        assert values.any()
    assert all(request.range for request in cogs.requests[already:] if request.method == "GET")


@pytest.mark.parametrize("seed", range(3))
def test_faults_of_a_server_do_not_change_what_is_found(
    tmp_path: Path, collection: dict, genuine: list[dict], seed: int
) -> None:
    write_static(tmp_path, collection, [*genuine, *(moved(genuine[1], step) for step in range(1, 9))])
    faults = Faults(("429", "500", "503", "truncate", "reset"), rate=0.4, seed=seed)
    with serve_files(tmp_path) as server:
        calm = search(StacConfig(url=f"{server.url}/catalog.json"), patience=QUICK)
    with serve_files(tmp_path, faults) as server:
        patience = Patience(retries=12, backoff_s=0.001, timeout_s=5)
        stormy = search(StacConfig(url=f"{server.url}/catalog.json"), patience=patience)
        assert sum(request.fault is not None for request in server.requests) > 3
    assert ids(stormy) == ids(calm)
    assert len(stormy.records) == 9


def test_search_by_post_is_tried_again(tmp_path: Path, genuine: list[dict]) -> None:
    write_api(tmp_path, [], genuine)
    faults = Faults(("503", "truncate", "reset"), at_most=3, only="search")
    with serve_files(tmp_path, faults) as server:
        add_search_link(tmp_path, server.url)
        assert ids(search(StacConfig(url=f"{server.url}/landing"), patience=QUICK)) == [V200]
        assert [request.method for request in server.requests] == ["GET", *["POST"] * 4]


def test_retry_after_is_honoured(tmp_path: Path, collection: dict, genuine: list[dict]) -> None:
    write_static(tmp_path, collection, genuine)
    with serve_files(tmp_path, Faults(("429",), at_most=1, retry_after_s=1)) as server:
        start = time.monotonic()
        search(StacConfig(url=f"{server.url}/catalog.json"), patience=QUICK)
        assert time.monotonic() - start >= 1


def test_silent_server_is_asked_again(tmp_path: Path, collection: dict, genuine: list[dict]) -> None:
    write_static(tmp_path, collection, genuine)
    patience = Patience(retries=2, backoff_s=0.01, timeout_s=0.3)
    with serve_files(tmp_path, Faults(("timeout",), at_most=1)) as server:
        assert ids(search(StacConfig(url=f"{server.url}/catalog.json"), patience=patience)) == [V200]
    with (
        serve_files(tmp_path, Faults(("timeout",))) as server,
        pytest.raises(CatalogError, match="does not answer in time"),
    ):
        search(StacConfig(url=f"{server.url}/catalog.json"), patience=patience)


@pytest.mark.parametrize("understood", [True, False])
def test_query_goes_to_servers_that_understand_it(tmp_path: Path, genuine: list[dict], understood: bool) -> None:
    query = "https://api.stacspec.org/v1.0.0/item-search#query"
    write_api(tmp_path, [query] if understood else [], genuine)
    with serve_files(tmp_path) as server:
        add_search_link(tmp_path, server.url)
        assert ids(search(StacConfig(url=f"{server.url}/landing"), patience=QUICK)) == [V200]
        sent = json.loads(server.requests[-1].body)
    assert sent["collections"] == ["esa-worldcover"]
    assert sent.get("query") == ({"esa_worldcover:product_version": {"eq": "2.0.0"}} if understood else None)


def test_endless_pages_are_noticed(tmp_path: Path, genuine: list[dict]) -> None:
    write_api(tmp_path, [], genuine)
    with serve_files(tmp_path) as server:
        add_search_link(tmp_path, server.url)
        page = json.loads((tmp_path / "search").read_text())
        again = {"rel": "next", "href": f"{server.url}/search", "method": "POST"}
        write(tmp_path / "search", {**page, "links": [again]})
        with pytest.raises(CatalogError, match="same page again"):
            search(StacConfig(url=f"{server.url}/landing"), patience=QUICK)


@pytest.mark.parametrize("start", ["catalog.json", "worldcover/collection.json", "worldcover", "."])
def test_local_static_catalogue(tmp_path: Path, collection: dict, genuine: list[dict], start: str) -> None:
    write_static(tmp_path, collection, genuine)
    found = search(StacConfig(url=str(tmp_path / start)))
    assert [record.href for record in found.records] == [str(tmp_path / "worldcover" / V200 / f"{V200}.tif")]
    as_url = search(StacConfig(url=(tmp_path / "catalog.json").as_uri()))
    assert as_url.records == found.records


def test_static_catalogue_over_http_and_elsewhere_has_the_same_snapshot(
    tmp_path: Path, collection: dict, genuine: list[dict]
) -> None:
    snapshots = set()
    for folder in (tmp_path / "a", tmp_path / "b" / "c"):
        write_static(folder, collection, genuine)
        snapshots.add(json.dumps(search(StacConfig(url=str(folder / "catalog.json"))).provenance))
    assert len(snapshots) == 1
    with serve_files(tmp_path / "a") as server:
        found = search(StacConfig(url=f"{server.url}/catalog.json"))
        assert [record.href for record in found.records] == [f"{server.url}/worldcover/{V200}/{V200}.tif"]


def test_item_collection_with_relative_hrefs(tmp_path: Path, genuine: list[dict]) -> None:
    asset = {**genuine[1]["assets"]["map"], "href": "maps/one.tif"}
    item = {**genuine[1], "assets": {"map": asset}}
    elsewhere = {**item, "id": "b", "links": [{"rel": "self", "href": "https://example.org/items/b.json"}]}
    path = write(tmp_path / "items.geojson", {"type": "FeatureCollection", "features": [item, elsewhere]})
    hrefs = {record.item_id: record.href for record in search(StacConfig(url=str(path))).records}
    assert hrefs == {V200: str(tmp_path / "maps/one.tif"), "b": "https://example.org/items/maps/one.tif"}


def test_snapshot_tells_whether_the_catalogue_moved(tmp_path: Path, genuine: list[dict]) -> None:
    items = [moved(genuine[1], step) for step in range(4)]

    def snapshot(features: list[dict]) -> str:
        path = write(tmp_path / "items.json", {"type": "FeatureCollection", "features": features})
        return search(StacConfig(url=str(path))).provenance["snapshot"]

    first = snapshot(items)
    assert first.startswith("sha256:")
    assert snapshot(items[::-1]) == first
    assert snapshot([*items, genuine[0]]) == first  # another version, which the query leaves out
    assert snapshot(items[1:]) != first
    other = {**items[0], "assets": {"map": {**items[0]["assets"]["map"], "href": "https://example.org/x.tif"}}}
    assert snapshot([other, *items[1:]]) != first


def test_secrets_stay_out_of_the_provenance(tmp_path: Path, genuine: list[dict]) -> None:
    write_api(tmp_path, [], genuine)
    with serve_files(tmp_path) as server:
        add_search_link(tmp_path, server.url)
        found = search(StacConfig(url=f"{server.url}/landing?key=secret"), patience=QUICK)
        assert found.provenance["catalogue"] == f"{server.url}/landing"


def edited(item: dict, properties: dict, asset: dict) -> dict:
    kept = {key: value for key, value in item["properties"].items() if not key.startswith("proj:")}
    bare = {key: value for key, value in item["assets"]["map"].items() if not key.startswith("proj:")}
    return {**item, "properties": {**kept, **properties}, "assets": {"map": {**bare, **asset}}, "self": "/x/i.json"}


GRID = {"proj:shape": [300, 400], "proj:transform": [0.01, 0, 6, 0, -0.01, 3]}
GRID_9 = {"proj:shape": [300, 400], "proj:transform": [0.01, 0, 6, 0, -0.01, 3, 0, 0, 1]}


@pytest.mark.parametrize(
    ("properties", "asset"),
    [
        ({"proj:epsg": 4326}, GRID),
        ({"proj:code": "EPSG:4326"}, GRID_9),
        ({"proj:epsg": 4326, **GRID_9}, {}),
        ({}, {"proj:epsg": 4326, **GRID}),
        ({"proj:epsg": 32632}, {"proj:code": "OGC:CRS84", **GRID}),
    ],
)
def test_grid_is_read_from_item_or_asset(genuine: list[dict], properties: dict, asset: dict) -> None:
    record = to_record(edited(genuine[1], properties, asset), StacConfig())
    assert record.transform == (0.01, 0, 6, 0, -0.01, 3)
    assert record.shape == (300, 400)


@pytest.mark.parametrize(
    ("properties", "asset"),
    [
        ({"proj:epsg": 32632}, GRID),
        ({"proj:epsg": None}, GRID),
        ({"proj:epsg": 4326}, {"proj:shape": [300, 400]}),
        ({"proj:epsg": 4326}, {"proj:transform": [0.01, 0, 6, 0, -0.01, 3]}),
    ],
)
def test_grid_is_unknown_without_all_of_it(genuine: list[dict], properties: dict, asset: dict) -> None:
    record = to_record(edited(genuine[1], properties, asset), StacConfig())
    assert record.transform is None
    assert record.shape is None


@pytest.mark.parametrize(
    ("file", "asset", "has_grid"),
    [
        ("sentinel-1-rtc-pc", "vv", False),
        ("sentinel-2-l2a-pc", "B04", False),
        ("io-lulc-annual-v02-pc", "data", False),
        ("cop-dem-glo-30-pc", "data", True),
    ],
)
def test_genuine_items_of_the_planetary_computer(shared_data: Path, file: str, asset: str, has_grid: bool) -> None:
    item = json.loads((shared_data / "stac" / "planetary_computer_items" / f"{file}.json").read_text())[0]
    item["self"] = next(link["href"] for link in item["links"] if link["rel"] == "self")
    record = to_record(item, StacConfig(collection=item["collection"], asset=asset))
    assert record.href == item["assets"][asset]["href"]
    assert (record.transform is not None) == (record.shape is not None) == has_grid


def failure(url: str, patience: Patience = QUICK, **changes: object) -> str:
    with no_proxy(), pytest.raises(CatalogError) as caught:
        search(StacConfig(url=url, **changes), patience=patience)
    return str(caught.value)


def test_unreachable_server() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/stac"
        assert failure(url) == f"STAC catalogue {url} cannot be reached: check the address and the network"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("500", "keeps answering HTTP 500"), ("503", "keeps answering HTTP 503"), ("truncate", "ends its answers early")],
)
def test_failing_server(tmp_path: Path, fault: str, reason: str) -> None:
    write_api(tmp_path, [], [])
    with serve_files(tmp_path, Faults((fault,))) as server:
        assert failure(f"{server.url}/landing") == f"STAC catalogue {server.url}/landing {reason}: try again later"
        assert len(server.requests) == QUICK.retries + 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<!doctype html><title>Sign in</title>", "answers something else than JSON: check the address"),
        ('{"message": "hello"}', "answers JSON that is no STAC catalogue: check the address"),
        ("[1]", "answers JSON that is no STAC catalogue: check the address"),
        ('{"type": "Catalog", "id": "x"}', "answers malformed STAC ('links'): check it"),
        ('{"type": "FeatureCollection", "features": [null]}', "answers malformed STAC ('NoneType' object"),
    ],
)
def test_answers_that_are_no_stac(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "page.html").write_text(content)
    with serve_files(tmp_path) as server:
        assert failure(f"{server.url}/page.html").startswith(f"STAC catalogue {server.url}/page.html {reason}")
    assert reason in failure(str(tmp_path / "page.html"))


def test_missing_page_and_missing_file(tmp_path: Path) -> None:
    with serve_files(tmp_path) as server:
        assert "answers HTTP 404: check the address" in failure(f"{server.url}/nothing")
    assert f"there is no file {tmp_path / 'catalog.json'}" in failure(str(tmp_path))


def test_unknown_collection_names_those_there_are(
    api: str, tmp_path: Path, collection: dict, genuine: list[dict]
) -> None:
    catalog = write_static(tmp_path, collection, genuine)
    for url in (api, str(catalog)):
        expected = f"STAC catalogue {url} has no collection 'esa-landcover': it has esa-worldcover"
        assert failure(url, collection="esa-landcover") == expected


def test_unknown_asset_names_those_there_are(api: str) -> None:
    message = failure(api, asset="classes")
    assert message.endswith("of collection 'esa-worldcover' has no asset 'classes': it has input_quality, map")


def test_no_item_is_an_error(api: str) -> None:
    message = failure(api, query={"esa_worldcover:product_version": "3.0.0"})
    assert message == (
        f"STAC catalogue {api} has no item of collection 'esa-worldcover' with "
        "esa_worldcover:product_version = '3.0.0' in -180, -90, 180, 90: check query and region"
    )


@pytest.mark.parametrize("url", ["ftp://example.org/stac", "az://container/catalog.json", "javascript:1"])
def test_catalogue_addresses_are_checked(url: str) -> None:
    assert "only http, https and file addresses and paths" in failure(url)


@pytest.mark.parametrize("href", ["file:///etc/passwd", "/vsizip//x.zip", "gopher://x/y", "az://container/x.tif"])
def test_hrefs_of_items_are_checked(tmp_path: Path, genuine: list[dict], href: str) -> None:
    item = {**genuine[1], "assets": {"map": {"href": href}}}
    write(tmp_path / "items.json", {"type": "FeatureCollection", "features": [item]})
    if href.startswith("/vsi"):
        assert "names the file /vsizip" in failure(str(tmp_path / "items.json"))
    else:
        with serve_files(tmp_path) as server:
            assert f"item {V200} names the file {href}" in failure(f"{server.url}/items.json")


BLOB = "https://account.blob.core.windows.net/container/folder/map.tif"


def write_token(folder: Path, token: str, lives_s: float) -> None:
    expiry = datetime.now(UTC) + timedelta(seconds=lives_s)
    write(folder / "token/account/container", {"token": token, "msft:expiry": expiry.isoformat()})


def test_hrefs_are_signed_late_once_a_container(tmp_path: Path, genuine: list[dict]) -> None:
    items = [moved(genuine[1], step) for step in range(3)]
    for item in items:
        item["assets"] = {"map": {**item["assets"]["map"], "href": BLOB}}
    path = write(tmp_path / "items.json", {"type": "FeatureCollection", "features": items})
    write_token(tmp_path, "sig=one", 3000)
    with serve_files(tmp_path) as server:
        found = search(StacConfig(url=str(path)), sign_endpoint=f"{server.url}/token/")
        assert {record.href for record in found.records} == {BLOB}
        assert server.requests == []
        sign = pickle.loads(pickle.dumps(found.sign))
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(sign, [BLOB] * 40)) == {f"{BLOB}?sig=one"}
        assert len(server.requests) == 1
        assert sign(f"{BLOB}?sv=1") == f"{BLOB}?sv=1&sig=one"
        for other in (f"{BLOB}?sig=theirs", "https://example.org/container/x.tif", "/data/x.tif"):
            assert sign(other) == other


def test_tokens_are_renewed_before_they_expire(tmp_path: Path) -> None:
    write_token(tmp_path, "sig=old", 100)
    with serve_files(tmp_path) as server:
        sign = Signer(endpoint=f"{server.url}/token", margin_s=99)
        assert sign(BLOB) == f"{BLOB}?sig=old"
        assert sign(BLOB) == f"{BLOB}?sig=old"
        write_token(tmp_path, "sig=new", 3000)
        careful = Signer(endpoint=f"{server.url}/token", margin_s=300)
        assert careful(BLOB) == f"{BLOB}?sig=new"
        assert sign(BLOB) == f"{BLOB}?sig=new"
        assert len(server.requests) == 2


def test_sign_endpoint_without_tokens(tmp_path: Path) -> None:
    write(tmp_path / "token/account/container", {"message": "no"})
    with serve_files(tmp_path) as server:
        for path, reason in (("token", "answers no token"), ("none", "answers HTTP 404")):
            with pytest.raises(CatalogError, match=reason):
                Signer(endpoint=f"{server.url}/{path}", patience=QUICK)(BLOB)


def test_only_the_planetary_computer_is_signed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalogue._signer(StacConfig().url, None) == planetary_computer_signer()
    assert catalogue._signer("https://earth-search.aws.element84.com/v1", None) is None
    assert catalogue._signer("https://planetarycomputer.microsoft.com.example.org/stac", None) is None
