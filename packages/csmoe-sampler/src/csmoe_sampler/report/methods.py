"""Sections of the page that say what was done: a methods text, its references, and where everything came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from csmoe_sampler.report.data import ReportData
from csmoe_sampler.report.figures import paragraphs
from csmoe_sampler.report.markup import Markup, element, join
from csmoe_sampler.report.quantities import count, number, percent, setting
from csmoe_sampler.report.section import Section

_COMMAND = "csmoe-sample build --config run.toml --out out.parquet"
_LISTED = 12
"""Entries of a list that are shown."""
_TEXT_LIMIT = 400

_OBJECTIVES = {
    "diverse": (
        "Inside a stratum, tiles were taken farthest-first: each one is the tile whose distance to the nearest tile "
        "taken before is largest [4]. The largest distance from any tile to the nearest taken one is thereby at most "
        "twice the smallest possible. Because this choice is purposive, rows carry no inclusion probability."
    ),
    "kmeans": (
        "Inside a stratum, the descriptors were clustered by k-means and tiles taken evenly from the "
        "clusters. Because this choice is purposive, rows carry no inclusion probability."
    ),
    "spread": (
        "Inside a stratum, tiles were drawn by the local pivotal method [5], a probability design that "
        "keeps neighbours in descriptor space apart. Every tile of a stratum had the same, known "
        "probability of being drawn."
    ),
    "random": (
        "Inside a stratum, tiles were drawn by simple random sampling without replacement; every tile of a "
        "stratum had the same, known probability of being drawn."
    ),
    "proportional": (
        "Strata got tiles in proportion to their size, and inside a stratum tiles were drawn by simple "
        "random sampling without replacement; every tile had the same, known probability of being drawn, up "
        "to rounding."
    ),
}

_REFERENCES = (
    (
        "Francis, A., Czerkawski, M. (2024). Major TOM: Expandable datasets for Earth observation. IGARSS 2024.",
        "https://arxiv.org/abs/2402.12095",
    ),
    (
        "Beck, H. E., McVicar, T. R., Vergopolan, N., et al. (2023). High-resolution (1 km) Köppen-Geiger maps for "
        "1901–2099 based on constrained CMIP6 projections. Scientific Data 10, 724.",
        "https://doi.org/10.1038/s41597-023-02549-6",
    ),
    (
        "Peel, M. C., Finlayson, B. L., McMahon, T. A. (2007). Updated world map of the Köppen-Geiger climate "
        "classification. Hydrology and Earth System Sciences 11, 1633–1644.",
        "https://doi.org/10.5194/hess-11-1633-2007",
    ),
    (
        "Gonzalez, T. F. (1985). Clustering to minimize the maximum intercluster distance. Theoretical "
        "Computer Science 38, 293–306.",
        "https://doi.org/10.1016/0304-3975(85)90224-5",
    ),
    (
        "Grafström, A., Lundström, N. L. P., Schelin, L. (2012). Spatially balanced sampling through the "
        "pivotal method. Biometrics 68, 514–520.",
        "https://doi.org/10.1111/j.1541-0420.2011.01699.x",
    ),
)


def methods_section(data: ReportData) -> Section:
    """A paragraph for a paper's methods section, with the numbers of this sample."""
    references = [
        element("li", f"{text} ", element("a", url.removeprefix("https://"), href=url, rel="noreferrer"))
        for text, url in _REFERENCES
    ]
    body = join(
        (
            element("div", paragraphs(methods_text(data)), class_="prose"),
            element("h3", "References"),
            element("ol", *references, class_="references"),
        )
    )
    return Section("methods", "Methods", "Methods", "What was done, in words that can go into a paper.", body)


def methods_text(data: ReportData) -> tuple[str, ...]:
    """The methods in paragraphs of plain text."""
    return (_population(data), _strata(data), _selection(data), _weights(data), _splits(data))


def _population(data: ReportData) -> str:
    config = data.metadata["config"]
    grid = config["grid"]
    return (
        "The population consists of the tiles of the Major TOM grid [1] with a spacing of "
        f"{setting(grid['spacing_km'])} km between latitudes {setting(grid['lat_max_deg'])}° south and "
        f"north, in the region “{config['region']}”. Each tile is described by the shares of its land-cover "
        f"classes ({_landcover(data)}) and of its Köppen-Geiger climates ({_climate(config['climate'])}). Of "
        f"{count(data.num_described)} described tiles, the {count(data.num_candidates)} of which at least "
        f"{percent(config['candidates']['min_land_share'], 0)} is valid land cover other than open water are "
        "candidates."
    )


def _landcover(data: ReportData) -> str:
    landcover = data.metadata["config"]["landcover"]
    legend = data.metadata["legends"]["landcover"]
    where = "counted at full resolution"
    if landcover["approximate"]:
        where = f"counted on overviews of factor {landcover['approximate']}, which is biased against small classes"
    return f"{legend.get('title') or landcover['legend']}, {len(legend['labels'])} classes, {where}"


def _climate(climate: Mapping[str, Any]) -> str:
    if climate["temperature"] or climate["source"] == "terraclimate":
        normals = "TerraClimate's monthly normals" if climate["source"] == "terraclimate" else "monthly normals"
        rule = {
            "peel2007": "the rules of Peel et al. [3]",
            "beck_compat": "the rules of Peel et al. [3] as implemented in the published code of Beck et al. [2]",
        }
        return f"classified from {normals} by {rule[climate['rule']]}"
    source = "the map of Beck et al. [2]" if climate["source"] == "beck2023" else f"the map {climate['source']}"
    return f"from {source}, whose classes follow Peel et al. [3]"


