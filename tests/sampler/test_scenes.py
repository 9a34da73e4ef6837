import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from csmoe_sampler.config import SceneConfig
from csmoe_sampler.errors import CatalogError, ConfigError
from csmoe_sampler.remote import Signer, planetary_computer_signer
from csmoe_sampler.scenes import resolve_href, signer_of
from csmoe_sampler.scenes.assets import SceneFiles
from csmoe_sampler.scenes.columns import columns_of_items, columns_of_table, table_columns
from csmoe_sampler.scenes.items import Found, Wanted, generation, normalise, superseded
from csmoe_sampler.scenes.pairing import read_exclusions
from csmoe_sampler.scenes.provider import load_provider
from csmoe_sampler.scenes.sources import catalogue_folder
from csmoe_sampler.scenes.table import SCENES
from services.blob_server import BlobServer, serve_blobs

PC = load_provider("planetary-computer")
ALWAYS = {"start": datetime(2014, 1, 1), "end": datetime(2030, 1, 1)}
S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"


@pytest.fixture(scope="module")
def genuine(shared_data: Path) -> dict[str, list[dict]]:
    """The genuine items of the Planetary Computer, by name of the file."""
    stac = shared_data / "stac"
    site = json.loads((stac / "site2-2020_jun_jul-35MNM.geojson").read_text())["features"]
    both = {
        name: json.loads((stac / f"planetary_computer_items/{file}-pc.json").read_text())
        for name, file in (("s2", "sentinel-2-l2a"), ("s1", "sentinel-1-rtc"))
    }
    return {**both, "site": site}


def parse(items: list[dict], name: str = S2, provider: str = "planetary-computer", **wanted: object) -> Found:
    product = load_provider(provider).product(name)
    return normalise(columns_of_items(items, product), Wanted(product=product, **(ALWAYS | wanted)))


def only(items: list[dict], name: str = S2, provider: str = "planetary-computer", **wanted: object) -> dict:
    rows = parse(items, name, provider, **wanted).table.to_pylist()
    assert len(rows) == 1
    return rows[0]


def test_genuine_sentinel_2_items(genuine: dict[str, list[dict]]) -> None:
    found = parse(genuine["s2"])
    assert found.table.schema == SCENES
    assert (found.read, dict(found.left_out)) == (4, {})
    items = {item["id"]: item for item in genuine["s2"]}
    assert found.table["item"].to_pylist() == sorted(items)
    for row in found.table.to_pylist():
        item = items[row["item"]]
        assert row["datetime"] == datetime.fromisoformat(item["properties"]["datetime"])
        assert shapely.from_wkb(row["geometry"]).equals(shapely.geometry.shape(item["geometry"]))
        assert row["crs"] == f"EPSG:{item['properties']['proj:epsg']}"
        assert (row["platform"], row["baseline"], row["offset"]) == ("sentinel-2b", "05.10", 1000)
        assert (row["orbit"], row["relative_orbit"]) == ("ascending", 122)
        assert row["cloud_cover"] == np.float32(item["properties"]["eo:cloud_cover"])
        assert row["nodata_percent"] == np.float32(item["properties"]["s2:nodata_pixel_percentage"])
        hrefs = SceneFiles(row["href"], row["stem"], row["files"]).unpack()
        assert hrefs == {name: item["assets"][name]["href"] for name in (*PC.product(S2).bands, "SCL")}


def test_genuine_sentinel_1_items(genuine: dict[str, list[dict]]) -> None:
    found = parse(genuine["s1"], S1)
    items = {item["id"]: item for item in genuine["s1"]}
    assert len(found.table) == 4
    for row in found.table.to_pylist():
        item = items[row["item"]]
        assert (row["platform"], row["polarizations"], row["offset"]) == ("sentinel-1a", "VV,VH", None)
        assert (row["crs"], row["orbit"], row["relative_orbit"]) == ("EPSG:32633", "descending", 51)
        hrefs = SceneFiles(row["href"], row["stem"], row["files"]).unpack()
        assert hrefs == {band: item["assets"][band.lower()]["href"] for band in ("VV", "VH")}


