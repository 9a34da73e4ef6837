"""Collection and uses, of a data sheet: where rows come from, how they were chosen, and what that means for a user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from csmoe_sampler.exports.markdown import bullets, plain, question, table
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.metrics import effective_sample_size
from csmoe_sampler.report.data import SceneSummary
from csmoe_sampler.report.quantities import count, percent, setting
from csmoe_sampler.strata import UNKNOWN

_NAMED = 3
"""Files of a source that are named."""
_DRAWN = {
    "diverse": "farthest-first: each tile is the one whose distance to those taken before is largest",
    "kmeans": "evenly from clusters of the descriptors",
    "spread": "the local pivotal method",
    "random": "simple random sampling without replacement",
    "proportional": "simple random sampling without replacement, quotas in proportion to N",
}
_PURPOSIVE = (
    "The rows were chosen on purpose, not by chance: `inclusion_probability` is null, which means that there is none, "
    "and not that it is 0. Estimates made from them have no known bias or variance."
)
_MAPPED = (
    "There are no labels of ground truth: land cover and climate are classes of maps, with the errors and the year of "
    "those maps."
)


def collection(manifest: Manifest, scenes: SceneSummary | None) -> list[str]:
    """Paragraphs on how the rows came about."""
    sources = manifest.metadata["sources"]
    return [
        "## Collection",
        "### How rows were chosen",
        table(("", ""), _design(manifest).items()),
        "### Sources",
        table(
            ("descriptor", "statistic", "from", "files", "hash"), [(name, *_source(sources[name])) for name in sources]
        ),
        "### Scenes",
        *(_scenes(manifest, scenes) if scenes else ["None were chosen (`csmoe-sample pair` does)."]),
        question("Who collected and checked the data, and was consent or an ethical review asked for?"),
    ]


def uses(manifest: Manifest, scenes: SceneSummary | None) -> list[str]:
    """Paragraphs on limits, and questions."""
    limits = [
        _chance(manifest),
        "`weight` is the tiles of the stratum by those taken: it undoes the allocation among strata, and nothing "
        f"inside one. Kish's effective size is {count(effective_sample_size(manifest.column('weight')))} of "
        f"{count(len(manifest))} rows.",
        _MAPPED,
        *_gaps(manifest, {one.stratum: one.reason for one in scenes.unfilled} if scenes else {}),
        *([_clear_weather(manifest)] if scenes else []),
        *map(plain, manifest.metadata["notes"]),
    ]
    return [
        "## Uses",
        bullets(filter(None, limits)),
        question("What has it been used for, and what else could it serve?"),
        question("For what should it not be used?"),
    ]


def _design(manifest: Manifest) -> dict[str, object]:
    metadata, config = manifest.metadata, manifest.metadata["config"]
    objective, allocation = metadata["objective"], config["allocation"]
    alpha = 1.0 if objective == "proportional" else allocation["alpha"]
    return {
        "Strata": f"climate x land cover; those of fewer than {count(config['strata']['min_size'])} tiles are pooled",
        "Quotas": f"in proportion to N^{setting(alpha)}, at least {count(allocation['floor'])}",
        "Objective": objective,
        "Inside a stratum": _DRAWN.get(objective, "by the user's own objective"),
        "Weights of the distance": ", ".join(f"{k} {setting(v)}" for k, v in config["selection"]["weights"].items()),
        "Seed": metadata["seed"],
        "Digest of the configuration": f"sha256:{metadata['config_digest']}",
        "csmoe-sampler": metadata["package_version"],
    }


def _source(source: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Statistic, origin, files and hash of a descriptor."""
    raster = source.get("raster") or {}
    own = {key: source[key] for key in source if key not in ("legend", "raster", "statistic", "scenes", "mask")}
    origin = raster.get("origin") or own.pop("origin", None) or own
    names = [str(file["name"]) for file in raster.get("files", ())]
    files = ", ".join(names[:_NAMED])
    if (num := raster.get("num_files", len(names))) > len(names[:_NAMED]):
        files = f"{files} and {count(num - _NAMED)} more" if files else count(num)
    digest = raster.get("digest") or source.get("scenes", {}).get("digest") or "not recorded"
    return str(source.get("statistic", "own")), "; ".join(_leaves(origin)) or "own files", files, str(digest)


