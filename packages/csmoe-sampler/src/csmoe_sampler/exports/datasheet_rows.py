"""Composition, of a data sheet: what the rows are, how they are shared out, what is missing, what overlaps."""

from __future__ import annotations

import numpy as np
import shapely

from csmoe_sampler.exports.markdown import table
from csmoe_sampler.footprints import MARGIN
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.manifest.schema import CHIP, SPLITS
from csmoe_sampler.metrics import mean_shares
from csmoe_sampler.report.data import SceneSummary
from csmoe_sampler.report.quantities import count, number, percent, setting
from csmoe_sampler.strata import UNKNOWN


def composition(manifest: Manifest, scenes: SceneSummary | None) -> list[str]:
    """Paragraphs on the rows."""
    spacing_km = manifest.metadata["grid"]["spacing_km"]
    return [
        "## Composition",
        f"A row is a tile of the Major TOM grid of {setting(spacing_km)} km: a square footprint of "
        f"{number(spacing_km * (1 + 2 * MARGIN), 4)} km in its UTM zone, shares of land-cover classes, the climate, "
        "the place in the design. Rows are sorted by rank, and every prefix is a smaller sample.",
        table(("", ""), _counts(manifest).items()),
        "### Climate and land cover",
        "Weighted figures count every row as the candidates of its stratum that it stands for.",
        _climates(manifest),
        _covers(manifest),
        *_splits(manifest),
        "### Missing, repeated, overlapping",
        table(("rows", "number"), _irregular(manifest, scenes).items()),
    ]


def _counts(manifest: Manifest) -> dict[str, str]:
    metadata, num = manifest.metadata, len(manifest)
    lon, lat, about = manifest.column("lon"), manifest.column("lat"), metadata["candidates"]
    return {
        "Rows": count(num),
        "Rows asked for": count(about["wanted"]),
        "Region": metadata["region"],
        "Candidate tiles that they were drawn from": count(about["candidates"]),
        "Share of the candidates": percent(num / about["candidates"]),
        "Strata": count(len(metadata["strata"])),
        "UTM zones": count(len(set(manifest.column("crs")))),
        "Longitude of the centres": f"{number(lon.min(), 5)}° to {number(lon.max(), 5)}°",
        "Latitude of the centres": f"{number(lat.min(), 5)}° to {number(lat.max(), 5)}°",
    }


def _climates(manifest: Manifest) -> str:
    weight, climates = manifest.column("weight"), manifest.column("climate")
    rows = [
        (label, count(own.sum()), percent(own.mean()), percent(weight[own].sum() / weight.sum()))
        for label in (*manifest.legends["climate"].labels, UNKNOWN)
        if (own := climates == label).any()
    ]
    return table(("climate of most of the tile", "rows", "share", "weighted"), rows)


def _covers(manifest: Manifest) -> str:
    covers, shares = manifest.column("landcover"), manifest.landcover_shares()
    valid = manifest.column("landcover_valid").astype(np.float64)
    plain, weighted = mean_shares(shares, valid), mean_shares(shares, valid * manifest.column("weight"))
    rows = [
        (label, count((covers == label).sum()), percent(plain[k]), percent(weighted[k]))
        for k, label in enumerate(manifest.landcover_labels)
    ]
    return table(("land cover", "rows where it is the largest", "share of the area", "weighted"), rows)


def _splits(manifest: Manifest) -> list[str]:
    split, settings = manifest.column("split"), manifest.metadata["config"]["split"]
    rows = [(name, count((split == name).sum()), percent((split == name).mean())) for name in SPLITS]
    return [
        "### Splits",
        f"Whole blocks of {setting(settings['block_km'])} km are held out; rows nearer than "
        f"{setting(settings['buffer_km'])} km to another split are `buffer`, and belong to none.",
        table(("split", "rows", "share"), rows),
    ]


def _irregular(manifest: Manifest, scenes: SceneSummary | None) -> dict[str, str]:
    num, overlapping = len(manifest), _overlaps(manifest)
    rows = {
        f"without scenes{'' if season == 'year' else f' in {season}'}": num - paired
        for season, paired in (scenes.seasons if scenes else ())
    }
    if CHIP in manifest.table.column_names:
        rows["without a chip"] = manifest.table[CHIP].null_count
    rows |= {
        "without an inclusion probability": manifest.table["inclusion_probability"].null_count,
        "of a tile that an earlier row has": num - len(set(manifest.column("tile_id"))),
        **overlapping,
    }
    return {name: count(number_of) for name, number_of in rows.items()}


def _overlaps(manifest: Manifest) -> dict[str, int]:
    shapes, split = shapely.from_wkb(manifest.column("geometry")), manifest.column("split")
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pair = one < other
    one, other = one[pair], other[pair]
    apart = (split[one] != split[other]) & (split[one] != "buffer") & (split[other] != "buffer")
    return {
        "whose footprint overlaps that of another row": len(np.union1d(one, other)),
        "pairs of overlapping footprints": len(one),
        "of these pairs, in two splits (buffer left aside)": int(apart.sum()),
    }