def test_baseline_before_04_00_has_no_offset(genuine: dict[str, list[dict]]) -> None:
    rows = parse(genuine["site"]).table.to_pylist()
    assert len(rows) == 13
    assert {(row["baseline"], row["offset"]) for row in rows} == {("02.12", 0)}


def test_a_genuine_item_table_reads_as_its_items_do(shared_data: Path) -> None:
    path = shared_data / "stac" / "100-sentinel-2-items.parquet"
    product = PC.product(S2)
    with pq.ParquetFile(path) as file:
        columns = table_columns(file.schema_arrow, product)
        read = file.read(columns)
        whole = file.read().to_pylist()
    assert "assets.B8A.href" in columns and "links" not in columns
    found = normalise(columns_of_table(read, product, str(path)), Wanted(product=product, **ALWAYS))
    items = [to_item(row) for row in whole]
    assert found.table.equals(parse(items).table)
    assert (found.read, len(found.table)) == (100, 100)


def to_item(row: dict) -> dict:
    """A row of a STAC-GeoParquet file as the item that it was."""
    apart = ("id", "collection", "assets", "links", "geometry", "bbox", "type", "stac_version", "stac_extensions")
    properties = {key: value for key, value in row.items() if key not in apart}
    geometry = json.loads(shapely.to_geojson(shapely.from_wkb(row["geometry"])))
    return {"id": row["id"], "collection": row["collection"], "geometry": geometry} | {
        "assets": {name: asset for name, asset in row["assets"].items() if asset},
        "properties": properties | {"datetime": row["datetime"].isoformat()},
    }


def earth_search_item(**properties: object) -> dict:
    """The field layout of Earth Search v1."""
    product = load_provider("earth-search").product(S2)
    root = (
        "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/32/T/LT/2022/7/S2A_32TLT_20220701_0_L2A"
    )
    files = {asset: f"{root}/{band}.tif" for band, asset in product.bands.items()}
    assets = {asset: {"href": href} for asset, href in files.items()}
    return {
        "id": "S2A_32TLT_20220701_0_L2A",
        "collection": "sentinel-2-l2a",
        "geometry": shapely.geometry.mapping(shapely.box(6.4, 46.0, 7.8, 47.0)),
        "assets": assets | {"scl": {"href": f"{root}/SCL.tif"}, "scl-jp2": {"href": "s3://sentinel-s2-l2a/x/SCL.jp2"}},
        "properties": {
            "datetime": "2022-07-01T10:37:38.151000Z",
            "platform": "sentinel-2a",
            "proj:code": "EPSG:32632",
            "eo:cloud_cover": 3.5,
            "s2:nodata_pixel_percentage": 0.1,
            "s2:processing_baseline": "04.00",
            "earthsearch:boa_offset_applied": True,
        }
        | properties,
    }


def test_earth_search_items() -> None:
    row = only([earth_search_item()], provider="earth-search")
    assert (row["crs"], row["baseline"], row["offset"]) == ("EPSG:32632", "04.00", 0)
    assert row["href"].endswith("/S2A_32TLT_20220701_0_L2A/")
    assert json.loads(row["files"])["SCL"] == "*SCL.tif"
    kept = only([earth_search_item(**{"earthsearch:boa_offset_applied": False})], provider="earth-search")
    assert kept["offset"] == 1000


