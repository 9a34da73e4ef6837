"""What statistics say about pixels: bands that are empty, swapped, in another unit, shifted, or carry the +1000 offset.

Every rule asks the values alone, and stays silent where they do not say enough. The figures in the comments are those
of genuine chips: TerraMesh, BigEarthNet, Sen1Floods11 and EuroSAT.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csmoe_sampler.chips.rows import ChipRows, masked
from csmoe_sampler.chips.spectra import better_order
from csmoe_sampler.config import S2_BANDS
from csmoe_sampler.types import Bool, Float32, Float64

OFFSET = 1000.0
"""DN that Sentinel-2 products carry from baseline 04.00 on."""
_OFFSET_FLOOR = (850.0, 1650.0)
_BRIGHT_BLUE = 3000.0
_MAX_SAMPLE = 4096
"""Pixels that the rules on several bands look at; fatal ones look at all."""
_LAND_DB = -20.0
_STORE_SHARE = 0.1
_REMEDIES = {
    "empty": "leave this chip out, or fetch another scene",
    "constant": "leave this chip out, or fetch another scene",
    "duplicated": "check which file each band is read from",
    "swapped": "exchange the names of VV and VH",
    "linear": "convert to dB with 10 log10(x)",
    "truncated": "convert to dB in floating point, and store no integers",
    "range": "check the calibration: power becomes dB once, by 10 log10(x)",
    "unit": "give reflectance x 10,000",
    "offset": "subtract 1000 from every band",
    "offset_twice": "add 1000 to every band, and subtract the offset once",
    "shifted": "name the bands anew",
    "saturated": "check that no smaller integer type or 8-bit picture is in between",
}
"""Problem key -> what to do."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that looks wrong in the pixels of a sensor."""

    sensor: str
    band: str
    """Empty where it concerns all bands."""
    problem: str
    """A short key: one of `empty constant duplicated swapped linear truncated range unit offset offset_twice shifted
    saturated`."""
    figure: float
    """The statistic that gave it away; of a store, the share of chips that show it."""
    message: str
    """One sentence: where, what was found, what to do."""
    fatal: bool
    """Whether the chip holds nothing that could be used."""


def check_chip(arrays: Mapping[str, Float32], bands: Mapping[str, Sequence[str]]) -> list[Finding]:
    """What looks wrong in a chip; an empty list where nothing does.

    Args:
        arrays: By sensor, (bands, H, W) with NaN where invalid: `s2` in reflectance x 10,000 without offset, `s1` in
            dB. Of other sensors only empty and constant bands are found.
        bands: Names of the bands of each sensor, in the order of its array.
    """
    findings: list[Finding] = []
    for sensor, values in arrays.items():
        names = tuple(bands[sensor])
        fatal = list(_useless(sensor, names, values))
        findings += fatal
        usable = [k for k, name in enumerate(names) if name not in {finding.band for finding in fatal}]
        rules = {"s2": _optical, "s1": _radar}.get(sensor)
        if rules and usable:
            findings += rules(sensor, tuple(names[k] for k in usable), _sample(values[usable]))
    return findings


def check_store(path: Path, sample: int = 64) -> list[Finding]:
    """What a tenth or more of the chips of a store show; what is fatal is reported from one chip on.

    Args:
        path: A store as `fetch` writes it.
        sample: Rows to look at, drawn evenly from those that hold pixels; of each, all seasons.

    Returns:
        One finding for each sensor, band and problem, with the share of the chips as its figure and the first tile in
        its message.

    Raises:
        ChipError: There is no store, or it is unfinished.
    """
    with ChipRows(path) as rows:
        fetched, bands = rows.fetched, rows.bands
        places = np.unique(np.linspace(0, len(fetched) - 1, min(sample, len(fetched))).astype(np.int64))
        found = [
            (chip.tile_id, check_chip({name: masked(chip.arrays[name], rows.layers[name]) for name in bands}, bands))
            for chip in rows.read(fetched[places])
        ]
    return sum_up(found)


def sum_up(found: Sequence[tuple[str, Sequence[Finding]]]) -> list[Finding]:
    """What a tenth or more of chips show, given as tile and findings; of what is fatal, one chip is enough."""
    alike: dict[tuple[str, str, str], list[tuple[str, Finding]]] = defaultdict(list)
    for tile, findings in found:
        for finding in findings:
            alike[finding.sensor, finding.band, finding.problem].append((tile, finding))
    return [
        _of_store(some, len(found))
        for some in alike.values()
        if some[0][1].fatal or len(some) >= _STORE_SHARE * len(found)
    ]


