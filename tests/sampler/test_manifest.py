"""The manifest: schema, files, and every violation by name."""

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from csmoe_sampler.errors import ManifestError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.manifest import Manifest, read_manifest, schema_for, validate, write_manifest
from csmoe_sampler.manifest.rows import parse_leniently
from csmoe_sampler.manifest.schema import PURPOSIVE_OBJECTIVES, SPLITS
from csmoe_sampler.objectives import get_objective
from csmoe_sampler.splits import NAMES
from sampler.small_world import config, drawn


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return drawn(config())


@pytest.fixture(scope="module")
def probability_manifest() -> Manifest:
    return drawn(config(n=200, selection__objective="spread"))


@pytest.fixture
def path(manifest, tmp_path) -> Path:
    path = tmp_path / "out.parquet"
    write_manifest(manifest.table, manifest.metadata, path)
    return path


# ---- schema ------------------------------------------------------------


def test_the_schema_lists_the_contract_in_its_order():
    schema = schema_for(["forest", "bare"], {"elevation_mean": pa.float32()})
    assert [(field.name, str(field.type)) for field in schema] == [
        ("tile_id", "string"),
        ("geometry", "binary"),
        ("bbox", "struct<xmin: double not null, ymin: double not null, xmax: double not null, ymax: double not null>"),
        *[(name, "double") for name in ("lon", "lat")],
        ("crs", "string"),
        *[(name, "double") for name in ("x_min", "y_min", "x_max", "y_max")],
        ("landcover_forest", "float"),
        ("landcover_bare", "float"),
        ("landcover", "string"),
        ("landcover_valid", "float"),
        ("landcover_entropy", "float"),
        ("landcover_classes", "int16"),
        ("climate", "string"),
        ("climate_share", "float"),
        ("stratum", "string"),
        ("stratum_size", "int64"),
        ("inclusion_probability", "double"),
        ("weight", "double"),
        ("rank", "int64"),
        ("split", "string"),
        ("elevation_mean", "float"),
    ]
    assert [field.name for field in schema if field.nullable] == ["inclusion_probability", "elevation_mean"]


def test_a_class_may_not_take_the_name_of_a_column():
    with pytest.raises(ManifestError, match="two columns are called landcover_valid"):
        schema_for(["forest", "valid"])


def test_the_constants_agree_with_their_owners():
    assert SPLITS == NAMES
    objectives = ("diverse", "spread", "random", "proportional", "kmeans")
    assert {name for name in objectives if not get_objective(name).probability_design} == PURPOSIVE_OBJECTIVES


# ---- files ------------------------------------------------------------


def test_a_manifest_survives_the_file(manifest, path):
    found = read_manifest(path)
    assert found.metadata == json.loads(json.dumps(manifest.metadata))
    assert found.table.column_names == manifest.table.column_names
    for name in found.table.column_names:
        assert found.table[name].to_pylist() == manifest.table[name].to_pylist()
    assert found.table.schema.field("inclusion_probability").nullable
    assert not found.table.schema.field("weight").nullable


def test_equal_manifests_give_equal_bytes(manifest, path, tmp_path):
    names = sorted(manifest.table.column_names)
    fixed = schema_for(manifest.landcover_labels).names
    shuffled = [*reversed([name for name in names if name in fixed]), *[name for name in names if name not in fixed]]
    chunks = [manifest.table.slice(0, 7), manifest.table.slice(7, 300), manifest.table.slice(307)]
    keys = dict(reversed(manifest.metadata.items()))
    write_manifest(pa.concat_tables(chunks).select(shuffled), keys, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".parquet"] == []


def test_the_file_is_geoparquet(manifest, path):
    with pq.ParquetFile(path) as file:
        geo = json.loads(file.schema_arrow.metadata[b"geo"])
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    column = geo["columns"]["geometry"]
    shapes = shapely.from_wkb(manifest.column("geometry"))
    assert (geo["version"], geo["primary_column"], column["encoding"]) == ("1.1.0", "geometry", "WKB")
    assert column["geometry_types"] == sorted({shape.geom_type for shape in shapes}, reverse=True)
    assert column["geometry_types"] == ["Polygon", "MultiPolygon"], "the sample holds a tile on the antimeridian"
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert column["orientation"] == "counterclockwise"
    assert column["bbox"] == list(shapely.total_bounds(shapes))
    assert column["covering"]["bbox"] == {edge: ["bbox", edge] for edge in ("xmin", "ymin", "xmax", "ymax")}


