"""The audit: other people's places, whatever file they come in."""

import json

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from csmoe_sampler.allocation import allocate
from csmoe_sampler.audit import Places, audit, read_places
from csmoe_sampler.audit.places import INVALID, OUTSIDE
from csmoe_sampler.errors import ConfigError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.manifest import write_manifest
from sampler.small_world import GRID, LEGENDS, atlas, config, drawn, population

LON = np.array([2.35, 151.2, -60.02, 179.999, -180.0, 359.0])
LAT = np.array([48.86, -33.87, -3.12, -16.8, 10.0, 60.0])


@pytest.fixture
def tiles() -> np.ndarray:
    return GRID.locate_index(LON, LAT)


@pytest.mark.parametrize(
    ("header", "suffix"),
    [("lon,lat", "csv"), ("Longitude,LATITUDE", "csv"), ("x\ty", "tsv"), ("centre_lon,centre_lat", "txt")],
)
def test_csv_with_coordinates(tmp_path, tiles, header, suffix):
    separator = "\t" if suffix == "tsv" else ","
    lines = [header, *[f"{lon}{separator}{lat}" for lon, lat in zip(LON, LAT, strict=True)]]
    path = tmp_path / f"points.{suffix}"
    path.write_text("\n".join(lines) + "\n")
    places = read_places(path, GRID)
    assert places.tiles.tolist() == tiles.tolist()
    assert places.by == "coordinates"


@pytest.mark.parametrize("column", ["tile_id", "grid_cell"])
def test_csv_with_tile_ids(tmp_path, tiles, column):
    path = tmp_path / "points.csv"
    path.write_text(
        "\n".join([f"name,{column},lon", *[f"a,{name},0" for name in GRID.ids(tiles)], "a,nowhere,0", "a,,0"])
    )
    places = read_places(path, GRID)
    assert places.tiles.tolist() == [*tiles.tolist(), INVALID, INVALID]
    assert places.by == "tile ids"


def test_unusable_coordinates_are_counted_apart(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("lon,lat\n0,0\nabc,5\n,3\n5,nan\n0,91\n400,0\n10,89.9\n10,-89.9\n")
    places = read_places(path, GRID)
    inside = int(GRID.locate_index(0.0, 0.0))
    assert places.tiles.tolist() == [inside, INVALID, INVALID, INVALID, INVALID, INVALID, OUTSIDE, OUTSIDE]


@pytest.mark.parametrize("name", ["points.parquet", "points.geojson", "points.gpkg"])
@pytest.mark.parametrize("shape", ["points", "polygons"])
def test_vector_files(tmp_path, name, shape):
    lon, lat = LON[:4] - 1e-3, LAT[:4]
    points = shapely.points(lon, lat)
    shapes = points if shape == "points" else shapely.buffer(points, 1e-4)
    frame = geopandas.GeoDataFrame({"name": list("abcd")}, geometry=shapes, crs="EPSG:4326")
    path = tmp_path / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_file(path)
    places = read_places(path, GRID)
    assert places.tiles.tolist() == GRID.locate_index(lon, lat).tolist()
    assert places.by == "geometries"


def test_projected_geometries_are_brought_to_longitude_and_latitude(tmp_path, tiles):
    frame = geopandas.GeoDataFrame(geometry=shapely.points(LON[:1], LAT[:1]), crs="EPSG:4326").to_crs("EPSG:32631")
    frame.to_file(tmp_path / "utm.gpkg")
    assert read_places(tmp_path / "utm.gpkg", GRID).tiles.tolist() == tiles[:1].tolist()


def test_a_polygon_over_the_antimeridian_lies_at_one_end(tmp_path):
    shape = shapely.MultiPolygon([shapely.box(179, 10, 180, 10.5), shapely.box(-180, 10, -179.5, 10.5)])
    geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:4326").to_file(tmp_path / "fiji.geojson")
    lon = GRID.centre(read_places(tmp_path / "fiji.geojson", GRID).tiles)[0]
    assert abs(lon[0]) > 178


def test_our_manifests_are_read_by_tile_id_or_place(tmp_path):
    manifest = drawn(config())
    write_manifest(manifest.table, manifest.metadata, tmp_path / "out.parquet")
    places = read_places(tmp_path / "out.parquet", GRID)
    assert places.by == "tile ids"
    assert places.tiles.tolist() == GRID.parse(manifest.column("tile_id").astype(str)).tolist()
    finer = read_places(tmp_path / "out.parquet", TileGrid(50.0))
    assert finer.by == "coordinates"
    assert finer.tiles.tolist() == TileGrid(50.0).locate_index(manifest.column("lon"), manifest.column("lat")).tolist()


def test_tables_of_published_data_sets_have_grid_cells(tmp_path, tiles):
    pq.write_table(pa.table({"grid_cell": GRID.ids(tiles).tolist(), "cloud_cover": LAT}), tmp_path / "core.parquet")
    assert read_places(tmp_path / "core.parquet", GRID).tiles.tolist() == tiles.tolist()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("none.csv", None, "no such file"),
        (
            "a.csv",
            "name,height\nx,3\n",
            "no column tile_id or grid_cell, and no longitude and latitude, among name, height",
        ),
        ("a.csv", "", "cannot be read"),
        ("a.parquet", "PAR1 but not really", "cannot be read"),
        ("a.geojson", "{", "cannot be read"),
    ],
)
def test_files_that_say_nothing(tmp_path, name, content, problem):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=problem):
        read_places(path, GRID)