def _of_store(alike: Sequence[tuple[str, Finding]], looked_at: int) -> Finding:
    tile, first = alike[0]
    where = f"{first.sensor} {first.band}".rstrip()
    found = first.message.removeprefix(f"{where}: ").removesuffix(f"; {_REMEDIES[first.problem]}")
    text = f"{first.problem.replace('_', ' ')} in {len(alike)} of {looked_at} chips looked at (first {tile}; {found})"
    share = len(alike) / looked_at
    return finding_of(first.sensor, first.band, first.problem, share, text, fatal=first.fatal)


def detect_offset(dn: Float32 | Float64, bands: Sequence[str] | None = None) -> float:
    """The offset in raw DN, told from their statistics: 1000.0, or 0.0 where nothing speaks for it.

    An offset lifts the floor (first percentile) of every band, and some bands are nearly black in most places. So it is
    believed where no floor lies below 850 and a sixth of the bands (two at least) have theirs below 1650. With the
    offset, floors were 1123 to 1166 in B01 to B04 (TerraMesh 433D_629L); without, the lowest one was 1 to 196 in nine
    L2A chips and 6 to 10 in four of L1C, whose path radiance lifts B01 to 1060 and more, but not the dark bands. The
    bounds were set on these chips and on twelve-band spectra of typical surfaces, not on a separate collection.

    Two kinds of ground look like it without it, and are not believed: a bare surface of which that would leave too
    little blue light beside the red (below 0.3 at an NDVI below 0.3; deserts, concrete), and one that stays brighter
    than 3000 in blue (snow, clouds). These pass for 0 with the offset as without: the processing baseline says more.

    Args:
        dn: (bands, H, W); 0 or NaN where invalid.
        bands: Names of the bands; by default, twelve are those of L2A, and of others no ground is told apart.
    """
    sample = _sample(np.where(dn == 0, np.nan, dn).astype(np.float32))
    valid: Bool = np.asarray(np.isfinite(sample).any(axis=1))
    if bands is None:
        bands = S2_BANDS if len(dn) == len(S2_BANDS) else [str(k) for k in range(len(dn))]
    names = [name for name, some in zip(bands, valid, strict=True) if some]
    sample = sample[valid]
    return OFFSET if len(sample) and _carries_offset(names, sample) else 0.0


def _carries_offset(names: Sequence[str], sample: Float32) -> bool:
    floors = np.nanpercentile(sample, 1.0, axis=1)
    low, high = _OFFSET_FLOOR
    if floors.min() < low or np.count_nonzero(floors <= high) < max(2, len(names) / 6):
        return False
    medians = dict(zip(names, (np.nanmedian(sample, axis=1) - OFFSET).tolist(), strict=True))
    if not {"B02", "B04", "B08"} <= set(medians):
        return True
    blue, red, infrared = medians["B02"], medians["B04"], medians["B08"]
    is_bare = red > 300 and (infrared - red) < 0.3 * (infrared + red)
    return blue < _BRIGHT_BLUE and not (is_bare and blue < 0.3 * red)


def finding_of(sensor: str, band: str, problem: str, figure: float, found: str, *, fatal: bool = False) -> Finding:
    """A finding whose message says where, what was `found`, and the remedy."""
    where = f"{sensor} {band}".rstrip()
    return Finding(
        sensor=sensor,
        band=band,
        problem=problem,
        figure=float(figure),
        message=f"{where}: {found}; {_REMEDIES[problem]}",
        fatal=fatal,
    )