def test_geopandas_opens_it(manifest, path):
    frame = geopandas.read_parquet(path)
    assert frame.crs == "EPSG:4326"
    assert len(frame) == 600
    assert frame.geometry.is_valid.all()
    footprints = manifest.grid.footprints(manifest.grid.parse(manifest.column("tile_id").astype(str)))
    assert shapely.equals(np.asarray(frame.geometry), footprints.geometry).all()
    box = (10.0, -20.0, 60.0, 30.0)
    inside = geopandas.read_parquet(path, bbox=box)
    bounds = shapely.bounds(np.asarray(frame.geometry))
    near = (bounds[:, 0] <= 60) & (bounds[:, 2] >= 10) & (bounds[:, 1] <= 30) & (bounds[:, 3] >= -20)
    assert 0 < len(inside) < 600
    assert set(inside["tile_id"]) == set(frame["tile_id"][near])


def test_row_groups_hold_fifty_thousand_rows(manifest, tmp_path):
    table = pa.concat_tables([manifest.table] * 100)
    write_manifest(table, manifest.metadata, tmp_path / "long.parquet")
    with pq.ParquetFile(tmp_path / "long.parquet") as file:
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sizes == [50_000, 10_000]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.drop_columns(["weight"]), "no column weight"),
        (
            lambda t: t.set_column(t.column_names.index("rank"), "rank", t["rank"].cast(pa.int32())),
            "rank is int32, not int64",
        ),
        (
            lambda t: t.set_column(t.column_names.index("split"), "split", pa.array([None] + ["train"] * (len(t) - 1))),
            "split has 1 nulls",
        ),
    ],
)
def test_what_is_not_of_the_schema_is_not_written(manifest, tmp_path, change, problem):
    with pytest.raises(ManifestError, match=problem):
        write_manifest(change(manifest.table), manifest.metadata, tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "cannot be read as Parquet"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:5000] + b"\0" * 9000 + path.read_bytes()[14000:]),
            "cannot be read",
        ),
        (lambda path: path.write_text("tile_id,lon,lat\n1,2,3\n"), "cannot be read as Parquet"),
        (lambda path: path.write_bytes(b""), "cannot be read as Parquet"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read as Parquet"),
        (lambda path: pq.write_table(pa.table({"tile_id": ["0U_0R"]}), path), "without readable 'csmoe' metadata"),
        (
            lambda path: pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"csmoe": "[1"}), path),
            "without readable 'csmoe' metadata",
        ),
    ],
)
def test_broken_files_are_refused(path, spoil, problem):
    spoil(path)
    for read in (read_manifest, validate):
        with pytest.raises(ManifestError, match=problem):
            read(path)


def test_a_later_schema_is_not_guessed_at(path, tmp_path):
    table = pq.read_table(path)
    keys = table.schema.metadata
    keys[b"csmoe"] = keys[b"csmoe"].replace(b'"schema_version":1', b'"schema_version":2')
    pq.write_table(table.replace_schema_metadata(keys), tmp_path / "later.parquet")
    with pytest.raises(ManifestError, match="schema version 2, this release reads 1"):
        read_manifest(tmp_path / "later.parquet")
    assert [str(v) for v in validate(tmp_path / "later.parquet")] == ["csmoe.schema_version: found 2, expected 1"]


def test_columns_can_be_added_and_replaced(manifest, tmp_path):
    scenes = pa.array([f"S2_{k}" for k in range(len(manifest))])
    wider = manifest.with_columns({"s2_item": scenes, "s2_cloud_cover": pa.array(np.arange(600.0, dtype=np.float32))})
    wider = wider.with_columns({"s2_item": pa.array([None] * 600, pa.string())})
    assert wider.table.column_names[-2:] == ["s2_cloud_cover", "s2_item"]
    write_manifest(wider.table, wider.metadata, tmp_path / "wide.parquet")
    found = read_manifest(tmp_path / "wide.parquet")
    assert found.metadata["extra_columns"]["s2_cloud_cover"] == "float"
    assert found.table["s2_item"].null_count == 600
    assert validate(tmp_path / "wide.parquet") == []
    with pytest.raises(ManifestError, match="column 'weight' belongs to the schema"):
        manifest.with_columns({"weight": scenes})


# ---- validation ------------------------------------------------------------


@pytest.mark.parametrize("objective", ["diverse", "spread", "random", "proportional"])
def test_what_the_sampler_draws_is_sound(objective, tmp_path):
    sound = drawn(config(n=333, selection__objective=objective, allocation__cap=40))
    assert validate(sound) == []
    write_manifest(sound.table, sound.metadata, tmp_path / "out.parquet")
    assert validate(tmp_path / "out.parquet") == []