def test_copernicus_data_space_items() -> None:
    product = load_provider("cdse").product(S2)
    root = "s3://eodata/Sentinel-2/MSI/L2A/2025/03/02/S2B_MSIL2A_20250302T095029_N0511_R079_T33UXP_20250302T104753.SAFE"
    names = [*product.bands.values(), product.mask]
    item = earth_search_item(**{"processing:version": "05.11", "platform": "sentinel-2b"})
    item |= {
        "id": "S2B_MSIL2A_20250302T095029_N0511_R079_T33UXP_20250302T104753",
        "assets": {
            name: {"href": f"{root}/GRANULE/R{name[-3:]}/T33UXP_{name}.jp2", "proj:code": "EPSG:32633"}
            for name in names
        },
    }
    del item["properties"]["proj:code"]
    row = only([item], provider="cdse")
    assert (row["crs"], row["baseline"], row["offset"]) == ("EPSG:32633", "05.11", 1000)
    assert SceneFiles(row["href"], row["stem"], row["files"]).unpack()["B8A"] == (
        f"{root}/GRANULE/R20m/T33UXP_B8A_20m.jp2"
    )


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [
        ("03.01", 0),
        ("04.00", 1000),
        ("05.10", 1000),
        ("N0400", 1000),
        (4.0, 1000),
        (2.14, 0),
        (None, None),
        ("?", None),
    ],
)
def test_offset_follows_the_baseline(genuine: dict[str, list[dict]], baseline: object, offset: float | None) -> None:
    item = genuine["s2"][0]
    properties = item["properties"] | {"s2:processing_baseline": baseline}
    assert only([item | {"properties": properties}])["offset"] == offset


@pytest.mark.parametrize("spelling", ["SENTINEL-1A", "Sentinel-1A", "sentinel-1a"])
def test_platforms_have_one_spelling(genuine: dict[str, list[dict]], spelling: str) -> None:
    item = genuine["s1"][0]
    assert only([item | {"properties": item["properties"] | {"platform": spelling}}], S1)["platform"] == "sentinel-1a"


def test_polarisations_are_those_with_files_in_one_order(genuine: dict[str, list[dict]]) -> None:
    item = genuine["s1"][0]
    vv, vh = (item["assets"][name] for name in ("vv", "vh"))

    def polarizations(said: object, assets: dict) -> str:
        properties = item["properties"] | {"sar:polarizations": said}
        return only([item | {"properties": properties, "assets": assets}], S1)["polarizations"]

    assert polarizations(["VH", "VV"], {"vh": vh, "vv": vv}) == "VV,VH"
    assert polarizations(None, {"vh": vh, "vv": vv}) == "VV,VH"
    assert polarizations(["VV", "VH"], {"vv": vv}) == "VV"
    assert polarizations(["VV"], {"vh": vh, "vv": vv}) == "VV"
    assert polarizations(["HV", "HH"], {"hh": vv, "hv": vh}) == "HH,HV"


def test_the_middle_of_start_and_end_stands_for_the_time(genuine: dict[str, list[dict]]) -> None:
    item = genuine["s1"][0]
    row = only([item | {"properties": item["properties"] | {"datetime": None}}], S1)
    whole = only([item], S1)
    assert abs((row["datetime"] - whole["datetime"]).total_seconds()) < 1e-5


def test_what_cannot_be_used_is_counted(genuine: dict[str, list[dict]]) -> None:
    good = genuine["s2"][0]

    def broken(name: str, **changes: object) -> dict:
        return good | {"id": name} | changes

    assets = {name: asset for name, asset in good["assets"].items() if name != "B05"}
    point = {"type": "Point", "coordinates": [95, 81]}
    items = [
        good,
        good,
        broken("a", geometry=None),
        broken("b", geometry=point),
        broken("c", geometry={"type": "Polygon"}),
        broken("d", assets=assets),
        broken("e", assets=good["assets"] | {"SCL": {}}),
        broken("f", assets=good["assets"] | {"B02": {"href": "/vsicurl/x"}}, self="/data/f.json"),
        broken("g", assets=good["assets"] | {"B02": {"href": "file:///etc/passwd"}}, self="https://x.org/g.json"),
        broken("h", properties=good["properties"] | {"datetime": None}),
        broken("i", properties=good["properties"] | {"datetime": "yesterday"}),
        broken("j", collection="something else"),
        good | {"id": None},
    ]
    found = parse(items)
    assert found.table["item"].to_pylist() == [good["id"]]
    assert dict(found.left_out) == {
        "no usable geometry": 3,
        "no asset 'B05'": 1,
        "no asset 'SCL'": 1,
        "an address that must not be read": 2,
        "no date": 2,
        "no id": 1,
    }
    assert found.read == 12