def test_parquet_without_places(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="no column tile_id"):
        read_places(tmp_path / "a.parquet", GRID)


# ---- what they cover ------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    settings = config()
    return settings, population(settings)


def places_in(tiles) -> Places:
    return Places(tiles=np.asarray(tiles, np.int64), by="coordinates")


def test_every_place_is_counted_once(world):
    settings, people = world
    described = atlas()["tile"].to_numpy()
    ocean = np.setdiff1d(np.arange(GRID.size), described)[:4]
    watery = np.setdiff1d(described, people.tiles)[:3]
    hits = [*people.tiles[:5].tolist(), *people.tiles[:2].tolist(), int(people.tiles[0])]
    found = audit(places_in([INVALID, OUTSIDE, OUTSIDE, *ocean, *watery, *hits]), atlas(), settings, LEGENDS)
    assert (found.num_places, found.num_invalid, found.num_outside_grid) == (3 + len(ocean) + 3 + 8, 1, 2)
    assert (found.num_undescribed, found.num_not_candidates) == (len(ocean), 3)
    assert (found.num_tiles, found.num_repeats, found.most_in_one_tile) == (5, 3, 3)


def test_strata_against_a_plain_count(world):
    settings, people = world
    rows = np.arange(0, len(people), 7)
    found = audit(places_in(people.tiles[rows]), atlas(), settings, LEGENDS)
    size, target = people.strata.size, allocate(people.strata.size, len(rows), alpha=0.5, floor=1, cap=None).quota
    for h, line in enumerate(found.strata):
        tiles = int((people.strata.of_tile[rows] == h).sum())
        assert (line.stratum, line.size, line.tiles) == (people.strata.labels[h], size[h], tiles)
        assert line.proportional == pytest.approx(len(rows) * size[h] / len(people))
        assert line.against_proportional == pytest.approx(tiles * len(people) / (len(rows) * size[h]))
        assert line.against_target == (tiles / target[h] if target[h] else None)
    matrix = np.array(found.sample)
    assert matrix.sum() == len(rows)
    assert np.array(found.population).sum() == len(people)
    climate, cover = people.climate[1234], people.landcover[1234]
    inside = (people.climate == climate) & (people.landcover == cover)
    assert found.population[climate][cover] == inside.sum() > 0
    assert found.sample[climate][cover] == inside[rows].sum()


def test_all_candidates_are_covered_without_divergence(world):
    settings, people = world
    found = audit(places_in(people.tiles), atlas(), settings, LEGENDS)
    assert found.missing == ()
    assert found.share_covered == 1.0
    assert found.divergence_bits == pytest.approx(0.0, abs=1e-12)
    assert found.displaced_share == pytest.approx(0.0, abs=1e-12)
    assert found.effective_tiles == pytest.approx(len(people))


def test_one_stratum_alone_misses_the_others(world):
    settings, people = world
    own = people.tiles[people.strata.of_tile == 0]
    found = audit(places_in(own), atlas(), settings, LEGENDS)
    assert [line.stratum for line in found.missing] == [
        label for _, label in sorted(zip(-people.strata.size[1:], people.strata.labels[1:], strict=True))
    ]
    assert found.share_covered == pytest.approx(len(own) / len(people))
    assert found.displaced_share == pytest.approx(1 - len(own) / len(people))
    table = found.rows(limit=3)
    assert table[0] == ("stratum", "candidates", "tiles", "prop.", "target", "÷ prop.", "÷ target")
    assert len(table) == 7
    assert table[-1][0] == people.strata.labels[0]
    assert len(found.rows()) == len(people.strata) + 1


def test_a_manifest_meets_its_own_target(world):
    settings, _ = world
    manifest = drawn(settings)
    tiles = GRID.parse(manifest.column("tile_id").astype(str))
    found = audit(places_in(tiles), atlas(), settings, LEGENDS)
    assert {line.against_target for line in found.strata} == {1.0}
    weight = manifest.column("weight")
    assert found.effective_tiles == pytest.approx(weight.sum() ** 2 / (weight**2).sum())


def test_the_audit_is_json_and_text(world):
    settings, people = world
    found = audit(places_in(people.tiles[:40]), atlas(), settings, LEGENDS)
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["num_tiles"] == 40
    assert values["strata"][0]["against_proportional"] == found.strata[0].against_proportional
    assert values["missing"] == [line.stratum for line in found.missing]
    facts = dict(found.facts())
    assert facts["different tiles hit"] == "40"
    assert facts["strata hit"] == f"{len(found.strata) - len(found.missing)} of {len(found.strata)}"


def test_places_elsewhere_are_an_error(world):
    settings, _ = world
    with pytest.raises(ConfigError, match="none of 2 places lies in a candidate tile"):
        audit(places_in([INVALID, OUTSIDE]), atlas(), settings, LEGENDS)
