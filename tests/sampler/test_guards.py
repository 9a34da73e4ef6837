"""Guards: genuine chips pass, each mutated copy is caught, typical surfaces raise no alarm."""

from __future__ import annotations

import re

import numpy as np
import pytest

from csmoe_sampler.chips.guards import Finding, check_chip, check_store, detect_offset
from csmoe_sampler.chips.spectra import better_order
from sampler.chip_files import write_store
from sampler.real_chips import L1C, L2A, WITH_OFFSET, Chip, bigearthnet, eurosat, sen1floods11, terramesh

SURFACES = {
    "sand": (1300, 1600, 2700, 4000, 4500, 4800, 5000, 5200, 5500, 5500, 6500, 6000),
    "grey semi-desert": (1000, 1200, 1500, 1900, 2000, 2100, 2200, 2250, 2300, 2300, 2900, 2500),
    "red soil": (380, 520, 850, 1600, 1900, 2100, 2300, 2400, 2500, 2500, 3300, 2700),
    "salt": (3800, 4200, 4800, 5200, 5300, 5300, 5400, 5400, 5400, 5300, 4300, 3500),
    "snow": (9000, 9200, 9100, 9000, 8900, 8700, 8600, 8500, 8200, 8000, 600, 500),
    "cloud": (6500, 6200, 6000, 6100, 6200, 6300, 6300, 6400, 6300, 6000, 4000, 3000),
    "forest": (150, 200, 420, 220, 700, 2400, 2900, 3000, 3150, 3150, 1500, 650),
    "steppe": (600, 750, 1050, 1400, 1700, 1900, 2050, 2150, 2250, 2250, 3000, 2300),
    "city": (1000, 1150, 1350, 1450, 1600, 1800, 1950, 2000, 2050, 2050, 2200, 1900),
    "lake": (300, 280, 250, 150, 120, 100, 100, 90, 80, 80, 40, 30),
}
"""Typical L2A reflectances x 10,000 by band."""


def sound(data) -> list[Chip]:
    """Every genuine chip, but for the one with the offset left in and the empty one."""
    chips = [*terramesh(data), *bigearthnet(data), *sen1floods11(data), *eurosat(data)]
    return [chip for chip in chips if chip.name not in (WITH_OFFSET, "Paraguay")]


def problems(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.band, finding.problem) for finding in findings}


def surface(name: str, texture: float, seed: int = 0) -> np.ndarray:
    """(12, 60, 70) A surface whose brightness varies by a log-normal texture, the same in all bands but for some."""
    noise = np.random.default_rng(seed)
    spectrum = np.array(SURFACES[name], np.float32)[:, None, None]
    common = np.exp(texture * noise.standard_normal((60, 70)))
    own = np.exp(0.02 * noise.standard_normal((12, 60, 70)))
    return (spectrum * common * own).astype(np.float32)


# ---- genuine chips ------------------------------------------------------------


def test_sound_chips_pass(shared_data):
    for chip in sound(shared_data):
        assert check_chip(chip.arrays(), chip.bands()) == [], chip.name
        if chip.s2 is not None:
            assert detect_offset(chip.s2, chip.s2_bands) == 0, chip.name
            assert detect_offset(np.nan_to_num(chip.s2), chip.s2_bands) == 0, chip.name


def test_the_mixed_offset_is_recognised(shared_data):
    found = {chip.name: detect_offset(np.nan_to_num(chip.s2)) for chip in terramesh(shared_data)}
    assert found == {"282D_485L_3_3": 0, WITH_OFFSET: 1000, "637U_59R_1_3": 0}
    chip = next(chip for chip in terramesh(shared_data) if chip.name == WITH_OFFSET)
    (finding,) = check_chip(chip.arrays(), chip.bands())
    assert (finding.sensor, finding.problem, finding.fatal) == ("s2", "offset", False)
    assert finding.figure == pytest.approx(1123, abs=10)
    assert finding.message.endswith("subtract 1000 from every band")
    assert check_chip(chip.arrays() | {"s2": chip.s2 - 1000}, chip.bands()) == []


def test_the_empty_chip_is_fatal(shared_data):
    _, paraguay = sen1floods11(shared_data)
    findings = check_chip(paraguay.arrays(), paraguay.bands())
    assert problems(findings) == {("VV", "empty"), ("VH", "empty")}
    assert all(finding.fatal for finding in findings)


# ---- mutated copies ------------------------------------------------------------

