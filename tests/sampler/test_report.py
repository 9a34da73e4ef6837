"""The report: its numbers against plain loops, its page in a real browser."""

import dataclasses
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser
from scipy.spatial.distance import cdist

from browser import launched_chromium, opened_page
from csmoe_sampler.config import load_config
from csmoe_sampler.errors import ManifestError
from csmoe_sampler.manifest import Manifest, read_manifest, write_manifest
from csmoe_sampler.population import Population, features_of
from csmoe_sampler.report import ReportData, render_page, summarise, write_report
from csmoe_sampler.report.comparison import prefix_sizes
from csmoe_sampler.report.mapimages import density_images, split_images
from csmoe_sampler.report.maps import draw_layers, frame_for
from csmoe_sampler.report.markup import Markup, element, escape
from csmoe_sampler.report.methods import methods_text
from csmoe_sampler.report.png import encode_png
from csmoe_sampler.report.projection import Projection, projection_for
from csmoe_sampler.report.quantities import compact, count, number, percent, ratio, with_unit
from sampler.small_world import GRID, LEGENDS, config, drawn, population

SECTIONS = ["map", "matrix", "balance", "allocation", "diversity", "prefixes", "weights", "methods", "provenance"]
SPHERE = 6378137.0


@pytest.fixture(scope="module")
def people() -> Population:
    return population(config())


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return drawn(config())


@pytest.fixture(scope="module")
def rows(manifest, people) -> np.ndarray:
    return np.searchsorted(people.tiles, GRID.parse(manifest.column("tile_id").astype(str)))


@pytest.fixture(scope="module")
def data(manifest, people) -> ReportData:
    return summarise(manifest, people)


@pytest.fixture(scope="module")
def page(data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(data, path)
    return path


# ---- the numbers ------------------------------------------------------------


def test_the_matrix_counts_tiles(data, people, rows):
    matrix = data.matrix
    climates, covers = LEGENDS["climate"].labels, LEGENDS["landcover"].labels
    quota = {stratum.name: stratum.quota for stratum in data.strata}
    for i, climate in enumerate(matrix.climates):
        for j, cover in enumerate(matrix.landcovers):
            inside = (people.climate == climates.index(climate.label)) & (people.landcover == covers.index(cover.label))
            assert matrix.population[i, j] == inside.sum()
            assert matrix.sample[i, j] == inside[rows].sum()
            strata = people.strata.of_tile[inside]
            target = sum(quota[people.strata.labels[h]] / people.strata.size[h] for h in strata.tolist())
            assert matrix.target[i, j] == pytest.approx(target)
    assert matrix.population.sum() == len(people)
    assert matrix.target.sum() == pytest.approx(600)
    assert matrix.sample.sum() == 600
    assert (matrix.climates[0].color, matrix.climates[0].label) == ("#0000ff", "Af")


def test_balance_compares_shares(data, people, rows, manifest):
    climate, cover = data.climate, data.landcover
    for balance in (climate, cover):
        for shares in (balance.population, balance.sample, balance.weighted):
            assert shares.sum() == pytest.approx(1)
    weight = manifest.column("weight")
    for k, category in enumerate(climate.categories):
        of = people.climate == LEGENDS["climate"].labels.index(category.label)
        assert climate.population[k] == pytest.approx(of.mean())
        assert climate.sample[k] == pytest.approx(of[rows].mean())
        assert climate.weighted[k] == pytest.approx(weight[of[rows]].sum() / weight.sum())
    valid = people.table["landcover_valid"].to_numpy().astype(float)
    for k, category in enumerate(cover.categories):
        share = people.table[f"landcover_{category.label}"].to_numpy().astype(float)
        assert cover.population[k] == pytest.approx((share * valid).sum() / valid.sum(), rel=1e-5)
        expected = (share * valid)[rows] @ weight / (valid[rows] @ weight)
        assert cover.weighted[k] == pytest.approx(expected, rel=1e-5)


def test_weights_and_splits(data, manifest):
    weight = manifest.column("weight")
    assert (data.weights.minimum, data.weights.maximum) == (weight.min(), weight.max())
    assert data.weights.median == np.median(weight)
    assert data.weights.total == pytest.approx(data.num_candidates)
    assert data.weights.effective == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    assert data.weights.counts.sum() == 600
    split = manifest.column("split")
    assert data.splits.rows == tuple(int((split == name).sum()) for name in data.splits.names)
    geod = pyproj.Geod(a=SPHERE, b=SPHERE)
    lon, lat = manifest.column("lon"), manifest.column("lat")
    for one, two, distance in data.splits.distances_km:
        here, there = np.flatnonzero(split == one), np.flatnonzero(split == two)
        pairs = np.array([(a, b) for a in here for b in there])
        nearest = geod.inv(lon[pairs[:, 0]], lat[pairs[:, 0]], lon[pairs[:, 1]], lat[pairs[:, 1]])[2].min() / 1000
        assert distance == pytest.approx(nearest, rel=1e-6)
        assert distance >= data.splits.buffer_km


def test_coverage_is_measured_in_descriptor_distance(data, people, rows):
    features = features_of(people, config(), LEGENDS)
    values = features.values.astype(float)
    nearest = np.concatenate([cdist(part, values[rows]).min(axis=1) for part in np.array_split(values, 20)])
    measures = {measure.title: measure.values for measure in data.comparison.measures}
    assert len(people) > 10_000, "otherwise all tiles would be measured"
    assert measures["Coverage radius"][0] <= nearest.max() / features.scale
    assert measures["Mean distance"][0] == pytest.approx(nearest.mean() / features.scale, rel=0.01)
    assert data.comparison.methods == ("this sample", "proportional", "random")
    assert measures["Coverage radius"][0] < measures["Coverage radius"][2]
    assert measures["Strata reached"][0] == 100
    assert "10 000 candidates drawn at random" in data.comparison.note.replace("\u202f", " ")


def test_prefixes(data):
    curve = data.prefixes
    assert curve.sizes == (20, 50, 100, 200, 500, 600)
    assert list(curve.radius) == sorted(curve.radius, reverse=True)
    assert max(curve.deviation) < 1
    assert curve.deviation[-1] == 0
    assert curve.radius[-1] == data.comparison.measures[0].values[0]


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(1, (1,)), (10, (10,)), (11, (10, 11)), (500_000, (10_000, 20_000, 50_000, 100_000, 200_000, 500_000))],
)
def test_prefix_sizes(n, sizes):
    assert prefix_sizes(n) == sizes


