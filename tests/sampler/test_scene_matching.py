from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.config import SceneConfig
from csmoe_sampler.scenes import Tiles
from csmoe_sampler.scenes import matching as module
from csmoe_sampler.scenes.matching import SEASONS, Matcher, season_of
from csmoe_sampler.scenes.outlines import Cover, data_share, on_the_globe
from sampler.scene_fakes import NORTH, OPPOSITE, pair_by_loop, scene_row, scene_table, tiles_at

NOON = datetime(2021, 1, 1, 12, tzinfo=UTC)


def match(
    tiles: Tiles,
    radar: list[dict],
    optical: list[dict],
    config: SceneConfig,
    *,
    portions: int = 1,
    exclusions: dict[str, frozenset[str] | None] | None = None,
) -> pa.Table:
    matcher = Matcher(tiles, config, exclusions)
    for start in range(portions):
        matcher.add_radar(scene_table(radar[start::portions]))
    matcher.close_radar()
    for start in range(portions):
        matcher.add_optical(scene_table(optical[start::portions]))
    return matcher.result()


def scenes(seed: int, *, south: bool = False) -> tuple[list[dict], list[dict]]:
    """Slanted outlines around 9 E, 47 N (or S): some cover a tile in whole, some in part."""
    random = np.random.default_rng(seed)
    middle = shapely.Point(9.0, -47.0 if south else 47.0)

    def outline(size: float) -> shapely.Geometry:
        box = shapely.box(middle.x - size, middle.y - size * 0.7, middle.x + size, middle.y + size * 0.7)
        turned = shapely.affinity.rotate(box, random.uniform(0, 30))
        return shapely.affinity.translate(turned, *random.uniform(-0.8, 0.8, 2))

    def time() -> datetime:  # coarse, so that times and scores tie
        return NOON + timedelta(days=int(random.integers(0, 360)), hours=12 * int(random.integers(0, 2)))

    optical = [
        scene_row(
            f"S2_{number:03d}",
            time(),
            outline(0.9),
            cloud_cover=float(random.choice([0, 0, 5, 19.5, 20, 20.5])),
            crs=str(random.choice(["EPSG:32632", "EPSG:32633", "EPSG:32732"])),
        )
        for number in random.permutation(60)
    ]
    kinds = ["VV,VH", "VV,VH", "VV,VH,HH", "VV", "HH,HV"]
    radar = [
        scene_row(f"S1_{number:03d}", time(), outline(1.5), polarizations=str(random.choice(kinds)))
        for number in random.permutation(25)
    ]
    return radar, optical


