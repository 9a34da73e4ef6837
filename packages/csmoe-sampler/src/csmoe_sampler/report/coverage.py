"""Sections of the page on what the sample covers: headline numbers, maps, matrix, balance."""

from __future__ import annotations

import math

import numpy as np

from csmoe_sampler.report.data import Balance, Category, Matrix, Measure, ReportData
from csmoe_sampler.report.figures import color_scale, legend, paired_bars, picture, swatch
from csmoe_sampler.report.mapimages import RAMP, density_images, density_top, split_images
from csmoe_sampler.report.markup import Markup, element, join
from csmoe_sampler.report.quantities import THIN, compact, count, number, percent, ratio, setting
from csmoe_sampler.report.section import Section

_SCALE_STOPS = (0.0, 0.04, 0.16, 0.36, 0.64, 1.0)
"""Positions on the density scale that get a tick, as shares of its top."""


def headline(data: ReportData) -> Markup:
    """The six numbers that a reader takes home."""
    short = sum(stratum.taken < stratum.quota for stratum in data.strata)
    met = len(data.strata) - short
    radius, vendi = _measure(data, "Coverage radius"), _measure(data, "Vendi score")
    held_out = sum(
        rows for name, rows in zip(data.splits.names, data.splits.rows, strict=True) if name in ("validation", "test")
    )
    cards = (
        ("Tiles drawn", count(data.num_rows), f"{percent(data.num_rows / data.num_candidates)} of the candidates"),
        ("Strata at their quota", f"{met} of {len(data.strata)}", _short_of_target(data)),
        (
            radius.title,
            number(radius.values[0]),
            _beside_random(radius),
        ),
        (
            vendi.title,
            number(vendi.values[0]),
            _beside_random(vendi),
        ),
        (
            "Effective sample size",
            count(data.weights.effective),
            f"{percent(data.weights.effective / data.num_rows)} of the rows, after weighting",
        ),
        ("Held out", count(held_out), f"validation and test; {setting(data.splits.buffer_km)}{THIN}km buffer"),
    )
    items = [
        element("div", element("dt", title), element("dd", element("b", value), element("span", note)))
        for title, value, note in cards
    ]
    return element("dl", *items, class_="cards")


def _beside_random(measure: Measure) -> str:
    ours, random = measure.values[0], measure.values[-1]
    if not random:
        return "as of a random sample" if not ours else "0 for a random sample"
    return f"{percent(ours / random, 0)} of that of a random sample"


def _short_of_target(data: ReportData) -> str:
    held = sum(1 for stratum in data.strata if stratum.reason and stratum.taken < stratum.target)
    return f"{held} hold less than their target" if held else "none holds less than its target"


def _measure(data: ReportData, title: str) -> Measure:
    return next(measure for measure in data.comparison.measures if measure.title == title)


def map_section(data: ReportData) -> Section:
    """Density of the sample, and its splits."""
    layers = data.layers
    top = density_top(layers)
    ticks = [(math.sqrt(stop), percent(stop * top, 0 if stop * top >= 0.1 or not stop else 1)) for stop in _SCALE_STOPS]
    dots = " Every drawn tile is marked." if layers.draw_dots else ""
    density = element(
        "figure",
        picture(
            density_images(layers, top),
            f"Map of the share of candidate tiles drawn, from 0 to {percent(top, 0)}, over the candidates in grey.",
            layers.frame,
        ),
        color_scale(RAMP, ticks, "Share of the candidate tiles that were drawn"),
        element("figcaption", f"The share drawn among the candidates around each place.{dots}"),
    )
    names = [name for name, rows in zip(data.splits.names, data.splits.rows, strict=True) if rows]
    splits = element(
        "figure",
        picture(
            split_images(layers, data.splits.names),
            f"Map of the drawn tiles by split: {', '.join(names)}.",
            layers.frame,
        ),
        legend([(f"split-{name}", name) for name in names]),
        element("figcaption", "The same tiles by split. Whole blocks are held out, with a buffer around them."),
    )
    lead = (
        f"{count(data.num_rows)} tiles stand for {count(data.num_candidates)} candidates on land, "
        f"out of {count(data.num_described)} tiles described."
    )
    return Section("map", "Map", "Where the sample lies", lead, join((density, splits)))


def matrix_section(data: ReportData) -> Section:
    """Climate by land cover: population, target, drawn, and drawn over target."""
    matrix = data.matrix
    cells = int((matrix.population > 0).sum())
    reached = int((matrix.sample > 0).sum())
    lead = (
        f"{reached} of the {cells} combinations of climate and land cover that occur are in the sample. "
        "Rare combinations are drawn more densely than common ones, by the allocation below."
    )
    controls = element(
        "div",
        *[
            element("button", title, type="button", data_mode=mode, aria_pressed=pressed)
            for mode, title, pressed in (
                ("sample", "Drawn", "true"),
                ("target", "Target", "false"),
                ("population", "Population", "false"),
                ("ratio", "Drawn ÷ target", "false"),
            )
        ],
        class_="modes",
        role="group",
        aria_label="What the cells show",
    )
    readout = element(
        "p", "Point at a cell, or move with the arrow keys, for its numbers.", class_="readout", aria_live="polite"
    )
    scroll = element("div", _heat_table(matrix), class_="scroll", tabindex="0", role="region", aria_label="Heat map")
    fallback = element(
        "details",
        element("summary", f"All {cells} combinations as a table"),
        element("div", _plain_table(matrix), class_="scroll tall", tabindex="0", role="region", aria_label="Table"),
    )
    return Section("matrix", "Matrix", "Climate × land cover", lead, join((controls, readout, scroll, fallback)))