def test_the_page_of_the_file_is_the_page_of_the_draw(data, manifest, people, tmp_path):
    write_manifest(manifest.table, manifest.metadata, tmp_path / "out.parquet")
    assert render_page(summarise(read_manifest(tmp_path / "out.parquet"), people)) == render_page(data)


def test_a_manifest_of_another_atlas_is_refused(manifest, people):
    other = population(config(candidates={"min_land_share": 0.9}))
    assert len(other) < len(people)
    with pytest.raises(ManifestError, match="are no candidates of this atlas"):
        summarise(manifest, other)


@pytest.mark.parametrize("objective", ["spread", "random", "proportional"])
def test_every_objective_has_a_methods_text(objective):
    settings = config(n=90, selection__objective=objective)
    data = summarise(drawn(settings), population(settings))
    text = " ".join(methods_text(data))
    assert {"spread": "local pivotal", "random": "simple random", "proportional": "in proportion to their size"}[
        objective
    ] in text
    assert "known probability" in text


def test_the_methods_say_the_numbers(data):
    text = " ".join(methods_text(data)).replace("\u202f", " ")
    for words in (
        "spacing of 200 km",
        "“small world”",
        "Of 12 877 described tiles, the 10 328 of which at least 10 % is valid",
        "fewer than 25 tiles was pooled",
        "The sample of 600 tiles",
        "to the power 0.5",
        "farthest-first",
        "climate 0.5, landcover 1, position 0.5",
        "the seed 3",
        "blocks of 1000 km",
        "nearer than 350 km",
    ):
        assert words in text, words


def test_the_configuration_on_the_page_is_the_one_used(data, tmp_path):
    (tmp_path / "run.toml").write_text(data.config_toml)
    assert load_config(tmp_path / "run.toml", {}).digest() == data.metadata["config_digest"]


# ---- maps ------------------------------------------------------------


@given(st.floats(-179.9, 179.9), st.floats(-89.9, 89.9))
def test_projections_agree_with_proj(lon, lat):
    for projection, definition in (
        (Projection(), "+proj=eqearth"),
        (Projection(centre_lon=25.0, is_global=False), "+proj=sinu +lon_0=25"),
    ):
        expected = pyproj.Proj(f"{definition} +R={SPHERE}")(lon, lat)
        found = projection.forward(np.array([lon]), np.array([lat]))
        assert np.allclose(np.ravel(found) * SPHERE, expected, atol=0.01)


