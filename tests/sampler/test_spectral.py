"""The spectral descriptor: statistics, choice of scenes, reading of overviews, and its place in the selection."""

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler import pipeline
from csmoe_sampler.atlas import read_atlas
from csmoe_sampler.config import BuildConfig, SpectralConfig, load_config
from csmoe_sampler.errors import AtlasError, CatalogError, ConfigError, RasterError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.population import features_of, population_of
from csmoe_sampler.regions import tiles_of
from csmoe_sampler.sampling import draw
from csmoe_sampler.spectral import (
    Access,
    Recipe,
    SceneChooser,
    Spectral,
    count_pixels,
    diversity_weights,
    open_spectral,
    statistics_of,
)
from csmoe_sampler.spectral.overviews import factor_of
from csmoe_sampler.synthetic import LAYOUTS, write_earth, write_scenes
from csmoe_sampler.synthetic.sensing import Pass
from sampler import small_world
from sampler.granules import BANDS, scene_row, scene_table, write_granule
from services.http_files import Faults, serve_files

GRID = TileGrid()
OFFSET = 1000.0
PAUSES_S = (0.01,) * 20
pytestmark = pytest.mark.usefixtures("short_delays")


def plain_statistics(pixels: np.ndarray, clear: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Entropy, texture and means of one tile, (b, H, W), by loops."""
    entropies, textures, means = [], [], []
    for band in pixels.astype(np.int64):
        values = [int(v) for v, c in zip(band.ravel(), clear.ravel(), strict=True) if c]
        counts: dict[int, int] = {}
        for value in values:
            k = min(31, int(32 * np.sqrt(value / 10_000)))
            counts[k] = counts.get(k, 0) + 1
        n = len(values)
        plug_in = -sum(c / n * np.log2(c / n) for c in counts.values())
        entropies.append(min(5.0, plug_in + (len(counts) - 1) / (2 * n * np.log(2))))
        steps = []
        for row in range(band.shape[0]):
            for col in range(band.shape[1]):
                for down, right in ((0, 1), (1, 0)):
                    r, c = row + down, col + right
                    if r < band.shape[0] and c < band.shape[1] and clear[row, col] and clear[r, c]:
                        steps.append(abs(int(band[row, col]) - int(band[r, c])))
        means.append(sum(values) / n / 10_000)
        textures.append(np.mean(steps) / 10_000 / max(means[-1], 0.01) if steps else np.nan)
    return float(np.mean(entropies)), float(np.mean(textures)), np.array(means)


@pytest.fixture(scope="module")
def granules(tmp_path_factory):
    """Two granules side by side in one folder: the western one of baseline 05, the eastern one cloudier."""
    folder = tmp_path_factory.mktemp("granules")
    west = write_granule(folder, "west", offset=OFFSET, cloud=2.0, seed=1)
    east = write_granule(folder, "east", corner=(499_980.0, 5_300_040.0), cloud=8.0, seed=2)
    return folder, west, east


@pytest.fixture(scope="module")
def tiles():
    """All tiles in and around the granules."""
    first, last = GRID.locate_index([7.4, 10.9], [46.6, 48.1])
    rows = range(int(GRID.row_col(first)[0]), int(GRID.row_col(last)[0]) + 1)
    return GRID.in_box(rows[0], rows[-1] + 1, 7.4, 10.9)


def spectral_of(*rows, bands=("B02", "B04", "B08", "B11"), decimation=4, access=None):
    chooser = SceneChooser.of(scene_table(*rows), SpectralConfig().scenes())
    return Spectral(chooser=chooser, recipe=Recipe(bands=bands, decimation=decimation), access=access or Access())


def same(one, other):
    return list(one) == list(other) and all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)


# ---- statistics -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    num_tiles=st.integers(1, 3),
    bright=st.sampled_from([3, 900, 10_000]),
)
def test_statistics_are_those_of_a_plain_loop(seed, shape, num_tiles, bright):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, bright, (2, *shape), endpoint=True).astype(np.int16)
    clear = rng.random(shape) < 0.8
    owner = rng.integers(-1, num_tiles, shape).astype(np.int32)
    found = statistics_of(count_pixels(pixels, clear, owner, num_tiles))
    for tile in range(num_tiles):
        inside = owner == tile
        share = clear[inside].mean() if inside.any() else 0
        assert found.valid[tile] == pytest.approx(share)
        if share < 0.1:
            assert np.isnan([found.entropy[tile], found.texture[tile], *found.means[tile]]).all()
            continue
        entropy, texture, means = plain_statistics(pixels, clear & inside)
        assert found.entropy[tile] == pytest.approx(entropy, abs=1e-5)
        assert found.texture[tile] == pytest.approx(texture, rel=1e-5, nan_ok=True)
        assert found.means[tile] == pytest.approx(means, rel=1e-5, abs=1e-7)


def test_statistics_of_real_chips_are_those_of_a_plain_loop(shared_data):
    paths = sorted((shared_data / "sentinel" / "terramesh" / "S2L2A").glob("*.tif"))
    assert len(paths) == 3
    for path in paths:
        with rasterio.open(path) as dataset:
            pixels = dataset.read([2, 4, 8, 11])[:, :150, :97].clip(0, 10_000).astype(np.int16)
        clear = np.ones(pixels.shape[1:], np.bool_)
        clear[:40, 50:] = False
        found = statistics_of(count_pixels(pixels, clear, np.zeros(clear.shape, np.int32), 1))
        entropy, texture, means = plain_statistics(pixels, clear)
        assert found.entropy[0] == pytest.approx(entropy, abs=1e-5)
        assert found.texture[0] == pytest.approx(texture, rel=1e-5)
        assert found.means[0] == pytest.approx(means, rel=1e-5)
        assert 1.5 < entropy < 4.5


@pytest.mark.parametrize(("num_pixels", "bias"), [(60, 0.1), (400, 0.02), (2000, 0.01)])
def test_the_correction_takes_most_of_the_bias_of_few_pixels(num_pixels, bias):
    rng = np.random.default_rng(3)
    pixels = rng.gamma(3.0, 500, (1, 200, 240)).clip(0, 10_000).astype(np.int16)
    num_tiles = pixels.size // num_pixels
    owner = np.arange(pixels.size, dtype=np.int32).reshape(200, 240) % num_tiles
    clear = np.ones(owner.shape, np.bool_)
    of_all = statistics_of(count_pixels(pixels, clear, np.zeros_like(owner), 1)).entropy[0]
    tally = count_pixels(pixels, clear, owner, num_tiles)
    share = tally.bins / tally.clear[:, None, None]
    plain = -np.where(share > 0, share * np.log2(np.maximum(share, 1e-9)), 0).sum(axis=2).mean()
    left = abs(statistics_of(tally).entropy.mean() - of_all)
    assert left < bias
    assert left < 0.5 * (of_all - plain)


@pytest.mark.parametrize(
    ("values", "entropy"),
    [([0] * 64, 0.0), ([2500] * 64, 0.0), ([100, 3600] * 32, 1 + 1 / (128 * np.log(2))), ([10_000] * 64, 0.0)],
)
def test_entropy_in_bits(values, entropy):
    pixels = np.array(values, np.int16).reshape(1, 4, 16)
    found = statistics_of(count_pixels(pixels, np.ones((4, 16), np.bool_), np.zeros((4, 16), np.int32), 1))
    assert found.entropy[0] == pytest.approx(entropy, abs=1e-6)


# ---- reading --------------------------------------------------------------------------------------------------------


def test_columns_are_those_of_a_plain_loop_over_the_overviews(granules, tiles):
    folder, west, _ = granules
    found = spectral_of(west).describe(GRID, tiles)
    arrays, known = [], True
    for band in ("B02", "B04", "B08", "B11", "SCL"):
        path = folder / f"west_{band}.tif"
        level = {2: 0, 4: 1}[4 // BANDS.get(band, 2)]
        with rasterio.open(path, overview_level=level) as dataset:
            values, transform, crs = dataset.read(1), dataset.transform, dataset.crs
        arrays.append(values)
        known = known & (np.isin(values, (2, 4, 5, 6, 7, 11)) if band == "SCL" else values != 0)
    rows, cols = np.indices(values.shape)
    x, y = transform.c + (cols + 0.5) * transform.a, transform.f + (rows + 0.5) * transform.e
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    owner = GRID.locate_index(lon, lat)
    pixels = (np.stack(arrays[:4]).astype(np.int64) - int(OFFSET)).clip(0, 10_000)
    compared = 0
    for k, tile in enumerate(tiles.tolist()):
        inside = owner == tile
        if np.isnan(found["spectral_entropy"][k]):
            assert found["spectral_valid"][k] < 0.1 or not inside.any()
            continue
        top, left = (axis.min() for axis in np.nonzero(inside))
        bottom, right = (axis.max() + 1 for axis in np.nonzero(inside))
        cut = np.s_[top:bottom, left:right]
        entropy, texture, means = plain_statistics(pixels[:, cut[0], cut[1]], (inside & known)[cut])
        assert found["spectral_entropy"][k] == pytest.approx(entropy, abs=1e-4)
        assert found["spectral_texture"][k] == pytest.approx(texture, rel=1e-4)
        assert [found[f"spectral_mean_{b}"][k] for b in ("B02", "B04", "B08", "B11")] == pytest.approx(means, rel=1e-4)
        if top > 0 and bottom < values.shape[0] and left > 0 and right < values.shape[1]:
            assert found["spectral_valid"][k] == pytest.approx((inside & known).sum() / inside.sum(), abs=1e-6)
        compared += 1
    assert compared > 80
    mixed = found["spectral_entropy"][GRID.locate_index(9.0, 47.4) == tiles]
    even = found["spectral_entropy"][GRID.locate_index(7.9, 47.4) == tiles]
    assert mixed > even + 1


def test_columns_do_not_depend_on_how_tiles_are_cut_or_where_they_are_computed(granules, tiles, monkeypatch):
    _, west, east = granules
    spectral = spectral_of(west, east)
    whole = spectral.describe(GRID, tiles)
    assert 0.1 < np.isnan(whole["spectral_entropy"]).mean() < 0.9
    again = pickle.loads(pickle.dumps(spectral))
    pieces = [again.describe(GRID, tiles[k::7]) for k in range(7)]
    for name in whole:
        joined = np.empty_like(whole[name])
        for k, piece in enumerate(pieces):
            joined[k::7] = piece[name]
        assert np.array_equal(joined, whole[name], equal_nan=True), name
    monkeypatch.setattr("csmoe_sampler.spectral.reading._MOST_PX", 3000)
    assert same(spectral.describe(GRID, tiles), whole)
    assert again.provenance() == spectral.provenance()


def test_the_offset_is_removed(tmp_path, tiles):
    plain = write_granule(tmp_path / "plain", "p", seed=5)
    shifted = write_granule(tmp_path / "shifted", "s", offset=OFFSET, seed=5)
    one, other = spectral_of(plain).describe(GRID, tiles), spectral_of(shifted).describe(GRID, tiles)
    known = np.isfinite(one["spectral_entropy"])
    assert known.sum() > 80
    assert np.abs(one["spectral_mean_B04"] - other["spectral_mean_B04"])[known].max() < 1e-4
    assert np.abs(one["spectral_entropy"] - other["spectral_entropy"])[known].max() < 0.02


def test_clouds_and_missing_data_lower_the_valid_share(granules):
    _, west, _ = granules
    to_globe = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    under_cloud, clear = (399_960 + 40_000, 5_300_040 - 70_000), (399_960 + 80_000, 5_300_040 - 70_000)
    lon, lat = np.array([to_globe.transform(*place) for place in (under_cloud, clear)]).T
    places = GRID.locate_index(lon, lat)
    found = spectral_of(west).describe(GRID, np.sort(places))
    valid = dict(zip(np.sort(places).tolist(), found["spectral_valid"].tolist(), strict=True))
    assert valid[int(places[0])] == 0
    assert valid[int(places[1])] == 1


@pytest.mark.parametrize(
    ("decimation", "finest_m", "pixel_m", "factor"),
    [
        (16, 10, 10, 16),
        (16, 10, 20, 8),
        (16, 10, 60, 2),
        (16, 20, 20, 16),
        (1, 10, 20, 1),
        (2, 10, 60, 1),
        (4, 100, 200, 2),
    ],
)
def test_factors_of_overviews(decimation, finest_m, pixel_m, factor):
    assert factor_of(decimation, finest_m, pixel_m) == factor


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"decimation": 32}, RasterError, "west_B02.tif: has no overview of factor 32: it has those of 2, 4, 8"),
        ({"bands": ("B02", "B8A")}, CatalogError, "west has no band B8A: it has B01, B02"),
    ],
)
def test_what_a_scene_lacks_is_named(granules, tiles, options, error, message):
    with pytest.raises(error, match=message):
        spectral_of(granules[1], **options).describe(GRID, tiles)


def test_a_file_that_is_gone_is_named(granules, tiles):
    folder, west, _ = granules
    files = {band: str(folder / f"west_{band}.tif") for band in ("B04", "B08", "B11")}
    row = scene_row("west", files | {"B02": str(folder / "gone.tif")}, shapely.from_wkb(west["geometry"]))
    with pytest.raises(RasterError, match=r"gone.tif: opening failed"):
        spectral_of(row).describe(GRID, tiles)


def test_bands_of_60_m_take_the_nearest_pixel_of_a_finer_overview(granules, tiles):
    _, west, _ = granules
    found = spectral_of(west, bands=("B02", "B01"), decimation=8).describe(GRID, tiles)
    assert np.isfinite(found["spectral_mean_B01"]).sum() > 80


# ---- the network ----------------------------------------------------------------------------------------------------


def remote_row(row, folder, url):
    local = {band: f"{folder}/{row['item']}_{band}.tif" for band in (*BANDS, "SCL")}
    addresses = {band: path.replace(str(folder), url) for band, path in local.items()}
    return scene_row(str(row["item"]), addresses, shapely.from_wkb(row["geometry"]), offset=row["offset"])


def ask(server, row, folder, tiles):
    access = Access(pauses_s=PAUSES_S)
    return spectral_of(remote_row(row, folder, server.url), access=access).describe(GRID, tiles)


def test_an_overview_costs_a_small_part_of_its_file(granules, tiles):
    folder, west, _ = granules
    local = spectral_of(west)
    with serve_files(folder) as server:
        found = ask(server, west, folder, tiles)
        log = [request for request in server.requests if request.method == "GET"]
    assert same(found, local.describe(GRID, tiles))
    sent = sum(int(last) - int(first) + 1 for first, last in (r.range.removeprefix("bytes=").split("-") for r in log))
    whole = sum((folder / f"west_{band}.tif").stat().st_size for band in ("B02", "B04", "B08", "B11", "SCL"))
    served = int(np.isfinite(found["spectral_entropy"]).sum())
    cost = local.cost(GRID, tiles)
    print(
        f"{len(log)} requests, {sent / served / 1e3:.1f} kB a tile ({served} tiles; planned {cost.requests} and "
        f"{cost.bytes / served / 1e3:.1f} kB); whole files {whole / served / 1e3:.1f} kB a tile"
    )
    assert sent < whole / 6
    assert len(log) <= 2 * 5 + 2
    assert cost.files == 5
    assert cost.requests == 10
    assert 0.6 * sent < cost.bytes < 1.6 * sent


@pytest.mark.parametrize("kinds", [("503",), ("truncate", "reset"), ("500", "429")], ids="-".join)
def test_faults_do_not_change_the_columns(granules, tiles, kinds):
    folder, west, _ = granules
    some = tiles[::5]
    with serve_files(folder, Faults(kinds=kinds, rate=0.34, seed=4)) as server:
        found = ask(server, west, folder, some)
        assert any(request.fault for request in server.requests)
    assert same(found, spectral_of(west).describe(GRID, some))


class Tickets:
    """Signs with a number that grows; remembers what was forgotten."""

    def __init__(self):
        self.number = 0
        self.forgotten = []

    def __call__(self, href):
        return f"{href}?sig={self.number}"

    def forget(self, href):
        self.forgotten.append(href)
        self.number += 1


def test_a_refused_signature_is_renewed(granules, tiles):
    folder, west, _ = granules
    some, tickets = tiles[::5], Tickets()
    access = Access(sign=tickets, pauses_s=PAUSES_S)
    with serve_files(folder, Faults(kinds=("403",), rate=0.2, seed=4)) as server:
        found = spectral_of(remote_row(west, folder, server.url), access=access).describe(GRID, some)
        assert any(request.fault for request in server.requests)
    assert same(found, spectral_of(west).describe(GRID, some))
    assert tickets.forgotten
    assert all("?sig=" in href for href in tickets.forgotten)


def test_a_missing_remote_file_is_told_at_once(granules, tiles):
    folder, west, _ = granules
    with serve_files(folder) as server:
        row = remote_row(west, folder, server.url + "/nowhere")
        with pytest.raises(RasterError, match=r"west_B02.tif: opening failed: .*404"):
            spectral_of(row).describe(GRID, tiles)
        assert len(server.requests) < 12


# ---- choice ---------------------------------------------------------------------------------------------------------


def chooser_of(*rows):
    return SceneChooser.of(scene_table(*rows), SpectralConfig().scenes())


def place(item, west, east, cloud=2.0, south=40.0, north=41.0):
    return scene_row(item, {"B02": f"{item}.tif"}, shapely.box(west, south, east, north), cloud=cloud)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([place("a", 10, 12, 5.0), place("b", 10, 12, 3.0)], "b"),
        ([place("b", 10, 12, 3.0), place("a", 10, 12, 3.0)], "a"),
        ([place("a", 10, 12, 30.0), place("b", 10, 12, 9.0)], "b"),
        ([place("a", 10, 11.0, 0.0), place("b", 10, 12, 9.0)], "b"),  # half of the tile, against all of it
        ([place("b", 20, 21)], None),
    ],
)
def test_the_scene_with_the_best_score_is_chosen(rows, chosen):
    tile = GRID.locate_index([11.0], [40.5])
    chooser = chooser_of(*rows)
    (row,) = chooser.choose(GRID, tile)
    assert (None if row < 0 else chooser.scene(row).item) == chosen


def test_less_than_the_least_coverage_is_no_scene():
    tile = GRID.locate_index([11.0], [40.5])
    (west,), _, (east,), _ = GRID.bounds(tile)
    shares = [chooser_of(place("a", 10, west + share * (east - west))).choose(GRID, tile)[0] for share in (0.49, 0.51)]
    assert shares == [-1, 0]


def test_a_tile_across_the_antimeridian_finds_its_scene():
    tiles = np.arange(int(GRID.row_start(20)), int(GRID.row_start(21)))
    east = GRID.bounds(tiles)[2]
    straddlers = tiles[east > 180] if (east > 180).any() else tiles[-1:]
    _, south, _, north = (float(edge[0]) for edge in GRID.bounds(straddlers))
    halves = [shapely.box(179, south - 1, 180, north + 1), shapely.box(-180, south - 1, -179, north + 1)]
    row = scene_row("across", {"B02": "x.tif"}, shapely.MultiPolygon(halves))
    assert chooser_of(row).choose(GRID, straddlers).tolist() == [0] * straddlers.size


def test_scenes_that_cannot_serve_are_refused():
    with pytest.raises(CatalogError, match="none has at most 10 % clouds"):
        chooser_of(place("a", 10, 12, 50.0))
    with pytest.raises(CatalogError, match="scene a: the offset of its digital numbers is not known"):
        chooser_of(scene_row("a", {"B02": "a.tif"}, shapely.box(0, 0, 1, 1), offset=None))


def test_the_provenance_changes_with_scenes_and_options_but_not_with_folders(granules):
    folder, west, east = granules
    moved = {**west, "href": "/elsewhere/"}
    base = spectral_of(west).provenance()
    assert base == spectral_of(moved).provenance()
    assert str(folder) not in str(base)
    others = [
        spectral_of(west, east),
        spectral_of(west, decimation=8),
        spectral_of(west, bands=("B02",)),
        spectral_of({**west, "offset": 0.0}),
    ]
    assert all(other.provenance() != base for other in others)


# ---- selection ------------------------------------------------------------------------------------------------------


def test_spectral_is_an_axis_only_where_it_is_configured():
    with pytest.raises(ConfigError, match="names spectral: known are climate, landcover, position"):
        load_config(None, {"selection.weights": {"spectral": 1.0}})
    config = load_config(
        None, {"spectral": {"decimation": 8}, "selection.weights": {"spectral": 2.0, "landcover": 0.5}}
    )
    assert config.spectral.scenes().sentinel1 == "none"
    assert config.spectral.scenes().max_cloud_percent == 10


def test_a_build_without_it_keeps_its_digest():
    config = load_config(None, {})
    assert "spectral" not in config.portable()
    assert BuildConfig.model_validate(config.portable()).digest() == config.digest()


def test_the_digest_of_a_build_with_it_ignores_folders(tmp_path):
    near, far = (load_config(None, {"spectral": {"items": [f"{at}s2.parquet"]}}) for at in ("", "/data/"))
    other = load_config(None, {"spectral": {"items": ["s2.parquet"], "start": "2021-06-01"}})
    assert near.digest() == far.digest() != other.digest()
    path = tmp_path / "build.toml"
    path.write_text(far.to_toml())
    assert load_config(path, {}) == far


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("decimation = 12", ["spectral.decimation = 12"]),
        ('bands = ["B02", "B10"]', ["spectral: bands names B10: Sentinel-2 L2A has B01"]),
        ('bands = ["B02", "B02"]', ["names a band twice"]),
        ("start = 2021-06-01\nend = 2021-05-01", ["spectral: end 2021-05-01", "is before"]),
    ],
)
def test_problems_of_the_section_name_key_and_value(tmp_path, text, parts):
    path = tmp_path / "run.toml"
    path.write_text(f"[spectral]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    for part in [*parts, "run.toml"]:
        assert part in str(caught.value)


def test_diversity_names_become_weights():
    overrides = {
        "spectral": {},
        "descriptors": [{"name": "elevation", "source": ["e.tif"]}],
        "selection.weights": {"landcover": 0.25, "position": 0.5},
    }
    config = load_config(None, overrides)
    assert diversity_weights(["spectral", "landcover"], config) == {"spectral": 1.0, "landcover": 0.25}
    assert diversity_weights(["elevation"], config) == {"elevation": 1.0}
    for names, message in (
        (["beauty"], "'beauty' is unknown: known are climate, elevation, landcover, position, spectral"),
        ([], "name some of climate"),
    ):
        with pytest.raises(ConfigError, match=message):
            diversity_weights(names, config)
    with pytest.raises(ConfigError, match=r"needs a \[spectral\] table"):
        diversity_weights(["spectral"], load_config(None, {}))


def with_spectral(table, seed=11):
    """An atlas with spectral columns, some of them unknown."""
    rng = np.random.default_rng(seed)
    columns = {
        "entropy": rng.uniform(0, 5, table.num_rows),
        "texture": rng.uniform(0, 0.4, table.num_rows),
        "mean_B04": rng.uniform(0, 0.5, table.num_rows),
        "mean_B08": rng.uniform(0, 0.6, table.num_rows),
    }
    unknown = rng.random(table.num_rows) < 0.1
    for name, values in columns.items():
        table = table.append_column(f"spectral_{name}", pa.array(np.where(unknown, np.nan, values).astype(np.float32)))
    return table


def test_distances_along_the_spectral_axis_are_those_documented():
    settings = small_world.config(
        spectral={"bands": ["B04", "B08"], "scale": 2.0}, selection={"weights": {"spectral": 3.0}}
    )
    population = population_of(with_spectral(small_world.atlas()), settings, small_world.LEGENDS)
    features = features_of(population, settings, small_world.LEGENDS)
    table = population.table.to_pandas()
    names = ["spectral_entropy", "spectral_texture", "spectral_mean_B04", "spectral_mean_B08"]
    values = table[names].fillna(table[names].median()).to_numpy(np.float64)
    units = 2.0 * np.array([1.0, 0.1, 0.1 * np.sqrt(2), 0.1 * np.sqrt(2)])
    unknown = np.flatnonzero(table["spectral_entropy"].isna())
    assert unknown.size
    for i, j in ((0, 1), (5, 77), (int(unknown[0]), 3)):
        expected = np.sqrt(3.0 * (((values[i] - values[j]) / units) ** 2).sum())
        difference = features.values[i].astype(np.int64) - features.values[j]
        assert np.sqrt((difference**2).sum()) / features.scale == pytest.approx(expected, abs=4 / features.scale)


def test_an_atlas_without_the_columns_says_so():
    settings = small_world.config(spectral={"bands": ["B04"]}, selection={"weights": {"spectral": 1.0}})
    with pytest.raises(AtlasError, match="no column 'spectral_entropy'"):
        features_of(small_world.population(settings), settings, small_world.LEGENDS)


def test_selection_along_the_spectral_axis_spreads_over_it():
    spectral = {"bands": ["B04", "B08"]}
    table = with_spectral(small_world.atlas())
    spread = {}
    for axes in (["spectral"], ["landcover"]):
        settings = small_world.config(n=200, spectral=spectral)
        weights = diversity_weights(axes, settings)
        settings = small_world.config(n=200, spectral=spectral, selection={"weights": weights})
        population = population_of(table, settings, small_world.LEGENDS)
        manifest = draw(population, settings, small_world.LEGENDS, sources=small_world.SOURCES, workers=1)
        assert "spectral_entropy" in manifest.table.column_names
        spread[axes[0]] = float(np.nanstd(manifest.column("spectral_entropy")))
    assert spread["spectral"] > 1.05 * spread["landcover"]


# ---- the synthetic Earth --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes(earth, tmp_path_factory):
    """A copy of the small Earth with a few scenes of one granule."""
    root = tmp_path_factory.mktemp("sensed")
    shutil.copytree(earth.root, root, dirs_exist_ok=True)
    days = (Pass(day=194, orbit=0, cloud=0.05), Pass(day=206, orbit=0, platform="B", cloud=0.15))
    layout = replace(LAYOUTS["tiny"], name="few", climates=((43, 50),), sentinel2=days, sentinel1=(days[0],))
    return write_scenes(write_earth(root, "small", 0), layout)


def build_config(scenes, **spectral):
    root = scenes.root
    overrides = {
        "region": str(scenes.region),
        "n": 30,
        "landcover.stac.url": str(scenes.catalog),
        "climate.source": str(root / "koppen_geiger_0p1.tif"),
        "spectral": {"items": [str(scenes.items["sentinel-2-l2a"])], "decimation": 2, **spectral},
        "selection.weights": {"spectral": 1.0, "landcover": 0.5},
    }
    return load_config(None, overrides)


def test_the_synthetic_earth_from_its_catalogue_to_a_selection(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("CSMOE_CACHE", str(tmp_path / "cache"))
    runtime = pipeline.Runtime(workers=2)
    config = build_config(scenes)
    outputs = pipeline.Outputs.beside(tmp_path / "s.parquet", report=False)
    manifest = pipeline.build(config, outputs, runtime)
    assert len(manifest) == 30
    atlas = read_atlas(outputs.atlas).to_pandas()
    assert atlas["spectral_entropy"].notna().mean() > 0.95
    mixed, pure = (atlas[atlas["landcover_entropy"].rank(pct=True).between(*edges)] for edges in ((0.8, 1), (0, 0.2)))
    assert mixed["spectral_entropy"].mean() > pure["spectral_entropy"].mean() + 0.2
    assert atlas["spectral_mean_B08"].mean() > 1.5 * atlas["spectral_mean_B04"].mean()
    # Anew from the items of the static catalogue, and by other workers: the same columns.
    other = build_config(scenes, items=[], url=str(scenes.catalog))
    again = pipeline.describe(other, tmp_path / "again", pipeline.Runtime(workers=1))
    assert read_atlas(again.path).equals(read_atlas(outputs.atlas))


def test_a_catalogue_on_the_network_is_asked_once(scenes, tmp_path):
    tiles = tiles_of(str(scenes.region), GRID)
    local = open_spectral(build_config(scenes).spectral, GRID, tiles, tmp_path / "unused").describe(GRID, tiles)
    with serve_files(scenes.root) as server:
        config = build_config(scenes, items=[], url=f"{server.url}/{scenes.catalog.name}")
        first = open_spectral(config.spectral, GRID, tiles, tmp_path / "journal")
        asked = len(server.requests)
        again = open_spectral(config.spectral, GRID, tiles, tmp_path / "journal")
        assert len(server.requests) == asked > 0
        assert again.provenance() == first.provenance()
        assert same(pickle.loads(pickle.dumps(again)).describe(GRID, tiles), local)
    assert not (tmp_path / "unused").exists()


def test_a_catalogue_without_clear_scenes_says_so(scenes, tmp_path):
    config = build_config(scenes, start="2020-01-01", end="2020-02-01")
    with pytest.raises(CatalogError, match=r"widen spectral\.start and spectral\.end"):
        open_spectral(config.spectral, GRID, tiles_of(str(scenes.region), GRID), tmp_path)