def test_other_writers_types_are_accepted(path):
    """Pandas and polars write 64-bit offsets, dictionaries and nullable fields."""
    frame = read_manifest(path)
    table = frame.table
    for name, kind in (("split", pa.dictionary(pa.int32(), pa.string())), ("climate", pa.large_string())):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    assert validate(Manifest(table=table, metadata=frame.metadata)) == []


def changed(column: str, values: Callable[[np.ndarray], object]) -> Callable[[Manifest], Manifest]:
    """A manifest with one column changed; `values` gets a copy to write to."""

    def change(manifest: Manifest) -> Manifest:
        table = manifest.table
        place = table.column_names.index(column)
        array = np.array(table[column].to_pylist(), dtype=object)
        new = values(array)
        array = array if new is None else new
        return Manifest(
            table=table.set_column(place, column, pa.array(list(array), table[column].type)), metadata=manifest.metadata
        )

    return change


def put(row: int, value: object) -> Callable[[np.ndarray], None]:
    def values(array: np.ndarray) -> None:
        array[row] = value

    return values


def noted(**fields: object) -> Callable[[Manifest], Manifest]:
    return lambda manifest: Manifest(table=manifest.table, metadata={**manifest.metadata, **fields})


def without(*names: str) -> Callable[[Manifest], Manifest]:
    return lambda manifest: Manifest(table=manifest.table.drop_columns(list(names)), metadata=manifest.metadata)


def swapped(one: int, two: int) -> Callable[[Manifest], Manifest]:
    """Two rows in each other's place, ranks too."""

    def change(manifest: Manifest) -> Manifest:
        order = np.arange(len(manifest))
        order[[one, two]] = order[[two, one]]
        table = manifest.table.take(pa.array(order))
        place = table.column_names.index("rank")
        table = table.set_column(place, "rank", pa.array(np.arange(len(manifest))))
        return Manifest(table=table, metadata=manifest.metadata)

    return change


def strata(change: Callable[[list[dict]], None]) -> Callable[[Manifest], Manifest]:
    def apply(manifest: Manifest) -> Manifest:
        table = [dict(line) for line in manifest.metadata["strata"]]
        change(table)
        return Manifest(table=manifest.table, metadata={**manifest.metadata, "strata": table})

    return apply


