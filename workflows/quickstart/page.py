"""The page: the sampler's report, with sections on the model between its findings and its methods."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from csmoe_model.evaluation.records import read_records
from csmoe_model.evaluation.tables import Headline, Row, headlines, rows, verdicts
from csmoe_sampler.pipeline import Outputs, Runtime, report
from csmoe_sampler.report import Section
from csmoe_sampler.report.markup import Markup, element, join

ACROSS = ("s1_to_s2", "s2_to_s1")
"""Directions whose galleries are shown."""


def write_page(out: Path) -> Path:
    """The page, written into the folder of the quickstart."""
    outputs, page = Outputs.beside(out / "sample.parquet"), out / "quickstart.html"
    sections = [training(out / "csmoe"), classification(out), retrieval(out), embeddings(out)]
    report(outputs.manifest, outputs.atlas, page, Runtime(), chips=out / "chips.zarr", further=sections)
    return page


def training(run: Path) -> Section:
    """Losses, and what the model fills in."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "loss" in line]
    lead = (
        f"{losses[-1]['step']:,} steps; the loss went from {losses[0]['loss']:.2f} to {losses[-1]['loss']:.2f}. Dashed "
        "lines are what means and deviations of the bands reach without any learning."
    )
    filled_in = (
        "Held-out tiles, of which the model has seen half of the patches: what it fills in from the sensor itself, and "
        "from the other one."
    )
    return Section(
        name="training",
        label="Pre-training",
        title="What the model learned",
        lead=lead,
        body=join(
            [
                figure(run / "curves.png", "Losses and probes by step", "Losses, probes and routing by step."),
                figure(run / "reconstructions.png", "Reconstructions of both sensors", filled_in),
            ]
        ),
    )


def classification(out: Path) -> Section:
    """Land cover of held-out tiles from frozen features."""
    found = rows(read_records(out / "results" / "classification" / "results.json"))
    return Section(
        name="classification",
        label="Land cover",
        title="Land cover from frozen features",
        lead=" ".join(
            ["Tiles of the test split, by a classifier on features that stay as they are.", *verdicts(found)]
        ),
        body=table(found),
    )


def retrieval(out: Path) -> Section:
    """The same place by the other sensor."""
    folder = out / "results" / "retrieval"
    found = rows(read_records(folder / "results.json"))
    galleries = sorted(path for path in folder.glob("gallery_*.png") if path.stem.endswith(ACROSS))
    pictures = [
        figure(path, f"Best and worst queries, {path.stem}", "Queries that found most and least, with their answers.")
        for path in galleries
    ]
    return Section(
        name="retrieval",
        label="Search",
        title="Search within and across sensors",
        lead=" ".join(
            ["Tiles of the test split, asked for by one sensor in an archive of the other.", *verdicts(found)]
        ),
        body=join([table(found), *pictures]),
    )


def embeddings(out: Path) -> Section:
    """Where tiles are alike to the model."""
    caption = "A dot a tile: where it is, and below, where the model puts it. Like colours are like embeddings."
    return Section(
        name="embeddings",
        label="Embeddings",
        title="What the model finds alike",
        lead="An embedding of every tile and sensor, coloured by its first three principal components.",
        body=figure(out / "embeddings.png", "Map of the embeddings, and their components", caption),
    )


def figure(picture: Path, alt: str, caption: str) -> Markup:
    """A picture inside the page."""
    source = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    image = element("img", src=source, alt=alt, style="display:block;max-width:100%;height:auto;border-radius:10px")
    return element("figure", image, element("figcaption", caption))


def table(found: list[Row]) -> Markup:
    """Backbones by headline, as in the table of the results."""
    names = [row.record.model.name for row in found]
    head = element("tr", element("th"), *(element("th", name, class_="n", scope="col") for name in names))
    lines = [
        element("tr", element("th", line.name, scope="row"), *(cell(line, row) for row in found))
        for line in headlines(found)
    ]
    body = element("table", element("thead", head), element("tbody", *lines), class_="plain")
    return element("div", body, class_="scroll", tabindex="0", role="region", aria_label="Results")


def cell(line: Headline, row: Row) -> Markup:
    """A figure with its interval."""
    one = line.of(row)
    if one is None:
        return element("td", class_="n")
    interval = "" if one.low != one.low else f"{one.low:.2f} to {one.high:.2f}"
    return element("td", f"{one.value:.3f} ", element("small", interval), class_="n")
