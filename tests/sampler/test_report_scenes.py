"""The report's sections on scenes and chips: their numbers against plain loops, their pictures in a real browser."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from browser import launched_chromium, opened_page
from csmoe_sampler.chips.pictures import false_color, true_color
from csmoe_sampler.config import SceneConfig
from csmoe_sampler.errors import ChipError, ManifestError
from csmoe_sampler.manifest import Manifest, read_manifest, write_manifest
from csmoe_sampler.population import Population
from csmoe_sampler.report import ReportData, render_page, summarise, write_report
from csmoe_sampler.report.png import encode_rgba
from csmoe_sampler.report.scene_numbers import summarise_scenes
from csmoe_sampler.scenes.table import choice_schema
from sampler.chip_files import encoded, write_store
from sampler.real_chips import L2A, WITH_OFFSET, Chip, terramesh
from sampler.small_world import config, drawn, population

NUM = 80
NUM_CHIPS = 25
EDGE_PX = 96
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
UNFILLED = [
    {"stratum": "Af × mangroves", "quota": 7, "taken": 5, "missing": 2, "reason": "no Sentinel-1 within 15 days"}
]


def with_scenes(manifest: Manifest, seasons: tuple[str, ...] = ("year",)) -> Manifest:
    """Made-up scenes for all but some rows."""
    random = np.random.default_rng(11)
    num = len(manifest)
    start = datetime(2021, 1, 1, 10, tzinfo=UTC)
    texts = {
        "platform": {"s2": ["sentinel-2a", "sentinel-2b"], "s1": ["sentinel-1a"]},
        "orbit": {"s2": ["descending"], "s1": ["ascending", "descending"]},
    }
    columns = {}
    for field in choice_schema(seasons, ("s2", "s1")):
        sensor, _, rest = field.name.partition("_")
        name = next((n for n in ("relative_orbit", "cloud_cover") if rest.startswith(n)), rest.split("_")[0])
        missing = random.random(num) < 0.05
        if name == "datetime":
            values = [start + timedelta(days=int(day)) for day in random.integers(0, 365, num)]
        elif name in texts:
            values = random.choice(texts[name][sensor], num).tolist()
        elif name == "baseline":
            values = random.choice(["03.01", "05.10"], num).tolist()
        elif name == "relative_orbit":
            values = random.integers(1, 30, num).astype(np.int32).tolist()
        elif name == "cloud_cover":
            values = random.exponential(4.0, num).tolist()
        elif field.name.startswith("dt_days"):
            values = random.normal(0, 3, num).tolist()
        elif field.type == pa.float32():
            values = random.random(num).tolist()
        else:
            values = [f"{name}_{k}" for k in range(num)]
        columns[field.name] = pa.array(
            [None if gone else v for gone, v in zip(missing, values, strict=True)], field.type
        )
    scenes = SceneConfig(seasons=seasons)
    about = {"config": scenes.portable(), "config_digest": scenes.digest(), "redrawn": 13, "unfilled": UNFILLED}
    paired = manifest.with_columns(columns)
    return Manifest(table=paired.table, metadata={**paired.metadata, "scenes": about})


@pytest.fixture(scope="module")
def people() -> Population:
    return population(config(n=NUM))


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return with_scenes(drawn(config(n=NUM)))


@pytest.fixture(scope="module")
def chips(shared_data) -> list[Chip]:
    """One for each of the first rows: real ones, cut and turned so that no two are alike."""
    sound = [chip for chip in terramesh(shared_data) if chip.name != WITH_OFFSET]
    found = []
    for k in range(NUM_CHIPS):
        whole = sound[k % 2]
        cut = (slice(None), slice(k % 90, k % 90 + EDGE_PX), slice((7 * k) % 90, (7 * k) % 90 + EDGE_PX))
        s2 = np.rot90(whole.s2[cut], k % 4, (1, 2)).copy()
        if k == 3:
            s2[:, :30, :50] = np.nan
        found.append(Chip(f"{k}", s2, L2A, np.rot90(whole.s1[cut], k % 4, (1, 2))))
    return found


@pytest.fixture(scope="module")
def store(chips, manifest, tmp_path_factory) -> Path:
    tiles = manifest.column("tile_id").tolist()[: NUM_CHIPS + 5]
    return write_store(tmp_path_factory.mktemp("chips") / "chips.zarr", chips, failed=5, tile_ids=tiles)


@pytest.fixture(scope="module")
def data(manifest, people, store) -> ReportData:
    return summarise(manifest, people, None, store)


@pytest.fixture(scope="module")
def page(data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(data, path)
    return path


# ---- scenes ------------------------------------------------------------


def counts_of(data, title: str, note: str = "") -> dict[str, int]:
    (found,) = [c for c in data.scenes.distributions if c.title == title and c.note.startswith(note)]
    return dict(zip(found.labels, found.counts, strict=True))


def test_scenes_are_counted(data, manifest):
    values = {name: manifest.table[name].to_pylist() for name in manifest.table.column_names}
    known = {name: [value for value in column if value is not None] for name, column in values.items()}
    assert data.scenes.provider == "planetary-computer"
    assert data.scenes.window == "2021-01-01 to 2021-12-31"
    assert data.scenes.seasons == (("year", len(known["s2_item"])),)
    assert data.scenes.redrawn == 13
    assert counts_of(data, "Processing baseline") == Counter(known["s2_baseline"])
    assert counts_of(data, "Platform", "Sentinel-2") == Counter(known["s2_platform"])
    assert counts_of(data, "Orbit") == Counter(known["s1_orbit"])
    months = counts_of(data, "Month")
    assert list(months.values()) == [sum(t.month == m for t in known["s2_datetime"]) for m in range(1, 13)]
    cloud = counts_of(data, "Cloud cover")
    assert cloud["1–2\u202f%"] == sum(1 <= c < 2 for c in known["s2_cloud_cover"])
    assert sum(cloud.values()) == len(known["s2_cloud_cover"])
    apart = counts_of(data, "Time apart")
    assert apart["0.5–1\u202fdays"] == sum(0.5 <= abs(d) < 1 for d in known["dt_days"])
    assert sum(apart.values()) == len(known["dt_days"])
    orbits = counts_of(data, "Relative orbit")
    assert len(orbits) == 9
    assert sum(orbits.values()) == len(known["s1_relative_orbit"])
    assert max(Counter(known["s1_relative_orbit"]).values()) in orbits.values()
    assert [dataclasses.asdict(line) for line in data.scenes.unfilled] == [
        {key: value for key, value in UNFILLED[0].items() if key != "missing"}
    ]


def test_seasons_are_pooled(people):
    paired = with_scenes(drawn(config(n=NUM)), ("summer", "winter"))
    scenes = summarise_scenes(paired)
    names = [f"s2_item_{season}" for season in ("summer", "winter")]
    assert scenes.seasons == tuple((name.rpartition("_")[2], NUM - paired.table[name].null_count) for name in names)
    baseline = next(c for c in scenes.distributions if c.title == "Processing baseline")
    assert sum(baseline.counts) == sum(
        2 * NUM - 2 * NUM + NUM - paired.table[f"s2_baseline_{s}"].null_count for s in ("summer", "winter")
    )
    text = render_page(summarise(paired, people))
    assert re.search(r"these have scenes: \d+ in summer, \d+ in winter, from planetary-computer", text)


def test_scenes_of_an_unknown_origin(people):
    paired = with_scenes(drawn(config(n=NUM)))
    metadata = {key: value for key, value in paired.metadata.items() if key != "scenes"}
    few = paired.table.drop_columns(["s1_relative_orbit", "dt_days"])
    scenes = summarise_scenes(Manifest(table=few, metadata=metadata))
    assert (scenes.provider, scenes.window, scenes.redrawn, scenes.unfilled) == ("unknown", "", 0, ())
    assert "Time apart" not in {counts.title for counts in scenes.distributions}


def test_sections_are_absent_where_there_is_nothing(people):
    text = render_page(summarise(drawn(config(n=NUM)), people))
    for name in ("scenes", "chips"):
        assert f'<section id="{name}"' not in text
        assert f'href="#{name}"' not in text


def test_the_page_of_the_file_is_the_page_of_the_pairing(data, manifest, people, store, tmp_path):
    write_manifest(manifest.table, manifest.metadata, tmp_path / "out.parquet")
    assert render_page(summarise(read_manifest(tmp_path / "out.parquet"), people, None, store)) == render_page(data)


# ---- chips ------------------------------------------------------------


def test_bands_are_measured(data, chips):
    assert (data.chips.num_fetched, data.chips.num_measured, data.chips.num_rows) == (25, 25, 30)
    lines = {(line.sensor, line.band): line for line in data.chips.bands}
    assert list(lines) == [*(("s2", band) for band in L2A), ("s1", "VV"), ("s1", "VH")]
    values = np.concatenate([chip.s2[7].ravel() for chip in chips])
    assert lines["s2", "B08"].mean == pytest.approx(np.nanmean(values) / 10_000, rel=1e-4)
    assert lines["s2", "B08"].unit == "reflectance"
    assert lines["s2", "B08"].valid_share == pytest.approx(np.isfinite(values).mean())
    backscatter = np.concatenate([chip.s1[1].ravel() for chip in chips])
    assert lines["s1", "VH"].mean == pytest.approx(backscatter.mean(), abs=0.01)
    assert lines["s1", "VH"].std == pytest.approx(backscatter.std(), abs=0.01)
    assert lines["s1", "VH"].unit == "dB"
    assert data.chips.findings == ()


def test_pictures_are_spread_and_show_the_chips(data, chips, manifest):
    pictures = data.chips.pictures
    assert len(pictures) == 10
    ranks = [picture.rank for picture in pictures]
    assert ranks == sorted(set(ranks))
    assert ranks[-1] >= 22
    strata = manifest.column("stratum")
    assert len({strata[rank] for rank in ranks}) == 10
    for picture in pictures:
        assert picture.tile_id == manifest.column("tile_id")[picture.rank]
        assert picture.landcover.label == manifest.column("landcover")[picture.rank]
        chip = chips[picture.rank]
        expected = true_color(encoded(chip)["s2"] / np.float32(10_000), L2A)
        assert np.abs(decoded(picture.optical)[..., :3].astype(int) - expected[..., :3]).max() <= 4
        expected = false_color(chip.s1.astype(np.float16).astype(np.float32), ("VV", "VH"))
        assert np.abs(decoded(picture.radar)[..., :3].astype(int) - expected[..., :3]).max() <= 4
    day = datetime(2021, 6, 1, tzinfo=UTC) + timedelta(days=5 * ranks[1])
    assert pictures[1].s2_date == f"{day:%Y-%m-%d}"
    assert pictures[1].s1_date == f"{day - timedelta(days=1):%Y-%m-%d}"


def test_failures_and_findings_are_listed(chips, manifest, people, tmp_path):
    tiles = manifest.column("tile_id").tolist()
    mutated = [dataclasses.replace(chip, s1=chip.s1[::-1]) for chip in chips[:9]]
    store = write_store(tmp_path / "chips.zarr", mutated, failed=2, tile_ids=tiles[:11])
    found = summarise(manifest, people, None, store)
    assert found.chips.failures == tuple((tile, "s2 S2B_lost: HTTP 404") for tile in tiles[9:11])
    assert [text.split(";")[0] for text in found.chips.findings] == [
        f"s1: swapped in 9 of 9 chips looked at (first {tiles[0]}"
    ]
    text = render_page(found)
    assert "exchange the names of VV and VH." in text
    assert "9 of 11 tiles have a chip of 96 × 96 pixels of 10 m, 0.960 km wide." in text
    nothing = write_store(tmp_path / "none.zarr", mutated, fetched=0, tile_ids=tiles[:9])
    text = render_page(summarise(manifest, people, None, nothing))
    assert "0 of 9 tiles have a chip" in text
    assert "Bands</h3>" not in text


def test_chips_of_seasons_take_turns(chips, manifest, people, tmp_path):
    tiles = manifest.column("tile_id").tolist()[:4]
    seasons = {"summer": chips[:4], "winter": chips[4:8]}
    store = write_store(tmp_path / "chips.zarr", chips[:4], seasons=seasons, tile_ids=tiles)
    found = summarise(manifest, people, None, store).chips
    assert [picture.season for picture in found.pictures] == ["summer", "winter"] * 2
    expected = true_color(encoded(chips[5])["s2"] / np.float32(10_000), L2A)
    assert np.abs(decoded(found.pictures[1].optical)[..., :3].astype(int) - expected[..., :3]).max() <= 4


def test_large_chips_are_shown_smaller(shared_data, manifest, people, tmp_path):
    chip = terramesh(shared_data)[0]
    large = Chip("large", np.tile(chip.s2, (1, 3, 3)), L2A, np.tile(chip.s1, (1, 3, 3)))
    store = write_store(tmp_path / "chips.zarr", [large], tile_ids=manifest.column("tile_id")[:1].tolist())
    (picture,) = summarise(manifest, people, None, store).chips.pictures
    assert decoded(picture.optical).shape == (224, 224, 3)


def test_chips_of_another_manifest_are_refused(chips, manifest, people, tmp_path):
    store = write_store(tmp_path / "chips.zarr", chips[:3])
    with pytest.raises(ManifestError, match="are not those of the chip store"):
        summarise(manifest, people, None, store)
    with pytest.raises(ChipError, match="no such store"):
        summarise(manifest, people, None, tmp_path / "nothing.zarr")


# ---- pictures ------------------------------------------------------------


def decoded(png: bytes) -> np.ndarray:
    """(H, W, 3 or 4) as GDAL reads it."""
    with rasterio.MemoryFile(png) as file, file.open() as image:
        return np.moveaxis(image.read(), 0, -1)


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 2**32 - 1), st.booleans())
def test_png_files_in_true_colour_are_read_back(height, width, seed, opaque):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    if opaque:
        picture[..., 3] = 255
    found = decoded(encode_rgba(picture))
    assert np.array_equal(found, picture[..., : found.shape[-1]])
    assert found.shape[-1] == (3 if (picture[..., 3] == 255).all() else 4)


def test_true_colour():
    reflectance = np.zeros((12, 2, 3), np.float32)
    reflectance[3], reflectance[2], reflectance[1] = 0.3, 0.15, 0.0
    reflectance[3, 0, 0], reflectance[2, 1, 2] = np.nan, 0.9
    picture = true_color(reflectance, L2A)
    assert picture.shape == (2, 3, 4)
    assert picture[0, 0].tolist() == [0, 0, 0, 0], "transparent where invalid"
    assert picture[0, 1].tolist() == [255, round(255 * 0.5 ** (1 / 1.8)), 0, 255]
    assert picture[1, 2].tolist() == [255, 255, 0, 255]
    assert true_color(reflectance[3:4], ("B04",))[1, 1].tolist() == [255, 255, 255, 255], "one band is grey"


def test_a_percentile_stretch_shows_snow_and_shadow():
    random = np.random.default_rng(4)
    for low, high in ((0.7, 0.95), (0.01, 0.03)):
        bands = random.uniform(low, high, (3, 40, 50)).astype(np.float32)
        fixed, stretched = (true_color(bands, ("B04", "B03", "B02"), how)[..., :3] for how in ("fixed", "percentile"))
        assert np.ptp(fixed) < 60
        assert (stretched.min(), stretched.max()) == (0, 255)
    empty = np.full((3, 4, 5), np.nan, np.float32)
    assert not true_color(empty, ("B04", "B03", "B02"), "percentile").any()


def test_false_colour():
    db = np.array([[[-12.0, -22.0, np.nan]], [[-18.0, -36.0, -20.0]]], np.float32)
    picture = false_color(db, ("VV", "VH"))
    assert picture[0, 0].tolist() == [round(255 * 0.5), round(255 * 0.5), round(255 * 4 / 12), 255]
    assert picture[0, 1].tolist() == [0, 0, 255, 255]
    assert picture[0, 2, 3] == 0
    assert np.array_equal(false_color(db[::-1], ("VH", "VV")), picture)
    assert false_color(db[:1], ("VV",))[0, 0].tolist() == [128, 128, 128, 255]


# ---- in the browser ------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched_chromium() as browser:
        yield browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_asks_for_nothing(chromium, page, width, scheme):
    with opened_page(chromium, page, width=width, scheme=scheme) as opened:
        opened.page.wait_for_load_state("networkidle")
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width
        sizes = opened.page.evaluate("[...document.querySelectorAll('#chips img')].map(i => i.naturalWidth)")
        assert sizes == [EDGE_PX] * 20
        shown = opened.page.evaluate("[...document.querySelectorAll('#chips img')].map(i => [i.width, i.height])")
        assert all(w > 130 and abs(w - h) <= 1 for w, h in shown)
        for name in ("scenes", "chips"):
            assert opened.page.locator(f"section#{name} h2").is_visible()
            assert opened.page.locator(f"nav a[href='#{name}']").count() == 1
        assert opened.page.locator("#scenes .measure").count() == 8
        assert opened.page.locator("#chips table").count() == 2
        assert opened.complaints == []
        assert opened.requests == []


def test_pictures_are_embedded_whole(page, data):
    text = page.read_text(encoding="utf-8")
    for picture in data.chips.pictures:
        for png in (picture.optical, picture.radar):
            assert base64.b64encode(png).decode() in text
    assert len(text) < 8_000_000