@pytest.mark.parametrize(
    ("lon", "expected"),
    [
        ([-120.0, 30.0, 100.0], Projection()),
        ([2.0, 7.5], Projection(centre_lon=5.0, is_global=False)),
        ([177.0, -178.5], Projection(centre_lon=179.5, is_global=False)),
        ([-180.0], Projection(centre_lon=-179.5, is_global=False)),
        ([], Projection()),
    ],
)
def test_a_region_has_its_own_central_meridian(lon, expected):
    assert projection_for(np.array(lon)) == expected


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        ((-180, 179), (-80, 80)),
        ((5, 12), (45, 50)),
        ((176, 183), (-20, -15)),
        ((20, 20.1), (-3, -2.9)),
        ((-60, 100), (60, 84)),
    ],
)
def test_everything_is_on_the_map(lon, lat):
    points = np.meshgrid(np.linspace(*lon, 40), np.linspace(*lat, 30))
    lons, lats = ((points[0].ravel() + 180) % 360 - 180, points[1].ravel())
    frame = frame_for(lons, lats, 10.0)
    column, row = frame.pixels(lons, lats)
    assert column.min() >= 0
    assert row.min() >= 0
    assert column.max() < frame.width <= 1600
    assert row.max() < frame.height <= 1600


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_sample_in_the_west_is_drawn_in_the_west():
    grid = GRID.in_box(-20, 20, 10.0, 60.0)
    lon, lat = GRID.centre(grid)
    west = lon < 30
    split = np.where(lat[west] > 0, 1, 0).astype(np.int16)
    layers = draw_layers((lon, lat), (lon[west], lat[west]), split, num_splits=2, tile_km=200.0)
    assert layers.land.shape == layers.density.shape == layers.dots.shape == (layers.frame.height, layers.frame.width)
    column, row = (np.floor(pixel).astype(int) for pixel in layers.frame.pixels(lon, lat))
    assert (layers.land[row, column] == 1).all()
    assert (layers.dots[row[west], column[west]] == split).all()
    assert (layers.dots[row[~west], column[~west]] == -1).all()
    far = lon > 45
    assert layers.density[row[lon < 20], column[lon < 20]].mean() > 0.9
    assert layers.density[row[far], column[far]].max() < 0.05
    for images in (density_images(layers, 1.0), split_images(layers, ("train", "test"))):
        with rasterio.MemoryFile(images["light"]) as file, file.open() as image:
            assert image.shape == layers.land.shape
            palette, index = image.colormap(1), image.read(1)
            for k in range(0, len(lon), 11):
                drawn_tile = palette[index[row[k], column[k]]]
                assert drawn_tile[3] == 255
            assert palette[index[0, 0]][3] == 0


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@given(st.integers(1, 9), st.integers(1, 7), st.randoms(use_true_random=False))
def test_png_files_are_read_back(height, width, random):
    index = np.array([random.randrange(256) for _ in range(height * width)], np.uint8).reshape(height, width)
    palette = np.array([random.randrange(256) for _ in range(1024)], np.uint8).reshape(256, 4)
    with rasterio.MemoryFile(encode_png(index, palette)) as file, file.open() as image:
        assert (image.read(1) == index).all()
        assert {k: tuple(color) for k, color in enumerate(palette.tolist())} == image.colormap(1)


# ---- text ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (count(1234567), "1 234 567"),
        (count(0.4), "0"),
        (compact(950), "950"),
        (compact(12345), "12.3k"),
        (compact(999_600), "1.00M"),
        (compact(1_840_000), "1.84M"),
        (number(0.012345), "0.0123"),
        (number(12345.6), "12 346"),
        (number(float("nan")), "n/a"),
        (number(0), "0"),
        (percent(0.1234), "12.3 %"),
        (percent(0.0001), "< 0.1 %"),
        (percent(0), "0.0 %"),
        (ratio(1.236), "×1.24"),
        (ratio(0.0441), "×0.044"),
        (ratio(float("inf")), "n/a"),
        (with_unit(20.3, "km"), "20.3 km"),
        (with_unit(7, ""), "7"),
    ],
)
def test_quantities(text, expected):
    assert text.replace("\u202f", " ") == expected


@given(st.text())
def test_text_is_escaped_and_markup_is_not(text):
    inside = element("b", text, title=text, hidden=True, class_=None)
    assert not re.search(r"<(?!b |/b>)", inside)
    assert escape(inside) is inside
    assert isinstance(element("p", inside), Markup)
    assert element("p", inside) == f"<p>{inside}</p>"