def _sample(values: Float32) -> Float32:
    """(bands, pixels): evenly spread pixels, the same ones in all bands."""
    flat = values.reshape(len(values), -1)
    step = max(1, flat.shape[1] // _MAX_SAMPLE)
    return flat[:, :: step + (step > 1 and step % 2 == 0)]


def _useless(sensor: str, names: Sequence[str], values: Float32) -> Iterator[Finding]:
    for name, band in zip(names, values, strict=True):
        valid = np.isfinite(band)
        if not valid.any():
            yield finding_of(sensor, name, "empty", 0.0, "no valid pixel", fatal=True)
            continue
        low, high = np.nanmin(band, where=valid, initial=np.inf), np.nanmax(band, where=valid, initial=-np.inf)
        if low == high:
            yield finding_of(sensor, name, "constant", low, f"every valid pixel is {low:.6g}", fatal=True)


def _optical(sensor: str, names: tuple[str, ...], sample: Float32) -> list[Finding]:
    findings = list(_duplicates(sensor, names, sample))
    bright, middle = float(np.nanpercentile(sample, 99.0)), float(np.nanmedian(sample))
    if bright <= 2.0:
        found = f"99 % of the values are below {bright:.3g}, as reflectances of 0 to 1"
        return [*findings, finding_of(sensor, "", "unit", bright, found)]
    if middle > 25_000:
        return [*findings, finding_of(sensor, "", "unit", middle, f"half of the values are above {middle:.6g}")]
    floor = np.nanpercentile(sample, 1.0, axis=1).min()
    if _carries_offset(names, sample):
        found = f"the darkest band does not fall below {floor:.0f}, as with the +1000 offset left in"
        return [*findings, finding_of(sensor, "", "offset", floor, found)]
    with_value = np.isfinite(sample).any(axis=0)
    below = float((np.nanmin(sample[:, with_value], axis=0) < -300).mean())
    if below > 0.2:
        found = f"{below:.0%} of the pixels have a band below -300, as with the offset subtracted twice"
        return [*findings, finding_of(sensor, "", "offset_twice", below, found)]
    findings += _saturated(sensor, names, sample)
    order = better_order(names, sample)
    if order:
        found = f"the spectrum fits {order.title} ({', '.join(order.names)}) better, by {order.gain:.0f}"
        findings.append(finding_of(sensor, "", "shifted", order.gain, found))
    return findings


def _duplicates(sensor: str, names: Sequence[str], sample: Float32) -> Iterator[Finding]:
    for k, name in enumerate(names):
        for other in range(k):
            both = np.isfinite(sample[k]) & np.isfinite(sample[other])
            same = float((sample[k] == sample[other])[both].mean()) if both.any() else 0.0
            if same >= 0.99:
                found = f"equal to {names[other]} in {same:.1%} of the pixels"
                yield finding_of(sensor, name, "duplicated", same, found)


def _saturated(sensor: str, names: Sequence[str], sample: Float32) -> Iterator[Finding]:
    """Bands whose largest value is that of many pixels; genuine chips stay below 0.1 %, and dark bands are left out."""
    for name, band in zip(names, sample, strict=True):
        values = band[np.isfinite(band)]
        top = values.max()
        share = float((values == top).mean())
        if share > 0.1 and top > 2000:
            found = f"{share:.0%} of the pixels are at the maximum {top:.6g}"
            yield finding_of(sensor, name, "saturated", share, found)


def _radar(sensor: str, names: tuple[str, ...], sample: Float32) -> list[Finding]:
    findings = list(_duplicates(sensor, names, sample))
    for name, band in zip(names, sample, strict=True):
        values = band[np.isfinite(band)]
        middle, negative = float(np.median(values)), float((values < 0).mean())
        if negative < 0.01 and middle < 5:
            found = f"{1 - negative:.1%} of the values are not negative (median {middle:.3g}), as linear power"
            findings.append(finding_of(sensor, name, "linear", middle, found))
            continue
        low = {"VV": -30.0, "HH": -30.0}.get(name, -36.0)  # medians were -7.9 to -13.9 and -15.6 to -20.1
        if not low <= middle <= 5:
            found = f"half of the values are {'below' if middle < low else 'above'} {middle:.3g} dB"
            findings.append(finding_of(sensor, name, "range", middle, found))
        whole = float((np.abs(values - np.round(values)) < 1e-3).mean())
        if whole > 0.99:
            found = f"{whole:.1%} of the values are whole numbers, as of truncated dB"
            findings.append(finding_of(sensor, name, "truncated", whole, found))
    if {"VV", "VH"} <= set(names) and not any(f.problem in {"linear", "range"} for f in findings):
        findings += _swapped(sensor, sample[names.index("VV")], sample[names.index("VH")])
    return findings


def _swapped(sensor: str, co: Float32, cross: Float32) -> Iterator[Finding]:
    """VV was 4.8 to 7.9 dB above VH in ten chips; calm water is at the noise floor in both, and says nothing."""
    land: Bool = np.maximum(co, cross) > _LAND_DB  # NaN compares as False
    difference = (co - cross)[land]
    difference = difference[np.isfinite(difference)]
    if difference.size < max(64, 0.05 * co.size):
        return
    middle = float(np.median(difference))
    if middle < -1.0:
        yield finding_of(sensor, "", "swapped", middle, f"VV is {-middle:.1f} dB weaker than VH in the middle")