def _leaves(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif value not in (None, [], "") and key != "digest":
            yield f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _scenes(manifest: Manifest, scenes: SceneSummary) -> list[str]:
    facts = {
        "Catalogue": scenes.provider,
        "State of the catalogue": manifest.metadata["scenes"].get("source", {}).get("snapshot", "not recorded"),
        "Searched": scenes.window or "not recorded",
        "Taken, Sentinel-2": _days(manifest, "s2"),
        "Taken, Sentinel-1": _days(manifest, "s1"),
        "Tiles that gave way to the next of their stratum": count(scenes.redrawn),
    }
    counted = [
        (f"{one.title}, {one.note}", "; ".join(f"{a}: {count(b)}" for a, b in zip(one.labels, one.counts, strict=True)))
        for one in scenes.distributions
    ]
    return [table(("", ""), facts.items()), table(("scenes by", "number"), counted)]


def _days(manifest: Manifest, sensor: str) -> str:
    names = [name for name in manifest.table.column_names if name.startswith(f"{sensor}_datetime")]
    days = np.concatenate([np.empty(0, "M8[D]"), *(manifest.column(name).astype("M8[D]") for name in names)])
    known = days[~np.isnat(days)]
    return f"{known.min()} to {known.max()}" if known.size else "none"


def _chance(manifest: Manifest) -> str:
    nulls = manifest.table["inclusion_probability"].null_count
    if nulls == len(manifest):
        return _PURPOSIVE
    if nulls:
        return (
            f"`inclusion_probability` is that of the design; it is null in {count(nulls)} rows, in whose strata tiles "
            "gave way or are missing, so that it holds no more."
        )
    return "`inclusion_probability` is that of the design, and known for every row."


def _gaps(manifest: Manifest, reasons: Mapping[str, str]) -> list[str]:
    """Whom the sample does not have, or not one by one."""
    metadata, covers = manifest.metadata, manifest.column("landcover")
    strata, least = metadata["strata"], metadata["config"]["candidates"]["min_land_share"]
    pooled = [line for line in strata if line["stratum"].endswith("|*") or "group:" in line["stratum"]]
    short = [line for line in strata if line["taken"] < line["quota"]]
    absent = [label for label in manifest.landcover_labels if not (covers == label).any()]
    unknown = int((manifest.column("climate") == UNKNOWN).sum())
    return [
        f"Tiles beyond {setting(metadata['grid']['lat_max_deg'])}° of latitude, and those of which less than "
        f"{percent(least, 0)} is valid land other than open water, are no candidates.",
        f"Pooled from sparse strata, so that their classes were not balanced one by one: {_named(pooled, {})}."
        if pooled
        else "No strata were pooled.",
        f"Fewer rows than their quota: {_named(short, reasons)}." if short else "All quotas were met.",
        f"The largest land cover of no row: {plain(', '.join(absent))}." if absent else "",
        f"{count(unknown)} rows lie where the map knows no climate." if unknown else "",
    ]


def _named(strata: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    return ", ".join(
        f"{plain(name)} ({line['taken']} of {line['quota']}{f': {plain(reasons[name])}' if name in reasons else ''})"
        for line in strata
        for name in [line["stratum"]]
    )


def _clear_weather(manifest: Manifest) -> str:
    percent_most = manifest.metadata["scenes"]["config"].get("max_cloud_percent")
    if percent_most is None:
        return ""
    return (
        f"Scenes of more than {setting(percent_most)} % of cloud were left out: clear weather, and seasons that have "
        "it, are over-represented."
    )