def test_bad_geometries_of_tables_are_counted(shared_data: Path) -> None:
    product = PC.product(S2)
    with pq.ParquetFile(shared_data / "stac" / "100-sentinel-2-items.parquet") as file:
        table = file.read(table_columns(file.schema_arrow, product)).slice(0, 3)
    column = pa.array([b"\x01\x02", None, table["geometry"][2].as_py()], pa.binary())
    table = table.set_column(table.column_names.index("geometry"), "geometry", column)
    found = normalise(columns_of_table(table, product, "/x.parquet"), Wanted(product=product, **ALWAYS))
    assert (len(found.table), dict(found.left_out)) == (1, {"no usable geometry": 2})


def test_window_clouds_and_box_are_asked_for(genuine: dict[str, list[dict]]) -> None:
    site = genuine["site"]
    clear = [item["id"] for item in site if item["properties"]["eo:cloud_cover"] <= 2]
    assert 0 < len(clear) < 13
    assert parse(site, max_cloud_percent=2.0).table["item"].to_pylist() == sorted(clear)
    june = {"start": datetime(2020, 6, 1), "end": datetime(2020, 7, 1)}
    assert len(parse(site, **june).table) == 7 - 1
    assert len(parse(site, box=(27.5, -8, 28, -7.5)).table) == 13
    assert len(parse(site, box=(20, -8, 26.9, -7.5)).table) == 0


def test_hrefs_are_unsigned_and_those_of_a_local_catalogue_relative(genuine: dict[str, list[dict]]) -> None:
    item = genuine["s1"][0]
    signed = {name: {"href": f"{item['assets'][name]['href']}?se=2024&sig=secret"} for name in ("vv", "vh")}
    assert "sig" not in json.dumps(only([item | {"assets": signed}], S1), default=str)
    beside = {"vv": {"href": "./vv.tif"}, "vh": {"href": "../b/vh.tif"}}
    place = {"assets": beside, "self": "/data/stac/a/item.json"}
    row = only([item | place], S1, folder=Path("/data/stac"))
    files = SceneFiles(row["href"], row["stem"], row["files"]).unpack()
    assert files == {"VV": "a/vv.tif", "VH": "b/vh.tif"}


def test_a_local_catalogue_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "stac").mkdir()
    (tmp_path / "stac" / "catalog.json").write_text("{}")
    for url in (tmp_path / "stac", tmp_path / "stac" / "catalog.json"):
        config = SceneConfig(url=str(url))
        assert resolve_href("a/vv.tif", config) == str(tmp_path / "stac" / "a" / "vv.tif")
        assert resolve_href("https://x.org/vv.tif", config) == "https://x.org/vv.tif"
    items = SceneConfig(items=(str(tmp_path / "stac" / "*" / "s2*.parquet"), str(tmp_path / "other" / "s1.parquet")))
    assert catalogue_folder(items) == tmp_path
    assert catalogue_folder(SceneConfig()) is None
    assert catalogue_folder(SceneConfig(items=("bulk",))) is None


def test_several_bands_of_one_file() -> None:
    files = SceneFiles.pack({"B02": "/d/all.tif#1", "B03": "/d/all.tif#2"})
    assert files.unpack() == {"B02": "/d/all.tif#1", "B03": "/d/all.tif#2"}
    alone = SceneFiles.pack({"VV": "vv.tif"})
    assert alone.unpack() == {"VV": "vv.tif"}
    with pytest.raises(CatalogError, match="asterisk"):
        SceneFiles.pack({"VV": "https://x.org/*.tif"})