CASES = {
    "missing column": (without("weight"), {"weight: found no such column, expected a column of type double"}),
    "extra column": (
        lambda m: Manifest(table=m.table.append_column("colour", pa.array(["red"] * len(m))), metadata=m.metadata),
        {"colour: found a column of no schema"},
    ),
    "declared column missing": (without("landcover_water"), {"landcover_water: found no such column"}),
    "wrong type": (
        lambda m: Manifest(
            table=m.table.set_column(m.table.column_names.index("lon"), "lon", m.table["lon"].cast(pa.float32())),
            metadata=m.metadata,
        ),
        {"lon: found type float, expected type double"},
    ),
    "null": (changed("climate_share", put(4, None)), {"row 4, climate_share: found null, expected a value"}),
    "repeated tile": (
        lambda m: changed("tile_id", put(9, m.table["tile_id"][2].as_py()))(m),
        {"row 9, tile_id", "row 9, crs", "row 9, x_min", "row 9, y_min", "row 9, x_max", "row 9, y_max"}
        | {"row 9, lon", "row 9, lat", "row 9, geometry"},
    ),
    "tile of no grid": (
        changed("tile_id", put(3, "999999U_0R")),
        {"row 3, tile_id: found 999999U_0R, expected a tile of"},
    ),
    "no tile at all": (
        changed("tile_id", put(3, "here")),
        {"row 3, tile_id: found here, expected a tile of the 200 km"},
    ),
    "crs": (changed("crs", put(0, "EPSG:4326")), {"row 0, crs: found EPSG:4326, expected EPSG:32"}),
    "edge by 2 cm": (changed("x_max", lambda a: a + 0.02), {"row 0, x_max"}),
    "longitude": (changed("lon", lambda a: a + 1e-6), {"row 0, lon"}),
    "latitude": (changed("lat", put(7, float("nan"))), {"row 7, lat: found nan"}),
    "geometry": (
        changed("geometry", put(1, shapely.to_wkb(shapely.box(0, 0, 1, 1)))),
        {"row 1, geometry: found POLYGON ((1 0,", "row 1, bbox"},
    ),
    "unreadable geometry": (changed("geometry", put(1, b"nonsense")), {"row 1, geometry: found None"}),
    "box": (changed("bbox", put(5, {"xmin": 0.0, "ymin": 0.0, "xmax": 1.0, "ymax": 1.0})), {"row 5, bbox"}),
    "share below 0": (
        changed("landcover_cropland", lambda a: a - np.where(np.arange(len(a)) == 6, 5.0, 0)),
        {"row 6, landcover_cropland: found -", "row 6, landcover_tree_cover: found -"},
    ),
    "share is no number": (
        changed("landcover_mangroves", put(8, float("nan"))),
        {"row 8, landcover_mangroves: found nan, expected a share from 0 to 1"},
    ),
    "valid share": (changed("landcover_valid", put(8, 1.5)), {"row 8, landcover_valid: found 1.5"}),
    "climate share": (changed("climate_share", put(8, -0.5)), {"row 8, climate_share: found -0.5"}),
    "entropy": (changed("landcover_entropy", put(8, 9.0)), {"row 8, landcover_entropy: found 9, expected 0 to 3.459"}),
    "number of classes": (changed("landcover_classes", put(8, 12)), {"row 8, landcover_classes: found 12"}),
    "dominant class": (
        lambda m: changed(
            "landcover", put(2, "mangroves" if m.table["landcover"][2].as_py() != "mangroves" else "cropland")
        )(m),
        {"row 2, landcover"},
    ),
    "class of no legend": (changed("landcover", put(2, "lava")), {"row 2, landcover: found lava"}),
    "climate of no legend": (changed("climate", put(2, "Xf")), {"row 2, climate: found Xf"}),
    "ranks": (changed("rank", lambda a: a + 1), {"row 0, rank: found 1, expected 0"}),
    "rank repeated": (changed("rank", put(11, 10)), {"row 11, rank: found 10, expected 11"}),
    "stratum size": (changed("stratum_size", lambda a: a + 1), {"row 0, stratum_size", "row 0, weight"}),
    "weight": (changed("weight", put(3, 1.0)), {"row 3, weight: found 1, expected"}),
    "probability of a purposive design": (
        changed("inclusion_probability", put(12, 0.5)),
        {"row 12, inclusion_probability: found 0.5, expected null (objective diverse is purposive)"},
    ),
    "stratum of no table": (
        changed("stratum", put(0, "Zz|lava")),
        {"row 0, stratum: found Zz|lava, expected a stratum of csmoe.strata", "csmoe.strata", "row 0, weight"},
    ),
    "taken": (strata(lambda t: t[0].update(taken=t[0]["taken"] - 1)), {"csmoe.strata: found"}),
    "quota above size": (
        strata(lambda t: t[0].update(quota=t[0]["size"] + 1)),
        {"csmoe.strata: found taken", "csmoe.strata: found quotas that sum to"},
    ),
    "stratum twice": (
        strata(lambda t: t.append({**t[0], "size": 0, "quota": 0, "taken": 0})),
        {"csmoe.strata: found Af|tree_cover more than once", "csmoe.strata: found 0, expected"},
    ),
    "line of a stratum": (strata(lambda t: t[3].pop("reason")), {"csmoe.strata: found line 3 without reason"}),
    "split": (changed("split", put(2, "holdout")), {"row 2, split: found holdout, expected one of train, validation"}),
    "seed": (noted(seed=4), {"csmoe.seed: found 4, expected 3"}),
    "seed as text": (noted(seed="3"), {"csmoe.seed: found str, expected a whole number", "csmoe.seed: found 3"}),
    "digest": (noted(config_digest="0" * 64), {"csmoe.config_digest: found 000"}),
    "objective": (noted(objective="luck"), {"csmoe.objective: found luck, expected diverse"}),
    "region": (noted(region="mars"), {"csmoe.region: found mars, expected small world"}),
    "schema version": (noted(schema_version=7), {"csmoe.schema_version: found 7, expected 1"}),
    "no notes": (noted(notes=None), {"csmoe.notes: found NoneType, expected a list"}),
    "grid of no meaning": (noted(grid={"edge": 3}), {"csmoe.grid"}),
    "no legends": (noted(legends={}), {"csmoe.legends: found no labels for"}),
    "no configuration": (noted(config={"n": -1}), {"csmoe.config: found 1 validation error"}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_violation_is_named(manifest, case):
    change, expected = CASES[case]
    found = [str(violation) for violation in validate(change(manifest))]
    for text in expected:
        assert any(line.startswith(text) for line in found), f"nothing starts with '{text}' in {found}"
    for line in found:
        assert any(line.startswith(text) for text in expected), f"nobody expected: {line}"


def test_no_rows_are_no_manifest(manifest):
    empty = Manifest(table=manifest.table.slice(0, 0), metadata=manifest.metadata)
    assert [str(violation) for violation in validate(empty)] == ["rows: found 0, expected one or more"]


def test_a_whole_column_is_one_violation(manifest):
    found = validate(changed("weight", lambda array: array * 2)(manifest))
    assert len(found) == 1
    assert (found[0].column, found[0].row, found[0].count) == ("weight", 0, 600)
    assert str(found[0]).endswith("(stratum_size / rows of the stratum); 600 rows alike")


def test_all_violations_are_found_at_once(manifest):
    spoilt = manifest
    for case in ("weight", "ranks", "climate of no legend", "extra column", "seed"):
        spoilt = CASES[case][0](spoilt)
    columns = [violation.column for violation in validate(spoilt)]
    assert sorted(columns) == ["climate", "colour", "csmoe.seed", "rank", "weight"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "above 0, up to 1"),
        (1.5, "above 0, up to 1"),
        (float("nan"), "above 0, up to 1"),
        (0.999, "0."),
        (None, "above 0"),
    ],
)
def test_probabilities_of_a_probability_design(probability_manifest, value, expected):
    assert validate(probability_manifest) == []
    (found,) = validate(changed("inclusion_probability", put(5, value))(probability_manifest))
    assert (found.column, found.row) == ("inclusion_probability", 5)
    assert found.expected.startswith(expected)


