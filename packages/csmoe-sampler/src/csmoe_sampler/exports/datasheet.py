"""A data sheet in Markdown: all that a manifest and its chips can say of themselves.

Parts and questions are those of Gebru et al. (2021), "Datasheets for Datasets". What only authors know stands as a
question with `<!-- to be written -->`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from csmoe_sampler.chips.rows import ChipRows
from csmoe_sampler.exports.datasheet_design import collection, uses
from csmoe_sampler.exports.datasheet_rows import composition
from csmoe_sampler.exports.markdown import bullets, plain, question, table
from csmoe_sampler.exports.task import Task
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.report.chip_numbers import summarise_chips
from csmoe_sampler.report.data import ChipSummary
from csmoe_sampler.report.quantities import count, number, percent, setting
from csmoe_sampler.report.scene_numbers import summarise_scenes
from csmoe_sampler.storage import write_bytes

NOT_RECORDED = "not recorded"
_LISTED = 12
"""Reasons and warnings that are told one by one."""


def write(task: Task, out: Path) -> str:
    """Writes one file."""
    manifest = task.manifest
    scenes = summarise_scenes(manifest)
    parts = [
        _head(task),
        _motivation(),
        [*composition(manifest, scenes), *(_pixels(task, task.chips) if task.chips else [])],
        [question("Does it hold anything confidential, offensive, or about persons?")],
        collection(manifest, scenes),
        _preprocessing(manifest),
        uses(manifest, scenes),
        _distribution(manifest),
        _maintenance(manifest),
    ]
    text = "\n\n".join(paragraph for part in parts for paragraph in part)
    write_bytes(out, f"{text}\n".encode())
    return "1 data sheet"


def _head(task: Task) -> list[str]:
    beside = f" and the chip store {plain(task.chips.name)}" if task.chips else ""
    return [
        f"# Data sheet of {plain(task.path.stem)}",
        f"Filled from the manifest {plain(task.path.name)}{beside}: every figure is computed from them. The questions "
        "are those of Gebru et al. (2021), Datasheets for Datasets; what only authors can answer is left to them.",
    ]


def _motivation() -> list[str]:
    return [
        "## Motivation",
        question("For what purpose was the data set created, and which gap does it fill?"),
        question("Who created it, on behalf of whom, and who paid for it?"),
    ]


def _pixels(task: Task, path: Path) -> list[str]:
    """What a chip store adds to the composition."""
    chips = summarise_chips(task.manifest, path, (), (), task.progress)
    with ChipRows(path) as rows:
        warnings = list(map(str, rows.metadata.get("warnings", ())))
    found = [*chips.findings, *warnings[:_LISTED]]
    if more := warnings[_LISTED:]:
        found.append(f"{count(len(more))} more, in the store's metadata")
    return [
        "### Pixels",
        f"{count(chips.num_fetched)} of {count(chips.num_rows)} rows have a chip of {chips.size_px} x {chips.size_px} "
        f"pixels of {setting(chips.pixel_m)} m. Of {count(chips.num_measured)} of them, from all ranks:",
        _bands(chips),
        *_failures(chips),
        "What looked wrong when the chips were fetched and checked:" if found else "Checks of the chips found nothing.",
        *([bullets(map(plain, found))] if found else []),
    ]


def _bands(chips: ChipSummary) -> str:
    lines = [
        (one.sensor, one.band, one.unit, number(one.mean), number(one.std), percent(one.valid_share))
        for one in chips.bands
    ]
    return table(("sensor", "band", "unit", "mean", "deviation", "valid"), lines)


def _failures(chips: ChipSummary) -> list[str]:
    reasons = Counter(reason for _, reason in chips.failures).most_common(_LISTED)
    return [table(("why a chip is missing", "rows"), [(why, count(rows)) for why, rows in reasons])] if reasons else []


def _preprocessing(manifest: Manifest) -> list[str]:
    approximate = manifest.metadata["config"]["landcover"]["approximate"]
    counted = f"on overviews of factor {approximate}, which loses rare classes" if approximate else "at full resolution"
    return [
        "## Preprocessing",
        f"Land-cover classes were counted {counted}; shares are of the area that is valid. Footprints are squares in "
        "the UTM zone of the tile.",
        _chip_facts(manifest),
        question("Were the raw data kept beside it, and was anything else done to them?"),
    ]


def _chip_facts(manifest: Manifest) -> str:
    config = manifest.metadata.get("chips", {}).get("config")
    if config is None:
        return "The manifest knows of no pixels (`csmoe-sample fetch` brings them)."
    size, names = config["size_px"], manifest.table.column_names
    how = "told by the processing baseline" if config["offset"] == "metadata" else "recognised by its statistics"
    facts = {
        "Edge of a chip": size if size == "footprint" else f"{size} px of {setting(config['pixel_m'])} m",
        "Grid": "that of Sentinel-2 in its UTM zone, for all bands of both sensors",
        "Resampling": f"{config['resampling']}; Sentinel-1 as power, class masks by the nearest pixel",
        "Sentinel-2": f"{', '.join(config['s2_bands'])}; reflectance x 10,000 (int16), -32768 missing",
        "Sentinel-2's offset of 1000": f"subtracted where it was, {how}",
        "Sentinel-1": f"{', '.join(config['s1_bands'])}; dB, 10 log10 of power, NaN missing",
        "Masks": "pixels without data are missing, never zero; clouds are not masked, scl has Sentinel-2's classes",
        "Least valid share of a chip": percent(config["min_valid"], 0),
        "Chips that look wrong": "refused" if config["guards"] == "refuse" else "kept, and reported",
    }
    if not any(name.startswith("s1_item") for name in names):
        del facts["Sentinel-1"]
    return table(("", ""), facts.items())


def _distribution(manifest: Manifest) -> list[str]:
    metadata = manifest.metadata
    lines = []
    for name, source in metadata["sources"].items():
        legend = metadata["legends"].get(name, {})
        origin = (source.get("raster") or {}).get("origin") or {}
        licence = origin.get("license") or legend.get("licence") or NOT_RECORDED
        lines.append((name, legend.get("title", ""), licence, legend.get("source", "")))
    if "scenes" in metadata:
        lines.append(("scenes", "Sentinel-2, Sentinel-1", NOT_RECORDED, "see the terms of the catalogue"))
    return [
        "## Distribution",
        "Licences of the sources, as their legends state them; whether a file is what its legend says is not checked.",
        table(("source", "title", "licence", "address"), lines),
        question("How, when and to whom is it distributed, under which licence, with which DOI?"),
    ]


def _maintenance(manifest: Manifest) -> list[str]:
    return [
        "## Maintenance",
        "The resolved configuration is in the manifest's metadata (`csmoe`, key `config`): with the same sources, "
        f"csmoe-sampler {plain(manifest.metadata['package_version'])} gives the same manifest again, to the byte.",
        question("Who maintains it, and how can they be reached?"),
        question("Will it be updated, how are changes told, and what becomes of older versions?"),
        question("How can others add to it?"),
    ]