class Checker(HTMLParser):
    """Every element that is opened is closed, in order."""

    void = frozenset({"meta", "link", "img", "source", "br", "col", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        assert not any(name.startswith("on") for name in names)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page):
    text = page.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.scripts == 1
    assert len(text) < 3_000_000
    assert re.findall(r'<section id="(\w+)"', text) == SECTIONS


def test_what_users_write_cannot_become_markup(data):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    metadata = {
        **data.metadata,
        "region": evil,
        "notes": [evil],
        "sources": {evil: {evil: evil}},
        "config": {**data.metadata["config"], "region": evil},
    }
    strata = tuple(dataclasses.replace(stratum, name=evil, reason=evil) for stratum in data.strata)
    text = render_page(dataclasses.replace(data, metadata=metadata, strata=strata, config_toml=evil))
    checker = Checker()
    checker.feed(text)
    assert checker.scripts == 1
    assert text.count("&lt;script&gt;alert(1)") > 10


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
        assert opened.page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth)") == [1600, 1600]
        for name in SECTIONS:
            assert opened.page.locator(f"section#{name} h2").is_visible(), name
        assert opened.complaints == []
        assert opened.requests == []
        dark = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(14, 19, 18)") == (scheme == "dark")


def test_text_stands_out_from_its_ground(chromium, page):
    """The contrast of WCAG 2.1, level AA, for text of the page's own colours."""
    script = """() => {
      const rgb = c => c.match(/[\\d.]+/g).map(Number);
      const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                           return .2126 * r + .7152 * g + .0722 * b; };
      const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
                              if (c.startsWith('rgb(')) return rgb(c); } return [255, 255, 255]; };
      const low = [];
      for (const e of document.querySelectorAll('p, th, td, dt, dd, li, a, h1, h2, h3, small, summary, button, code')) {
        const color = getComputedStyle(e).color;
        if (!e.textContent.trim() || !color.startsWith('rgb(') || e.closest('.heat')) continue;
        const [one, two] = [light(rgb(color)), light(ground(e))].sort((a, b) => b - a);
        if ((one + .05) / (two + .05) < 4.5) low.push(e.tagName + ' ' + e.textContent.slice(0, 40) + ' ' + color);
      }
      return low;
    }"""
    for scheme in ("light", "dark"):
        with opened_page(chromium, page, scheme=scheme) as opened:
            assert opened.page.evaluate(script) == []


def test_the_allocation_table_unfolds_and_sorts(chromium, page, data):
    with opened_page(chromium, page) as opened:
        table = opened.page.locator("#allocation table")
        visible = "rows => rows.filter(row => !row.hidden).map(row => Number(row.cells[1].dataset.value))"
        lines = table.locator("tbody tr")
        assert len(lines.evaluate_all(visible)) == 12
        candidates = table.get_by_role("button", name="Candidates")
        candidates.click()
        sizes = sorted((stratum.size for stratum in data.strata), reverse=True)
        assert lines.evaluate_all(visible) == sizes[:12]
        assert table.locator("th[aria-sort=descending]").inner_text().startswith("Candidates")
        candidates.click()
        assert lines.evaluate_all(visible) == sizes[::-1][:12]
        opened.page.get_by_role("button", name=f"Show all {len(sizes)} strata").click()
        assert lines.evaluate_all(visible) == sizes[::-1]
        table.get_by_role("button", name="Stratum").click()
        names = lines.evaluate_all("rows => rows.map(row => row.cells[0].textContent)")
        assert names == sorted(stratum.name for stratum in data.strata)
        assert table.locator("th[aria-sort=ascending]").count() == 1


def test_the_matrix_tells_its_numbers(chromium, page, data):
    matrix = data.matrix
    i, j = (int(k[0]) for k in np.nonzero(matrix.population))
    said = f"{matrix.climates[i].title} × {matrix.landcovers[j].title}: {count(matrix.sample[i, j])} drawn"
    with opened_page(chromium, page) as opened:
        readout = opened.page.locator("#matrix .readout")
        cells = opened.page.locator(".heat tbody td:not(.none)")
        cells.first.hover()
        assert readout.inner_text().startswith(said)
        cells.first.focus()
        opened.page.keyboard.press("ArrowDown")
        assert readout.inner_text() != said
        assert opened.page.evaluate("document.activeElement.matches('.heat tbody td')")
        opened.page.get_by_role("button", name="Population", exact=True).click()
        shown = cells.first.evaluate("cell => getComputedStyle(cell, '::after').content")
        assert shown.strip('"') == compact(matrix.population[i, j])
        assert opened.page.get_by_role("button", name="Population", exact=True).get_attribute("aria-pressed") == "true"


def test_the_page_reads_without_scripts(chromium, page):
    context = chromium.new_context(java_script_enabled=False)
    try:
        tab = context.new_page()
        tab.goto(page.resolve().as_uri())
        assert tab.locator("#allocation tbody tr").count() == tab.locator("#allocation tbody tr:visible").count() > 12
        tab.locator("#matrix summary").click()
        assert tab.locator("#matrix .plain tbody tr").first.is_visible()
    finally:
        context.close()
