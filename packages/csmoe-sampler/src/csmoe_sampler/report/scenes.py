"""Sections of the page on scenes and pixels; each is absent where there are none."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from csmoe_sampler.report.data import BandStatistics, ChipPicture, ChipSummary, Counts, ReportData, SceneSummary
from csmoe_sampler.report.figures import swatch
from csmoe_sampler.report.markup import Markup, element, join
from csmoe_sampler.report.quantities import count, number, percent, setting
from csmoe_sampler.report.section import Section

_SENSORS = {"s2": "Sentinel-2", "s1": "Sentinel-1"}
_MAX_LINES = 100


def scene_section(data: ReportData) -> Section | None:
    """Which scenes were chosen, how they differ, and for which strata there were none."""
    scenes = data.scenes
    if scenes is None:
        return None
    cards = [_counts_card(counts) for counts in scenes.distributions]
    body = [element("div", *cards, class_="measures")]
    if scenes.unfilled:
        body.append(element("h3", "What could not be filled"))
        body.append(_unfilled_table(scenes))
    return Section("scenes", "Scenes", "Scenes of the tiles", _scene_lead(scenes, data.num_rows), join(body))


def _scene_lead(scenes: SceneSummary, num_rows: int) -> str:
    if len(scenes.seasons) == 1:
        paired = f"{count(scenes.seasons[0][1])} of the {count(num_rows)} tiles have scenes"
    else:
        named = ", ".join(f"{count(num)} in {season}" for season, num in scenes.seasons)
        paired = f"Of the {count(num_rows)} tiles, these have scenes: {named}"
    window = f", acquired {scenes.window}" if scenes.window else ""
    redrawn = (
        f" {count(scenes.redrawn)} tiles without scenes gave their place to the next of their stratum."
        if scenes.redrawn
        else ""
    )
    missing = sum(line.quota - line.taken for line in scenes.unfilled)
    unfilled = f" {count(missing)} places could not be filled." if missing else ""
    return f"{paired}, from {scenes.provider}{window}.{redrawn}{unfilled}"


def _counts_card(counts: Counts) -> Markup:
    top, total = max([*counts.counts[: counts.num_shown], 1]), sum(counts.counts)
    bars = [
        element(
            "li",
            element("span", label, class_="name"),
            element("span", style=f"--w:{100 * num / top:.2f}%", class_="bar")
            if k < counts.num_shown
            else element("span"),
            element("span", count(num), class_="value", title=f"{percent(num / total)} of {count(total)}"),
        )
        for k, (label, num) in enumerate(zip(counts.labels, counts.counts, strict=True))
    ]
    return element(
        "div",
        element("h3", counts.title, element("small", f" {counts.note}")),
        element("ul", *bars),
        class_="measure counts",
    )


def _unfilled_table(scenes: SceneSummary) -> Markup:
    rows = [
        element(
            "tr",
            element("th", line.stratum, scope="row"),
            element("td", count(line.quota), class_="n"),
            element("td", count(line.taken), class_="n"),
            element("td", line.reason, class_="reason"),
        )
        for line in scenes.unfilled
    ]
    heads = ("Stratum", "Quota", "Taken", "Why")
    return _table(heads, rows, numbers=("Quota", "Taken"), label="Strata without enough scenes")


def chip_section(data: ReportData) -> Section | None:
    """Some chips as pictures, the statistics of all bands, what failed, what looks wrong."""
    chips = data.chips
    if chips is None:
        return None
    body: list[Markup] = []
    if chips.findings:
        notes = [element("p", f"{text[:1].upper()}{text[1:].rstrip('.')}.") for text in chips.findings]
        body.append(element("aside", *notes, class_="notes", aria_label="What looks wrong"))
    if chips.pictures:
        body.append(element("div", *[_chip_card(picture) for picture in chips.pictures], class_="chips"))
        body.append(element("p", _KEY, class_="note"))
        body.append(element("h3", "Bands"))
        body.append(_band_table(chips.bands))
        measured = (
            f"Mean and standard deviation of the valid pixels of {count(chips.num_measured)} chips over all ranks."
        )
        body.append(element("p", measured, class_="note"))
    if chips.failures:
        body.append(element("h3", "What failed"))
        body.append(_failure_table(chips))
    return Section("chips", "Chips", "Pixels", _chip_lead(chips), join(body))


_KEY = (
    "Left: true colour of Sentinel-2, reflectance 0 to 0.3 with a gamma of 1.8. Right: Sentinel-1 with VV (−22 to "
    "−2 dB) in red, VH (−28 to −8 dB) in green and VV minus VH (2 to 14 dB) in blue. Transparent: no valid pixel."
)


def _chip_lead(chips: ChipSummary) -> str:
    size_km = chips.size_px * chips.pixel_m / 1000
    fetched = (
        f"{count(chips.num_fetched)} of {count(chips.num_rows)} tiles have a chip of {count(chips.size_px)} × "
        f"{count(chips.size_px)} pixels of {setting(chips.pixel_m)} m, {number(size_km)} km wide."
    )
    shown = f" {len(chips.pictures)} of them, spread over the ranks and strata, are shown." if chips.pictures else ""
    wrong = " Some look wrong: see the note." if chips.findings else ""
    return f"{fetched}{wrong}{shown}"


def _chip_card(picture: ChipPicture) -> Markup:
    where = f"tile {picture.tile_id}"
    images = [_image(picture.optical, f"True colour of {where}, {picture.landcover.title}")]
    if picture.radar:
        images.append(_image(picture.radar, f"VV and VH of {where}, {picture.landcover.title}"))
    dates = [f"S2 {picture.s2_date}" if picture.s2_date else "", f"S1 {picture.s1_date}" if picture.s1_date else ""]
    details = [picture.season, *dates]
    return element(
        "figure",
        element("div", *images, class_="chip-images"),
        element(
            "figcaption",
            element("b", picture.tile_id),
            element("span", f"rank {count(picture.rank)}"),
            element("span", swatch(picture.landcover.color), picture.landcover.title),
            element("span", picture.climate),
            *[element("span", text) for text in details if text],
        ),
    )


def _image(png: bytes, alt: str) -> Markup:
    return element("img", src=f"data:image/png;base64,{base64.b64encode(png).decode()}", alt=alt)


def _band_table(bands: Sequence[BandStatistics]) -> Markup:
    rows = [
        element(
            "tr",
            element(
                "th",
                f"{_SENSORS.get(line.sensor, line.sensor)} {line.band}",
                element("small", f" {line.unit}"),
                scope="row",
            ),
            element("td", number(line.mean), class_="n"),
            element("td", number(line.std), class_="n"),
            element("td", percent(line.valid_share), class_="n"),
        )
        for line in bands
    ]
    heads = ("Band", "Mean", "Std", "Valid")
    return _table(heads, rows, numbers=("Mean", "Std", "Valid"), label="Statistics of the bands", tall=False)


def _failure_table(chips: ChipSummary) -> Markup:
    lines = chips.failures[:_MAX_LINES]
    rows = [element("tr", element("th", tile, scope="row"), element("td", why, class_="reason")) for tile, why in lines]
    table = _table(("Tile", "Why"), rows, numbers=(), label="Tiles without a chip")
    left = len(chips.failures) - len(lines)
    more = element("p", f"{count(left)} more are listed in the store's attributes.", class_="note") if left else None
    return join((table, more))


def _table(
    heads: Sequence[str], rows: Sequence[Markup], *, numbers: Sequence[str], label: str, tall: bool = True
) -> Markup:
    cells = [element("th", title, scope="col", class_="n" if title in numbers else None) for title in heads]
    table = element(
        "table",
        element("caption", label, class_="hidden"),
        element("thead", element("tr", *cells)),
        element("tbody", *rows),
        class_="plain",
    )
    return element(
        "div", table, class_="scroll tall" if tall else "scroll", tabindex="0", role="region", aria_label=label
    )
