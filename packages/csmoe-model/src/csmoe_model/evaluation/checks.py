"""What statistics say about the pixels of a data set: swapped, shifted, truncated, empty, or in another unit.

Every rule judges an image alone, from its values, and says nothing where these do not say enough. What half of the
images that it can judge show is an error, what a tenth of them show is worth a warning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import SPLITS, Bands, EvaluationSet, Float32
from csmoe_model.evaluation.spectra import BY_WAVELENGTH, Names, gains

_ERROR_SHARE, _WARNING_SHARE = 0.5, 0.1
_MAX_PIXELS = 4096
_OFFSET = 1000.0
_OFFSET_FLOOR = (980.0, 1650.0)
_BRIGHT_BLUE = 3000.0
_LAND_DB = -20.0
_MIN_GAIN = 9.0
_MEDIANS_DB = {"VV": -30.0, "HH": -30.0}, -36.0, 5.0
_ADVICE = {
    "empty": "leave the band out, or fetch the images again",
    "constant": "leave the band out, or fetch the images again",
    "swapped": "exchange the names of VV and VH",
    "truncated": "read the values as floating point, where they still have fractions",
    "linear": "give the unit as 'power', or convert with 10 log10(x)",
    "decibels": "give the unit as 'dB'",
    "range": "check the unit and the scale",
    "reflectance": "give the unit as 'reflectance'",
    "DN": "give the unit as 'DN'",
    "byte": "give the unit as 'byte'",
    "0-1": "give the unit as '0-1'",
    "offset": "subtract 1000 from every band",
    "shifted": "name the bands in the order of the values",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that looks wrong in the pixels of a sensor."""

    sensor: str
    band: str
    """Empty where it concerns all bands."""
    problem: str
    """What was found, in how many images."""
    advice: str
    """What mends it."""
    severity: Literal["error", "warning"]

    def __str__(self) -> str:
        where = f"{self.sensor} {self.band}".strip()
        return f"{where}: {self.problem}; {self.advice}"


class Seen(NamedTuple):
    """What a rule says of an image."""

    key: str
    band: str
    found: str | None
    """None: all is well."""


def check_data(data: EvaluationSet, *, samples: int = 32) -> list[Finding]:
    """What looks wrong in some samples of every split.

    Args:
        data: The data set.
        samples: Of each split, evenly spread.

    Raises:
        DataError: A sample cannot be read.
    """
    looked_at: list[int] = []
    for split in SPLITS:
        rows = data.of_split(split, least=0)
        if len(rows):
            looked_at += rows[np.unique(np.linspace(0, len(rows) - 1, min(samples, len(rows))).astype(int))].tolist()
    seen: dict[str, list[list[Seen]]] = {sensor: [] for sensor in data.sensors}
    for sample in looked_at:
        for sensor, pixels in data.reader.images(sample).items():
            seen[sensor].append(_judge(data.sensors[sensor], pixels))
    return [finding for sensor, of_images in seen.items() for finding in _sum_up(sensor, of_images)]


def check_pixels(bands: Bands, stacks: Iterable[Float32], *, sensor: str = "") -> list[Finding]:
    """What looks wrong in images (C, H, W) of a sensor, NaN where invalid; an empty list where nothing does."""
    return _sum_up(sensor, [_judge(bands, pixels) for pixels in stacks])


def require_sound(data: EvaluationSet, *, samples: int = 32) -> EvaluationSet:
    """The data set, with what is worth a warning in its notes.

    Raises:
        DataError: Its pixels are not what it says they are; all errors together.
    """
    findings = check_data(data, samples=samples)
    if errors := [str(finding) for finding in findings if finding.severity == "error"]:
        raise DataError(f"data set {data.name}: {'. '.join(errors)}")
    return replace(data, notes=(*data.notes, *map(str, findings)))