def _heat_table(matrix: Matrix) -> Markup:
    heads = [
        element("th", element("span", swatch(c.color), c.title), scope="col", title=c.title) for c in matrix.landcovers
    ]
    tops = {
        name: float(np.log1p(values.max())) or 1.0
        for name, values in (("s", matrix.sample), ("t", matrix.target), ("p", matrix.population))
    }
    rows = []
    for i, climate in enumerate(matrix.climates):
        cells = [_heat_cell(matrix, i, j, tops) for j in range(len(matrix.landcovers))]
        rows.append(element("tr", element("th", swatch(climate.color), climate.title, scope="row"), *cells))
    return element(
        "table",
        element("caption", "Tiles per climate and dominant land cover", class_="hidden"),
        element("thead", element("tr", element("td"), *heads)),
        element("tbody", *rows),
        class_="heat",
        data_mode="sample",
    )


def _heat_cell(matrix: Matrix, i: int, j: int, tops: dict[str, float]) -> Markup:
    population, target, sample = (int(matrix.population[i, j]), float(matrix.target[i, j]), int(matrix.sample[i, j]))
    if not population:
        return element("td", class_="none")
    quotient = sample / target if target > 0 else math.nan
    tilt = max(-1.0, min(1.0, math.log2(quotient) / 2.0)) if quotient > 0 else (-1.0 if target >= 0.5 else 0.0)
    levels = {
        "s": np.log1p(sample) / tops["s"],
        "t": np.log1p(target) / tops["t"],
        "p": np.log1p(population) / tops["p"],
        "r": tilt,
    }
    place = f"{matrix.climates[i].title} × {matrix.landcovers[j].title}"
    numbers = f"{count(sample)} drawn, target {number(target)}, of {count(population)} candidates"
    return element(
        "td",
        element("span", f"{place}: {numbers}", class_="hidden"),
        style=";".join(f"--{key}:{value:.3f}".replace("-0.000", "0") for key, value in levels.items()),
        data_sample=compact(sample),
        data_target=compact(round(target, 1)),
        data_population=compact(population),
        data_ratio=number(quotient, 2) if math.isfinite(quotient) else "–",
    )


def _plain_table(matrix: Matrix) -> Markup:
    head = ("Climate", "Land cover", "Candidates", "Target", "Drawn", "Drawn ÷ target", "Drawn ÷ candidates")
    rows = []
    for i, j in zip(*np.nonzero(matrix.population), strict=True):
        population, target, sample = matrix.population[i, j], matrix.target[i, j], matrix.sample[i, j]
        values = (
            count(population),
            number(target),
            count(sample),
            number(sample / target, 2) if target > 0 else "–",
            percent(sample / population),
        )
        names = (element("th", matrix.climates[i].title, scope="row"), element("td", matrix.landcovers[j].title))
        rows.append(element("tr", *names, *[element("td", value, class_="n") for value in values]))
    headings = [element("th", title, scope="col", class_="n" if k > 1 else None) for k, title in enumerate(head)]
    return element("table", element("thead", element("tr", *headings)), element("tbody", *rows), class_="plain")


def balance_section(data: ReportData) -> Section:
    """Shares of the climates and of the land cover, in the population and in the sample."""
    lead = (
        "Grey is the population, colour the sample, the mark what the sample says of the population once weighted. "
        "Where mark and grey bar end together, the weights undo the deliberate imbalance."
    )
    key = legend((("population", "population"), ("sample", "sample"), ("tick", "sample, weighted")))
    body = element(
        "div",
        _balance_table("Climate", "share of tiles by dominant climate", data.climate),
        _balance_table("Land cover", "mean share of the valid area", data.landcover),
        class_="pair",
    )
    return Section("balance", "Balance", "Balance against the population", lead, join((key, body)))


def _balance_table(title: str, note: str, balance: Balance) -> Markup:
    top = float(max(balance.population.max(), balance.sample.max(), balance.weighted.max()))
    rows = [
        _balance_row(category, float(balance.population[k]), float(balance.sample[k]), float(balance.weighted[k]), top)
        for k, category in enumerate(balance.categories)
    ]
    heads = (
        element("th", title, scope="col"),
        element("th", element("span", "Bars", class_="hidden"), scope="col"),
        element("th", "Population", scope="col", class_="n"),
        element("th", "Sample", scope="col", class_="n"),
        element("th", "Ratio", scope="col", class_="n"),
    )
    return element(
        "div",
        element("h3", f"{title} ", element("small", note)),
        element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="balance"),
    )


def _balance_row(category: Category, population: float, sample: float, weighted: float, top: float) -> Markup:
    return element(
        "tr",
        element("th", swatch(category.color), category.title, scope="row"),
        element("td", paired_bars(population, sample, weighted, top, category.color)),
        element("td", percent(population), class_="n"),
        element("td", percent(sample), class_="n"),
        element("td", ratio(sample / population) if population else "–", class_="n"),
    )