S1_MUTATIONS = {
    "swapped": (lambda x: x[::-1], {("", "swapped")}),
    "linear": (lambda x: 10 ** (x / 10), {("VV", "linear"), ("VH", "linear")}),
    "linear VH": (lambda x: np.stack([x[0], 10 ** (x[1] / 10)]), {("VH", "linear")}),
    "truncated": (np.trunc, {("VV", "truncated"), ("VH", "truncated")}),
    "amplitude": (lambda x: 400 * 10 ** (x / 20), {("VV", "range"), ("VH", "range")}),
    "dB of dB": (lambda x: 4 * x, {("VV", "range"), ("VH", "range")}),
    "constant": (lambda x: np.stack([x[0], np.full_like(x[1], -3)]), {("VH", "constant")}),
    "duplicated": (lambda x: x[[0, 0]], {("VH", "duplicated")}),
}


@pytest.mark.parametrize("name", S1_MUTATIONS)
def test_mutated_radar_is_caught(shared_data, name):
    mutate, expected = S1_MUTATIONS[name]
    for chip in sound(shared_data):
        if chip.s1 is not None:
            for dtype in (np.float32, np.float16):
                s1 = mutate(chip.s1).astype(dtype).astype(np.float32)
                assert problems(check_chip({"s1": s1}, chip.bands())) == expected, chip.name


def test_truncated_and_swapped_are_both_named(shared_data):
    s1 = np.trunc(terramesh(shared_data)[0].s1[::-1])
    assert problems(check_chip({"s1": s1}, {"s1": ("VV", "VH")})) == {
        ("VV", "truncated"),
        ("VH", "truncated"),
        ("", "swapped"),
    }
    assert problems(check_chip({"s1": s1}, {"s1": ("VH", "VV")})) == {("VV", "truncated"), ("VH", "truncated")}


def _with(values: np.ndarray, band: int, new: np.ndarray | float) -> np.ndarray:
    changed = values.copy()
    changed[band] = new
    return changed


S2_MUTATIONS = {
    "offset": (lambda x: x + 1000, {("", "offset")}),
    "reflectance": (lambda x: x / 10_000, {("", "unit")}),
    "scaled twice": (lambda x: x * 10_000, {("", "unit")}),
    "empty": (lambda x: _with(x, 3, np.nan), {("B04", "empty")}),
    "zeros": (lambda x: _with(x, 1, 0), {("B02", "constant")}),
    "duplicated": (lambda x: _with(x, 2, x[1]), {("B03", "duplicated")}),
}


@pytest.mark.parametrize("name", S2_MUTATIONS)
def test_mutated_reflectance_is_caught(shared_data, name):
    mutate, expected = S2_MUTATIONS[name]
    for chip in sound(shared_data):
        if chip.s2 is None or (name == "offset" and "B10" in chip.s2_bands):
            continue
        found = problems(check_chip({"s2": mutate(chip.s2)}, chip.bands()))
        # One band of a genuine spectrum replaced may be taken for another order as well.
        assert expected <= found <= expected | {("", "shifted")}, chip.name


@pytest.mark.parametrize("name", ["snow", "cloud", "salt", "sand"])
def test_the_offset_over_bright_surfaces_passes_for_none(name):
    """What the docstring says: they are as bright without it."""
    assert detect_offset(surface(name, 0.1) + 1000) == 0


def test_an_offset_subtracted_twice_is_caught(shared_data):
    for chip in (*terramesh(shared_data), *bigearthnet(shared_data)):
        once = chip.s2 - 1000 if chip.name == WITH_OFFSET else chip.s2
        found = problems(check_chip({"s2": once - 1000}, chip.bands()))
        assert found == {("", "offset_twice")}, chip.name


def test_clipped_values_are_caught(shared_data):
    chip = terramesh(shared_data)[0]
    top = np.nanpercentile(chip.s2[7], 80)
    found = check_chip({"s2": _with(chip.s2, 7, np.minimum(chip.s2[7], top))}, chip.bands())
    assert problems(found) == {("B08", "saturated")}
    assert found[0].figure == pytest.approx(0.2, abs=0.02)