def _sum_up(sensor: str, seen: Sequence[Sequence[Seen]]) -> list[Finding]:
    if not seen:
        return [_finding(sensor, "", "empty", "no image of it in the samples looked at", "error")]
    of_rule: dict[tuple[str, str], list[str | None]] = defaultdict(list)
    for of_image in seen:
        for key, band, found in of_image:
            of_rule[key, band].append(found)
    findings = []
    for (key, band), judged in of_rule.items():
        hits = [found for found in judged if found is not None]
        share = len(hits) / len(judged)
        if hits and (share >= _WARNING_SHARE or key in ("empty", "constant")):
            problem = f"{hits[0]}, in {len(hits)} of {len(judged)} images"
            findings.append(_finding(sensor, band, key, problem, "error" if share >= _ERROR_SHARE else "warning"))
    return findings


def _finding(sensor: str, band: str, key: str, problem: str, severity: Literal["error", "warning"]) -> Finding:
    return Finding(sensor=sensor, band=band, problem=problem, advice=_ADVICE[key], severity=severity)


def _judge(bands: Bands, pixels: Float32) -> list[Seen]:
    """What all rules say of an image (C, H, W)."""
    seen, usable = _useless(bands.names, pixels)
    names = tuple(bands.names[k] for k in usable)
    if not usable:
        return seen
    sample = _sample(pixels[usable])
    match bands.unit:
        case "dB":
            seen += _decibels(names, sample)
        case "power":
            seen += _power(names, sample)
        case "DN":
            seen += _numbers(names, sample)
        case "reflectance":
            seen += _reflectances(names, sample)
        case "byte" | "0-1":
            seen += _display(bands.unit, sample)
    return seen