CONFIGS = [
    SceneConfig(),
    SceneConfig(min_coverage=0.6, max_dt_days=4, seasons=("year", "winter", "summer")),
    SceneConfig(sentinel1="none", min_coverage=0),
    SceneConfig(seasons=("spring",), max_dt_days=40, dt_scale_days=3, max_cloud_percent=100),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("south", [False, True])
def test_the_best_pair_is_that_of_a_plain_loop(config: SceneConfig, south: bool) -> None:
    random = np.random.default_rng(5)
    lat = random.uniform(46.2, 47.8, 25) * (-1 if south else 1)
    tiles = tiles_at(random.uniform(7.8, 10.2, 25).tolist(), lat.tolist())
    found_any = 0
    for seed in range(3):
        radar, optical = scenes(seed, south=south)
        expected = pair_by_loop(tiles, radar, optical, config)
        table = match(tiles, radar, optical, config)
        for season in config.seasons:
            end = "" if len(config.seasons) == 1 else f"_{season}"
            wanted = [row[season] for row in expected]
            assert table[f"s2_item{end}"].to_pylist() == [row[0] for row in wanted]
            if config.sentinel1 != "none":
                assert table[f"s1_item{end}"].to_pylist() == [row[1] for row in wanted]
            score = [np.nan if row[2] is None else row[2] for row in wanted]
            ours = table[f"scene_score{end}"].to_numpy()
            np.testing.assert_allclose(ours, score, atol=1.1e-6)
            found_any += sum(row[0] is not None for row in wanted)
        all_found = [all(row[season][0] for season in config.seasons) for row in expected]
        assert [reason is None for reason in table["scene_missing"].to_pylist()] == all_found
    assert found_any > 10


def test_order_portions_and_repetition_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    tiles = tiles_at(random.uniform(7.8, 10.2, 30).tolist(), random.uniform(46.2, 47.8, 30).tolist())
    config = SceneConfig(min_coverage=0.7, seasons=("year", "summer"))
    radar, optical = scenes(7)
    whole = match(tiles, radar, optical, config)
    monkeypatch.setattr(module, "_POOL_SCENES", 3)
    monkeypatch.setattr(module, "_BLOCK_SCENES", 4)
    again = match(tiles, [*radar[::-1], *radar], [*optical[::-1], *optical[5:9]], config, portions=7)
    assert again.equals(whole)
    few = Tiles(**{name: getattr(tiles, name)[4:9] for name in ("ids", "geometry", "lat", "lon", "crs")})
    assert match(few, radar, optical, config).equals(whole.slice(4, 5).combine_chunks())


def test_dt_is_the_time_of_sentinel_1_minus_that_of_sentinel_2() -> None:
    around = shapely.box(8, 46, 10, 48)
    tiles = tiles_at([9.0], [47.0])
    optical = [scene_row("b", NOON + timedelta(days=10), around)]
    radar = [
        scene_row("late", NOON + timedelta(days=12), around, polarizations="VV,VH"),
        scene_row("early", NOON + timedelta(days=8.5), around, polarizations="VV,VH"),
    ]
    table = match(tiles, radar, optical, SceneConfig())
    assert table["s1_item"].to_pylist() == ["early"]
    assert table["dt_days"].to_pylist() == [-1.5]
    assert table["scene_score"].to_pylist() == [pytest.approx(np.exp(-0.15), abs=1e-6)]
    assert table["s2_coverage"].to_pylist() == [1.0]


def test_among_equals_the_crs_of_the_tile_comes_first_then_the_id() -> None:
    around = shapely.box(8, 46, 10, 48)
    tiles = tiles_at([9.0], [47.0])
    rows = [scene_row(name, NOON, around, crs=crs) for name, crs in (("a", "EPSG:32633"), ("c", "EPSG:32632"))]
    config = SceneConfig(sentinel1="none")
    assert match(tiles, [], rows, config)["s2_item"].to_pylist() == ["c"]
    rows.append(scene_row("b", NOON, around, crs="EPSG:32632"))
    assert match(tiles, [], rows, config, portions=3)["s2_item"].to_pylist() == ["b"]


def test_sentinel_1_needs_both_polarisations() -> None:
    around, tiles = shapely.box(8, 46, 10, 48), tiles_at([9.0], [47.0])
    optical = [scene_row("b", NOON, around)]
    single = scene_row("single", NOON, around, polarizations="VV")
    double = scene_row("double", NOON + timedelta(days=3), around, polarizations="VV,VH")
    assert match(tiles, [single, double], optical, SceneConfig())["s1_item"].to_pylist() == ["double"]
    reason = match(tiles, [single], optical, SceneConfig())["scene_missing"][0].as_py()
    assert reason == "no Sentinel-1 scene with VV and VH in the window"


def test_what_is_missing_names_the_furthest_stage() -> None:
    tiles = tiles_at([9.0], [47.0])
    west, south, east, north = shapely.bounds(tiles.geometry[0])
    around = shapely.box(8, 46, 10, 48)
    part = shapely.box(west - 1, south - 1, west + (east - west) / 2, north + 1)
    radar = [scene_row("r", NOON, around, polarizations="VV,VH")]

    def why(radar: list[dict], optical: list[dict], config: SceneConfig | None = None) -> str:
        return match(tiles, radar, optical, config or SceneConfig())["scene_missing"][0].as_py()

    assert why(radar, []) == "no Sentinel-2 scene with cloud cover <= 20 % in the window"
    cloudy = [scene_row("c", NOON, around, cloud_cover=20.1)]
    assert why(radar, cloudy) == "no Sentinel-2 scene with cloud cover <= 20 % in the window"
    assert why(radar, [], SceneConfig(max_cloud_percent=100)) == "no Sentinel-2 scene in the window"
    halved = [scene_row("p", NOON, part)]
    assert why(radar, halved).startswith("no Sentinel-2 scene covers 99 % of the footprint (best 50 %)")
    clear = [scene_row("o", NOON, around)]
    partly = [scene_row("r", NOON, part, polarizations="VV,VH")]
    assert why(partly, clear).startswith("no Sentinel-1 scene covers 99 % of the footprint (best 50 %)")
    late = [scene_row("r", NOON + timedelta(days=15, seconds=1), around, polarizations="VV,VH")]
    assert why(late, [*cloudy, *halved, *clear]) == "no Sentinel-1 scene with VV and VH within 15 days"
    both = why(radar, clear, SceneConfig(seasons=("winter", "summer"), max_cloud_percent=100))
    assert both == "summer: no Sentinel-2 scene in summer of the window"


def test_a_scene_that_does_not_tell_its_clouds_counts_as_clouded() -> None:
    around, tiles = shapely.box(8, 46, 10, 48), tiles_at([9.0], [47.0])
    rows = [scene_row("unknown", NOON, around, cloud_cover=None)]
    assert match(tiles, [], rows, SceneConfig(sentinel1="none"))["s2_item"].to_pylist() == [None]
    anything = SceneConfig(sentinel1="none", max_cloud_percent=100)
    assert match(tiles, [], rows, anything)["s2_item"].to_pylist() == ["unknown"]
    rows.append(scene_row("z", NOON, around, cloud_cover=99.0))
    assert match(tiles, [], rows, anything)["s2_item"].to_pylist() == ["z"]


def test_excluded_scenes_are_not_chosen() -> None:
    around, tiles = shapely.box(8, 46, 10, 48), tiles_at([9.0, 9.2], [47.0, 47.1])
    optical = [scene_row(name, NOON, around, cloud_cover=cloud) for name, cloud in (("a", 0), ("b", 1), ("c", 2))]
    radar = [scene_row(name, NOON, around, polarizations="VV,VH") for name in ("r", "s")]
    table = match(tiles, radar, optical, SceneConfig(), exclusions={"a": None, "b": frozenset({"T001"}), "r": None})
    assert table["s2_item"].to_pylist() == ["b", "c"]
    assert table["s1_item"].to_pylist() == ["s", "s"]


def test_no_tiles_and_no_scenes() -> None:
    assert len(match(tiles_at([], []), [], [], SceneConfig())) == 0
    table = match(tiles_at([9.0], [47.0]), [], [], SceneConfig())
    assert table["s2_item"].to_pylist() == [None]
    assert table["s1_datetime"].type == pa.timestamp("us", "UTC")


@given(month=st.integers(1, 12), lat=st.sampled_from([-50.0, 0.0, 50.0]))
def test_seasons_are_those_of_the_hemisphere(month: int, lat: float) -> None:
    name = OPPOSITE[NORTH[month]] if lat < 0 else NORTH[month]
    assert SEASONS[int(season_of(np.array([month - 1]), np.array([lat]))[0])] == name


@settings(max_examples=30, deadline=None)
@given(lon=st.floats(-180, 180), lat=st.floats(-80, 80), seed=st.integers(0, 100))
def test_coverage_is_the_share_of_the_area(lon: float, lat: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    tiles = tiles_at((lon + random.uniform(-0.6, 0.6, 6)).tolist(), (lat + random.uniform(-0.6, 0.6, 6)).tolist())
    ring = np.array([[lon - 0.7, lat - 0.5], [lon + 0.5, lat - 0.8], [lon + 0.8, lat + 0.4], [lon - 0.3, lat + 0.7]])
    scene = shapely.Polygon(ring)
    _, tile, share = Cover(tiles.geometry).pairs(on_the_globe(np.array([scene], object)), np.zeros(6))
    got = np.zeros(6)
    got[tile] = share
    turned = [[shapely.affinity.translate(one, turn) for turn in (-360, 0, 360)] for one in tiles.geometry]
    expected = [sum(one.intersection(scene).area for one in some) / some[0].area for some in turned]
    np.testing.assert_allclose(got, expected, atol=2e-6)
    assert len(tile) == len(set(tile.tolist()))


@pytest.mark.parametrize(
    "scene",
    [
        shapely.box(179, -18, 181, -16),
        shapely.box(-181, -18, -179, -16),
        shapely.Polygon([(179, -18), (-179, -18), (-179, -16), (179, -16)]),
        shapely.MultiPolygon([shapely.box(179, -18, 180, -16), shapely.box(-180, -18, -179, -16)]),
    ],
)
def test_the_antimeridian_is_no_edge(scene: shapely.Geometry) -> None:
    tiles = tiles_at([179.99, -179.97, 179.3, 0.0], [-17.0, -17.0, -17.0, -17.0])
    assert shapely.get_num_geometries(tiles.geometry).max() == 2
    _, tile, share = Cover(tiles.geometry).pairs(on_the_globe(np.array([scene], object)), np.zeros(4))
    assert sorted(tile.tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(share, 1.0)


def test_outlines_are_mended() -> None:
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    flat = shapely.Polygon([(0, 0, 5), (1, 0, 5), (1, 1, 5)])
    mended = on_the_globe(np.array([bow_tie, flat, None, shapely.Point(1, 1), shapely.Polygon()], object))
    assert shapely.is_valid(mended).all()
    np.testing.assert_allclose(shapely.area(mended), [2, 0.5, 0, 0, 0])
    assert not shapely.has_z(mended).any()


def test_an_outline_that_claims_more_than_has_data_is_scaled() -> None:
    edge = 109.8 / 111.195
    whole = shapely.box(10, -edge / 2, 10 + edge, edge / 2)
    half = shapely.box(10, -edge / 2, 10 + edge / 2, edge / 2)
    nodata = np.array([60.0, 2.0, 50.0, np.nan])
    shares = data_share(np.array([whole, whole, half, whole], object), nodata)
    np.testing.assert_allclose(shares, [0.4, 1, 1, 1], atol=2e-3)
    tiles = tiles_at([10.5], [0.0])
    rows = [scene_row("a", NOON, whole, nodata_percent=60.0)]
    reason = match(tiles, [], rows, SceneConfig(sentinel1="none"))["scene_missing"][0].as_py()
    assert reason.startswith("no Sentinel-2 scene covers 99 % of the footprint (best 40")