def test_prefixes_must_hold_every_stratum_in_its_proportion(manifest):
    stratum = manifest.column("stratum")
    last = len(manifest) - 1
    other = int(np.flatnonzero(stratum != stratum[last])[0])
    (found, *rest) = validate(swapped(other, last)(manifest))
    assert found.column == "stratum"
    assert found.found.startswith("place ")
    assert not rest
    same = np.flatnonzero(stratum == stratum[0])[:2].tolist()
    assert validate(swapped(*same)(manifest)) == [], "which tile of a stratum comes first is the objective's affair"


def test_splits_may_not_leak(manifest):
    split = manifest.column("split")
    lon, lat = np.radians(manifest.column("lon")), np.radians(manifest.column("lat"))
    held = np.flatnonzero(split == "test")
    half = np.sin((lat[held, None] - lat[held]) / 2) ** 2
    half += np.cos(lat[held, None]) * np.cos(lat[held]) * np.sin((lon[held, None] - lon[held]) / 2) ** 2
    km = 2 * 6378.137 * np.arcsin(np.sqrt(half)) + np.diag(np.full(len(held), np.inf))
    one, two = np.unravel_index(int(km.argmin()), km.shape)
    (found,) = validate(changed("split", put(int(held[one]), "train"))(manifest))
    assert (found.column, found.expected) == ("split", "at least 350")
    assert found.row == held[two]
    assert float(found.found) == pytest.approx(km[one, two])
    assert validate(changed("split", put(int(held[one]), "buffer"))(manifest)) == []


def test_geo_metadata_is_held_to_the_standard(path, tmp_path):
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["version"] = "0.9"
    geo["columns"]["geometry"]["crs"] = {"id": {"authority": "EPSG", "code": 3857}}
    keys = table.schema.metadata | {b"geo": json.dumps(geo).encode()}
    pq.write_table(table.replace_schema_metadata(keys), tmp_path / "other.parquet")
    assert [violation.column for violation in validate(tmp_path / "other.parquet")] == [
        "geo.version",
        "geo.columns.geometry.crs",
    ]


IDS = st.one_of(
    st.from_regex(r"[0-9]{1,4}[UD]_[0-9]{1,4}[RL]", fullmatch=True),
    st.integers(0, TileGrid().size - 1).map(lambda k: str(TileGrid().ids(np.array([k]))[0])),
    st.sampled_from(
        ["502U_1415R", "502U_1415L", "0D_0R", "0U_0L", "00U_0R", "", "543U_17R ", "1000000U_0R", "543U_17Rx"]
    ),
)


@given(st.lists(IDS, min_size=1, max_size=20))
def test_ids_are_parsed_leniently_as_the_grid_parses_them(ids):
    grid = TileGrid()
    expected = []
    for name in ids:
        try:
            expected.append(int(grid.parse([name])[0]))
        except Exception:  # noqa: BLE001
            expected.append(-1)
    assert parse_leniently(grid, np.array(ids, dtype=object)).tolist() == expected
