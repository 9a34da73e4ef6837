"""Sections of the page on the sample as a design: allocation, diversity, prefixes, weights and splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from csmoe_sampler.report.data import Measure, ReportData, Stratum
from csmoe_sampler.report.figures import Series, histogram, legend, line_chart
from csmoe_sampler.report.markup import Markup, element, join
from csmoe_sampler.report.quantities import compact, count, number, percent, ratio, setting, with_unit
from csmoe_sampler.report.section import Section


def allocation_section(data: ReportData) -> Section:
    """Target, quota and taken of every stratum, with reasons where they differ."""
    missing = sum(stratum.quota - stratum.taken for stratum in data.strata)
    alpha = 1.0 if data.metadata["objective"] == "proportional" else data.metadata["config"]["allocation"]["alpha"]
    lead = (
        f"{count(len(data.strata))} strata share {count(sum(s.quota for s in data.strata))} tiles in "
        f"proportion to their size to the power {setting(alpha)}. {_reasons(data.strata)} "
        + (f"{count(missing)} tiles of the quotas could not be found." if missing else "Every quota is filled.")
    )
    ordered = sorted(data.strata, key=lambda stratum: (stratum.taken - stratum.target, stratum.name))
    heads = (
        ("Stratum", "text"),
        ("Candidates", "number"),
        ("Target", "number"),
        ("Quota", "number"),
        ("Taken", "number"),
        ("Share taken", "number"),
        ("Why not the target", "text"),
    )
    cells = [
        element(
            "th",
            element("button", title, type="button"),
            scope="col",
            class_="n" if kind == "number" else None,
            data_kind=kind,
            aria_sort="none",
        )
        for title, kind in heads
    ]
    table = element(
        "table",
        element("caption", "Allocation by stratum", class_="hidden"),
        element("thead", element("tr", *cells)),
        element("tbody", *[_stratum_row(stratum) for stratum in ordered]),
        class_="plain sortable",
        data_collapsed="12",
    )
    scroll = element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Allocation by stratum")
    more = element("button", f"Show all {len(ordered)} strata", type="button", class_="more", hidden=True)
    return Section("allocation", "Allocation", "Allocation", lead, join((scroll, more)))


def _reasons(strata: Sequence[Stratum]) -> str:
    """How often each reason occurs, the most frequent first."""
    reasons = Counter(stratum.reason for stratum in strata if stratum.reason).most_common()
    if not reasons:
        return "All get what the rule alone gives."
    named = "; ".join(f"{reason} ({times})" for reason, times in reasons)
    return f"Quotas differ from what the rule alone gives, by a tile or more, for these reasons: {named}."


def _stratum_row(stratum: Stratum) -> Markup:
    numbers = (
        (stratum.size, count(stratum.size)),
        (stratum.target, number(stratum.target)),
        (stratum.quota, count(stratum.quota)),
        (stratum.taken, count(stratum.taken)),
        (stratum.taken / stratum.size, percent(stratum.taken / stratum.size)),
    )
    short = stratum.taken < stratum.quota
    reason = f"{stratum.reason}{'; ' if stratum.reason and short else ''}{'tiles missing' if short else ''}"
    return element(
        "tr",
        element("th", stratum.name, scope="row"),
        *[element("td", text, class_="n", data_value=repr(float(value))) for value, text in numbers],
        element("td", reason, class_="reason"),
    )


def diversity_section(data: ReportData) -> Section:
    """The sample against others of the same size."""
    comparison = data.comparison
    better = sum(_is_better(measure) for measure in comparison.measures)
    lead = (
        f"Against {count(data.num_rows)} tiles drawn at random, this sample is better in {better} of "
        f"{len(comparison.measures)} measures. Proportional sampling is stratified, with each stratum in "
        f"proportion to its size. {comparison.note}"
    )
    heads = [element("th", "Measure", scope="col")]
    heads += [element("th", name, scope="col", class_="n") for name in comparison.methods]
    heads += [element("th", "This ÷ random", scope="col", class_="n")]
    rows = [
        element(
            "tr",
            element("th", measure.title, element("small", f" {_unit(measure)}"), scope="row"),
            *[element("td", number(value), class_="n") for value in measure.values],
            element("td", _verdict(measure), class_="n"),
        )
        for measure in comparison.measures
    ]
    table = element(
        "table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="plain comparison"
    )
    cards = [_measure_card(measure, comparison.methods) for measure in comparison.measures]
    scroll = element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Comparison")
    return Section(
        "diversity",
        "Diversity",
        "Coverage and diversity",
        lead,
        join((scroll, element("div", *cards, class_="measures"))),
    )


def _is_better(measure: Measure) -> bool:
    own, random = measure.values[0], measure.values[-1]
    return own < random if measure.smaller_is_better else own > random


def _unit(measure: Measure) -> str:
    wanted = "less is better" if measure.smaller_is_better else "more is better"
    return f"{measure.unit}, {wanted}" if measure.unit else wanted


def _verdict(measure: Measure) -> Markup:
    own, random = measure.values[0], measure.values[-1]
    style = "same" if own == random else "better" if _is_better(measure) else "worse"
    text = ratio(own / random) if random else "–"
    return element("span", text, element("span", f" {style}", class_="hidden"), class_=f"verdict {style}")


def _measure_card(measure: Measure, methods: tuple[str, ...]) -> Markup:
    top = max(*measure.values, 1e-12)
    bars = [
        element(
            "li",
            element("span", method, class_="name"),
            element("span", style=f"--w:{100 * value / top:.2f}%", class_="bar"),
            element("span", with_unit(value, "%" if measure.unit == "%" else ""), class_="value"),
            class_="own" if k == 0 else None,
        )
        for k, (method, value) in enumerate(zip(methods, measure.values, strict=True))
    ]
    direction = "less is better" if measure.smaller_is_better else "more is better"
    return element(
        "div",
        element("h3", measure.title, element("small", f" {direction}")),
        element("p", measure.explanation),
        element("ul", *bars),
        class_="measure",
    )


def prefix_section(data: ReportData) -> Section:
    """Every prefix of the ranking is a sample of its own."""
    curve = data.prefixes
    sizes = tuple(float(size) for size in curve.sizes)
    lead = (
        "The first m rows of the manifest are a sample of m tiles. In none of these prefixes does a stratum hold "
        f"a whole tile more or less than its due (largest departure {number(max(curve.deviation), 2)})."
        + _mean_note(data)
    )
    key = legend((("first-line", "first rows of this ranking"), ("second-line", "as many random tiles")))
    charts = []
    for title, own, random in (
        ("Coverage radius", curve.radius, curve.random_radius),
        ("Mean distance", curve.mean, curve.random_mean),
    ):
        lines = (Series("this ranking", "first", sizes, own), Series("random", "second", sizes, random))
        words = ", ".join(
            f"{compact(size)}: {number(one)} against {number(two)}"
            for size, one, two in zip(sizes, own, random, strict=True)
        )
        chart = line_chart(lines, x_title="tiles", y_title="descriptor distance", alt=f"{title} by size. {words}.")
        charts.append(element("figure", element("h3", title, element("small", " less is better")), chart))
    return Section(
        "prefixes", "Prefixes", "Every prefix is a sample", lead, join((key, element("div", *charts, class_="pair")))
    )


def _mean_note(data: ReportData) -> str:
    """Where random prefixes are nearer to the average candidate, the page says so itself."""
    curve = data.prefixes
    behind = [size for size, own, other in zip(curve.sizes, curve.mean, curve.random_mean, strict=True) if own > other]
    if data.metadata["objective"] != "diverse" or not behind:
        return ""
    nearer = all(own <= other for own, other in zip(curve.radius, curve.random_radius, strict=True))
    return (
        f" Farthest-first takes the unusual before the typical: up to {count(max(behind))} tiles, the average "
        f"candidate has a nearer tile in a random sample{', while the farthest one has it here' if nearer else ''}."
    )


def weight_section(data: ReportData) -> Section:
    """The distribution of the weights, and the splits."""
    weights = data.weights
    lead = (
        f"A row stands for {number(weights.minimum)} to {number(weights.maximum)} tiles of its stratum "
        f"({number(weights.median)} in the middle); together they stand for {count(weights.total)}. By "
        f"Kish's formula, {count(weights.effective)} rows of equal weight would say as much of the "
        "population."
    )
    chart = histogram(
        weights.edges.tolist(),
        weights.counts.tolist(),
        x_title="weight (candidates per row)",
        y_title="rows",
        alt=f"Histogram of the weights from {number(weights.minimum)} to {number(weights.maximum)}.",
    )
    figure = element("figure", element("h3", "Weights"), chart)
    return Section(
        "weights", "Weights", "Weights and splits", lead, element("div", figure, _splits(data), class_="pair")
    )


def _splits(data: ReportData) -> Markup:
    splits = data.splits
    rows = [
        element(
            "tr",
            element("th", element("span", class_=f"key split-{name}"), name, scope="row"),
            element("td", count(num), class_="n"),
            element("td", percent(num / data.num_rows), class_="n"),
        )
        for name, num in zip(splits.names, splits.rows, strict=True)
    ]
    heads = [element("th", t, scope="col", class_="n" if t != "Split" else None) for t in ("Split", "Rows", "Share")]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="plain")
    apart = [
        element(
            "tr",
            element("th", f"{one} to {two}", scope="row"),
            element("td", with_unit(distance, "km", 4), class_="n"),
        )
        for one, two, distance in splits.distances_km
    ]
    nearest = element(
        "table",
        element(
            "thead",
            element(
                "tr", element("th", "Nearest pair", scope="col"), element("th", "Distance", scope="col", class_="n")
            ),
        ),
        element("tbody", *apart),
        class_="plain",
    )
    note = element("p", f"At least {with_unit(splits.buffer_km, 'km')} are asked for between splits.", class_="note")
    return element("div", element("h3", "Splits"), table, nearest if apart else None, note)