def _strata(data: ReportData) -> str:
    config = data.metadata["config"]
    allocation = config["allocation"]
    alpha = setting(1.0 if data.metadata["objective"] == "proportional" else allocation["alpha"])
    cap = f" and at most {count(allocation['cap'])}" if allocation["cap"] else ""
    short = sum(stratum.quota - stratum.taken for stratum in data.strata)
    return (
        "Strata are the combinations of a tile's dominant climate and dominant land-cover class. A "
        f"combination of fewer than {count(config['strata']['min_size'])} tiles was pooled, first within its "
        "group of land-cover classes, then over all land cover of its climate, then within its main "
        f"climate; {len(data.strata)} strata remain. The sample of {count(data.num_rows)} tiles was "
        "allocated so that the quota of stratum h is proportional to its number of tiles N_h to the power "
        f"{alpha} (n_h = n · N_h^{alpha} / Σ N^{alpha}), with at least {count(allocation['floor'])} tile a "
        f"stratum where it has them{cap}, never more than it has; what rounding left was given by largest "
        "remainder. "
        + (f"{count(short)} tiles of the quotas could not be found." if short else "All quotas were met exactly.")
    )


def _selection(data: ReportData) -> str:
    weights = data.metadata["config"]["selection"]["weights"]
    named = ", ".join(f"{name} {setting(weight)}" for name, weight in weights.items())
    objective = data.metadata["objective"]
    drawn = _OBJECTIVES.get(objective, f"Inside a stratum, tiles were taken by the user's own {objective}.")
    return (
        f"{drawn} The squared distance between two tiles is the "
        "weighted sum of the squared Hellinger distances of their class shares, half the sum of (√p − √q)², "
        f"and of the squared half chord between their centres on the unit sphere (weights: {named}). The "
        "strata were then merged into one ranking in which every prefix of m tiles holds of stratum h the "
        "whole number below or above m · n_h / n, so that every prefix is itself a sample of the same "
        f"design. All chance comes from the seed {data.metadata['seed']}."
    )


def _weights(data: ReportData) -> str:
    weights = data.weights
    own, random = data.comparison.measures[0].values[0], data.comparison.measures[0].values[-1]
    return (
        "Every row carries the weight N_h / n_h, the number of candidates of its stratum that it stands "
        f"for, from {number(weights.minimum)} to {number(weights.maximum)}; Kish's effective sample size, "
        f"(Σw)² / Σw², is {count(weights.effective)}. The coverage radius, the largest distance from a "
        f"candidate to the nearest drawn tile, is {number(own)}, against {number(random)} for a simple "
        "random sample of the same size."
    )


def _splits(data: ReportData) -> str:
    split = data.metadata["config"]["split"]
    shares = dict(zip(data.splits.names, data.splits.rows, strict=True))
    return (
        f"Train, validation and test ({count(shares['train'])}, {count(shares['validation'])} and "
        f"{count(shares['test'])} tiles) were divided by whole blocks of {setting(split['block_km'])} km. "
        f"{count(shares['buffer'])} tiles that would lie nearer than {setting(split['buffer_km'])} km to "
        "another split were set aside as a buffer."
    )


def provenance_section(data: ReportData) -> Section:
    """Versions, sources with their hashes, the configuration, and the command that makes the manifest again."""
    metadata = data.metadata
    facts = {
        "csmoe-sampler": metadata["package_version"],
        "manifest schema": metadata["schema_version"],
        "seed": metadata["seed"],
        "configuration digest": f"sha256:{metadata['config_digest']}",
        **{f"tiles: {name.replace('_', ' ')}": count(value) for name, value in metadata["candidates"].items()},
    }
    sources = [
        join((element("h3", f"Source: {name}"), _facts(dict(_flatten(source)))))
        for name, source in metadata["sources"].items()
    ]
    command = join(
        (
            element("h3", "Make it again"),
            element("p", "Save the configuration below as run.toml; equal inputs give an equal manifest, to the byte."),
            element("pre", element("code", _COMMAND), tabindex="0"),
        )
    )
    config = element(
        "details",
        element("summary", "Resolved configuration (run.toml)"),
        element("pre", element("code", data.config_toml), tabindex="0"),
    )
    return Section(
        "provenance",
        "Provenance",
        "Provenance",
        "Every input that decides the manifest, and how to make it again.",
        join((_facts(facts), *sources, command, config)),
    )


def _facts(facts: Mapping[str, Any]) -> Markup:
    return element(
        "dl",
        *[element("div", element("dt", key), element("dd", str(value))) for key, value in facts.items()],
        class_="facts",
    )


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested mappings and lists, with dotted names; long lists are cut, and say so."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            shown = item.get("title") if key == "legend" and isinstance(item, Mapping) else item
            yield from _flatten(shown, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping | list) for item in value):
        for position, item in enumerate(value[:_LISTED]):
            yield from _flatten(item, f"{name}[{position}]")
        if len(value) > _LISTED:
            yield f"{name}[…]", f"{count(len(value) - _LISTED)} more, listed in the manifest's metadata"
    elif value is not None:
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield name, text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}…"