def _sample(values: Float32) -> Float32:
    """(bands, pixels): evenly spread pixels, the same ones in all bands."""
    flat = values.reshape(len(values), -1)
    step = max(1, flat.shape[1] // _MAX_PIXELS)
    return flat[:, :: step + (step > 1 and step % 2 == 0)]  # odd, so that it does not stay in the same columns


def _useless(names: Names, pixels: Float32) -> tuple[list[Seen], list[int]]:
    """What there is to say of each band, and which can be used."""
    seen, usable = [], []
    for k, (name, band) in enumerate(zip(names, pixels, strict=True)):
        values = band[np.isfinite(band)]
        same = values.size > 0 and bool(values.min() == values.max())
        seen.append(Seen("empty", name, None if values.size else "no valid pixel"))
        if values.size:
            seen.append(Seen("constant", name, f"every valid pixel is {values[0]:.6g}" if same else None))
        if values.size and not same:
            usable.append(k)
    return seen, usable


def _decibels(names: Names, sample: Float32) -> Iterator[Seen]:
    floors, lowest, highest = _MEDIANS_DB
    for name, band in zip(names, sample, strict=True):
        values = band[np.isfinite(band)]
        middle, negative = float(np.median(values)), float((values < 0).mean())
        if negative < 0.01 and middle < highest:
            yield Seen("linear", name, f"{1 - negative:.1%} of the values are not negative (median {middle:.3g})")
            return
        yield Seen("linear", name, None)
        plausible = floors.get(name, lowest) <= middle <= highest
        yield Seen("range", name, None if plausible else f"half of the values lie beyond {middle:.3g} dB")
        whole = float((np.abs(values - np.round(values)) < 1e-3).mean())
        yield Seen("truncated", name, f"{whole:.1%} of the values are whole numbers" if whole > 0.99 else None)
    yield from _polarisations(names, sample)


def _power(names: Names, sample: Float32) -> Iterator[Seen]:
    for name, band in zip(names, sample, strict=True):
        values = band[np.isfinite(band)]
        middle = float(np.median(values))
        if middle < 0:
            yield Seen("decibels", name, f"half of the values are below {middle:.3g}, which no power is")
            return
        yield Seen("decibels", name, None)
        yield Seen("range", name, None if middle <= 10**0.5 else f"half of the values are above {middle:.3g}")
    with np.errstate(divide="ignore", invalid="ignore"):
        yield from _polarisations(names, 10 * np.log10(sample))


def _polarisations(names: Names, decibels: Float32) -> Iterator[Seen]:
    """VV was 4.8 to 7.9 dB above VH in genuine chips; calm water is at the noise floor in both, and says nothing."""
    if not {"VV", "VH"} <= set(names):
        return
    co, cross = decibels[names.index("VV")], decibels[names.index("VH")]
    land = np.isfinite(co) & np.isfinite(cross) & (co + cross > 2 * _LAND_DB)
    if land.sum() >= max(64, 0.05 * co.size):
        middle = float(np.median((co - cross)[land]))
        yield Seen("swapped", "", f"VV is {-middle:.1f} dB below VH in the middle" if middle < -1 else None)


def _numbers(names: Names, sample: Float32) -> Iterator[Seen]:
    """Reflectance x 10,000; of what is none of Sentinel-2's bands nothing is known."""
    if not set(names) <= set(BY_WAVELENGTH):
        return
    values = sample[np.isfinite(sample)]
    bright, highest = float(np.percentile(values, 99)), float(values.max())
    whole = bool((values == np.round(values)).all())
    if bright <= 2 and not whole:
        yield Seen("reflectance", "", f"99 % of the values are below {bright:.3g}")
        return
    yield Seen("reflectance", "", None)
    # The darkest places have no more than 255, but stay away from it in some band.
    display = whole and values.min() >= 0 and 250 <= highest <= 255
    yield Seen("byte", "", f"whole numbers from {values.min():.0f} to {highest:.0f}" if display else None)
    yield from _lifted(names, sample)
    yield from _misnamed(names, sample)


def _reflectances(names: Names, sample: Float32) -> Iterator[Seen]:
    middle = float(np.nanmedian(sample))
    if middle > 10:
        yield Seen("DN", "", f"half of the values are above {middle:.6g}")
        return
    yield Seen("DN", "", None)
    yield from _lifted(names, sample * np.float32(10_000))
    yield from _misnamed(names, sample * np.float32(10_000))


def _lifted(names: Names, sample: Float32) -> Iterator[Seen]:
    """Whether the offset of newer products is still in.

    It lifts the floor (first percentile) of every band, and some bands are nearly black in most places. Bare ground
    that would have too little blue beside its red without it, snow and clouds are left in peace.
    """
    if not {"B02", "B04", "B08"} <= set(names):
        return
    floors = np.nanpercentile(sample, 1, axis=1)
    medians = dict(zip(names, (np.nanmedian(sample, axis=1) - _OFFSET).tolist(), strict=True))
    blue, red, infrared = medians["B02"], medians["B04"], medians["B08"]
    is_bare = red > 300 and (infrared - red) < 0.3 * (infrared + red) and blue < 0.3 * red
    low, high = _OFFSET_FLOOR
    some_dark = np.count_nonzero(floors <= high) >= max(2, len(names) / 6)
    lifted = floors.min() >= low and some_dark and not is_bare and blue < _BRIGHT_BLUE
    yield Seen("offset", "", f"no band falls below {floors.min():.0f}, as with the +1000 offset" if lifted else None)


def _misnamed(names: Names, sample: Float32) -> Iterator[Seen]:
    found: Mapping[Names, float] = gains(names, sample)
    if found:
        order = max(found, key=lambda order: found[order])
        fits = f"the spectrum of land fits the order {', '.join(order)} better (by {found[order]:.0f})"
        yield Seen("shifted", "", fits if found[order] >= _MIN_GAIN else None)


def _display(unit: str, sample: Float32) -> Iterator[Seen]:
    low, high = float(np.nanmin(sample)), float(np.nanmax(sample))
    top = 255.0 if unit == "byte" else 1.0
    outside = low < 0 or high > top
    yield Seen("range", "", f"values from {low:.3g} to {high:.3g}, not from 0 to {top:g}" if outside else None)
    if unit == "byte":
        yield Seen("0-1", "", f"no value is above {high:.3g}" if high <= 1 and not outside else None)