def test_the_newest_generation_of_an_acquisition_counts() -> None:
    old = "S2B_MSIL2A_20240530T174909_R141_T13TDE_20240530T231838"
    new = "S2B_MSIL2A_20240530T174909_R141_T13TDE_20240601T010101"
    other = "S2B_MSIL2A_20240530T174909_R141_T13TEE_20240530T231838"
    esa = "S2B_MSIL2A_20240530T174909_N0500_R141_T13TDE_20230101T000000"
    assert superseded([(old, "05.10"), (new, "05.10"), (other, "05.10"), ("S2A_13TDE_20240530_0_L2A", "05.10")]) == {
        old
    }
    assert superseded([(old, "05.10"), (new, "03.00"), (esa, "05.00")]) == {new, esa}
    part = "S2B_MSIL2A_20240530T174909_R141_T13TDE_20240530T220000"
    assert superseded([(old, "05.10"), (part, "05.10")]) == set()
    assert generation(esa, "05.00") == ("S2B_MSIL2A_20240530T174909_R141_T13TDE", "05.00", "20230101T000000")


def test_signers_follow_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signer_of(SceneConfig()) == planetary_computer_signer()
    assert signer_of(SceneConfig(provider="earth-search")) is None
    assert signer_of(SceneConfig(url="http://127.0.0.1/stac")) is None
    own = signer_of(SceneConfig(url="http://127.0.0.1/stac", sign="http://127.0.0.1/sign/"))
    assert own is not None and own.endpoint == "http://127.0.0.1/sign"
    monkeypatch.setenv("PC_SDK_SAS_URL", "http://127.0.0.1/other")
    assert planetary_computer_signer().endpoint in {signer_of(SceneConfig()).endpoint}


def test_hosts_that_are_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer(endpoint="http://s", hosts=("blob.example.org", "127.0.0.1:80", "files.org"))
    places = {
        "https://acc.blob.example.org/box/a.tif": "http://s/acc/box",
        "http://127.0.0.1:80/box/a.tif": "http://s/127.0.0.1/box",
        "https://files.org:8443/box/a.tif": "http://s/files.org/box",
        "https://a.b.blob.example.org/box/a.tif": None,
        "https://blob.example.org.evil.net/box/a.tif": None,
        "http://127.0.0.1:81/box/a.tif": None,
        "https://files.org/": None,
    }
    assert {href: signer._place(href) for href in places} == places


def test_a_token_is_forgotten_once(tmp_path: Path) -> None:
    with serve_blobs(BlobServer(tmp_path)) as server:
        signer = Signer(endpoint=f"{server.url}/sign", hosts=("127.0.0.1",))
        href = f"{server.url}/box/a.tif"
        first = signer(href)
        assert signer(href) == first != href
        signer.forget(first)
        second = signer(href)
        assert second != first
        signer.forget(first)  # another thread was refused with the old token
        assert signer(href) == second
        signer.forget("https://elsewhere.org/a.tif")
        signer.forget(href)
        assert signer(href) not in (first, second)
        assert server.tokens == 3


def test_exclusion_lists(tmp_path: Path) -> None:
    path = tmp_path / "no.csv"
    path.write_text("item,tile_id\na,\nb,T1\nb,T2\nc,T1\nc,\n")
    assert read_exclusions(str(path)) == {"a": None, "b": frozenset({"T1", "T2"}), "c": None}
    path.write_text("item\na\n")
    assert read_exclusions(str(path)) == {"a": None}
    path.write_text("scene\na\n")
    with pytest.raises(ConfigError, match="no column 'item'"):
        read_exclusions(str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_exclusions(str(tmp_path / "nothing.csv"))


@pytest.mark.parametrize("name", ["planetary-computer", "earth-search", "cdse"])
def test_providers_name_all_bands(name: str) -> None:
    provider = load_provider(name)
    assert set(provider.product(S2).bands) == set(PC.product(S2).bands)
    assert provider.product("sentinel-1-grd").unit == "amplitude"