ORDERS = {
    "left": lambda names: names[1:] + names[:1],
    "right": lambda names: names[-1:] + names[:-1],
    "reverse": lambda names: names[::-1],
    "alphabetical": lambda names: (*(n for n in names if n != "B8A"), "B8A"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_wrong_orders_are_caught_and_the_right_one_is_named(shared_data, name):
    """The values are ordered wrongly under the right names; lakes say nothing about their order, and snow little."""
    for chip in sound(shared_data):
        if chip.s2 is None or chip.name in ("SeaLake_3000", "57_38"):
            continue
        by_wavelength = L1C if "B10" in chip.s2_bands else L2A
        held = ORDERS[name](by_wavelength)
        values = np.stack([chip.s2[chip.s2_bands.index(band)] for band in held])
        findings = check_chip({"s2": values}, {"s2": by_wavelength})
        assert problems(findings) == {("", "shifted")}, chip.name
        assert f"({', '.join(held)})" in findings[0].message
        order = better_order(by_wavelength, values.reshape(len(values), -1))
        assert order is not None
        assert order.names == held


def test_eurosat_read_by_wavelength_is_caught(shared_data):
    """The trap itself: the file has B8A last, a reader takes its 13 bands as B01 to B12 with B8A after B08."""
    for chip in eurosat(shared_data):
        if chip.name != "SeaLake_3000":
            (finding,) = check_chip({"s2": chip.s2}, {"s2": L1C})
            assert finding.problem == "shifted"
            assert "B8A as the last band" in finding.message


# ---- typical surfaces ------------------------------------------------------------


TEXTURED = [(name, texture) for name in SURFACES for texture in (0.05, 0.1, 0.3)]
TEXTURED.remove(("city", 0.05))  # no city is as smooth as that


@pytest.mark.parametrize(("name", "texture"), TEXTURED)
def test_typical_surfaces_raise_no_alarm(name, texture):
    values = surface(name, texture)
    assert check_chip({"s2": values}, {"s2": L2A}) == []
    assert detect_offset(values) == 0


@pytest.mark.parametrize("name", ["forest", "steppe", "red soil", "lake"])
def test_the_offset_is_recognised_over_dark_bands(name):
    assert detect_offset(surface(name, 0.1) + 1000) == 1000
    if name in {"forest", "lake"}:
        assert detect_offset(surface(name, 0.1)[[1, 2, 3, 7]] + 1000, ("B02", "B03", "B04", "B08")) == 1000


def test_little_to_go_by():
    nothing = np.zeros((12, 9, 7), np.float32)
    assert detect_offset(nothing) == 0
    values = surface("forest", 0.2)
    values[:, 1:] = np.nan
    assert check_chip({"s2": values}, {"s2": L2A}) == []
    sea = np.random.default_rng(1).normal(-25, 1, (2, 50, 60)).astype(np.float32)
    assert check_chip({"s1": sea}, {"s1": ("VV", "VH")}) == [], "water at the noise floor is not swapped"


def test_other_sensors_are_asked_for_content_only():
    dem = np.stack([np.full((5, 6), 3.0), np.arange(30.0).reshape(5, 6)]).astype(np.float32)
    (finding,) = check_chip({"dem": dem}, {"dem": ("low", "high")})
    assert (finding.band, finding.problem, finding.figure, finding.fatal) == ("low", "constant", 3.0, True)
    assert re.fullmatch(r"dem low: every valid pixel is 3; leave .*", finding.message)


# ---- stores ------------------------------------------------------------


def test_a_store_reports_what_a_share_of_its_chips_shows(shared_data, tmp_path):
    path = write_store(tmp_path / "chips.zarr", terramesh(shared_data))
    (finding,) = check_store(path)
    assert (finding.sensor, finding.problem, finding.fatal) == ("s2", "offset", False)
    assert finding.figure == pytest.approx(1 / 3)
    assert finding.message == (
        f"s2: offset in 1 of 3 chips looked at (first {WITH_OFFSET}; the darkest band does not fall below 1125, as "
        "with the +1000 offset left in); subtract 1000 from every band"
    )


def test_a_sound_store_has_no_findings(shared_data, tmp_path):
    chips = [chip for chip in terramesh(shared_data) if chip.name != WITH_OFFSET]
    assert check_store(write_store(tmp_path / "chips.zarr", chips, failed=2)) == []
    assert check_store(write_store(tmp_path / "none.zarr", chips, failed=2, fetched=0)) == []


def test_a_few_strange_chips_among_many_are_not_reported(shared_data, tmp_path):
    chip = terramesh(shared_data)[0]
    small = [Chip(f"{k}", chip.s2[:, k : k + 60, :60], L2A, chip.s1[:, k : k + 60, :60]) for k in range(30)]
    strange = [Chip("odd", chip.s2[:, :60, :60] + 1000, L2A, chip.s1[::-1, :60, :60])]
    path = write_store(tmp_path / "chips.zarr", [*small, *strange])
    assert check_store(path) == []
    assert {finding.problem for finding in check_store(path, sample=2)} == {"offset", "swapped"}, "the ends are drawn"


def test_seasons_are_all_looked_at(shared_data, tmp_path):
    sound_chip, _, other = terramesh(shared_data)
    swapped = [Chip(chip.name, chip.s2, L2A, chip.s1[::-1]) for chip in (sound_chip, other)]
    seasons = {"summer": [sound_chip, other], "winter": swapped}
    path = write_store(tmp_path / "chips.zarr", [sound_chip, other], seasons=seasons)
    (finding,) = check_store(path)
    assert (finding.problem, finding.figure) == ("swapped", 0.5)
    assert "2 of 4 chips" in finding.message
