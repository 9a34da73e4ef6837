"""The shift between Sentinel-1 and Sentinel-2: known shifts are found, and none is claimed where nothing says so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage

from csmoe_sampler.chips.alignment import MIN_QUALITY, Shift, correlate, measure_shift
from sampler.real_chips import L2A, Chip, bigearthnet, sen1floods11, terramesh


def moved(picture: np.ndarray, dx_px: float, dy_px: float) -> np.ndarray:
    """The content of (..., H, W) moved to the right and downwards by cubic splines."""
    shift = [0.0] * (picture.ndim - 2) + [dy_px, dx_px]
    return scipy.ndimage.shift(picture, shift, order=3, mode="reflect").astype(np.float32)


def measure(chip: Chip, dx_px: float = 0.0, dy_px: float = 0.0) -> Shift:
    infrared = chip.s2[[chip.s2_bands.index("B08")]]
    return measure_shift(chip.s1, moved(np.nan_to_num(infrared, nan=1.0), dx_px, dy_px), ("B08",))


def with_edges(data) -> list[Chip]:
    """Chips in which both sensors see the same edges."""
    return [*terramesh(data), next(chip for chip in bigearthnet(data) if chip.name == "69_24"), sen1floods11(data)[0]]


@pytest.mark.parametrize(("dx_px", "dy_px"), [(0, 0), (3, -2), (0.5, 0.25), (-7.3, 5.6), (11, 0)])
def test_shifts_of_the_same_picture_are_exact(shared_data, dx_px, dy_px):
    for chip in terramesh(shared_data):
        picture = np.nan_to_num(chip.s2[7], nan=1.0)[:, :190]
        found = correlate(picture, moved(picture, dx_px, dy_px))
        assert found.dx_px == pytest.approx(dx_px, abs=0.1)
        assert found.dy_px == pytest.approx(dy_px, abs=0.1)
        assert found.quality > 30


@pytest.mark.parametrize(("dx_px", "dy_px"), [(2.0, 0.0), (-1.5, 3.25), (0.0, -4.0)])
def test_a_shift_between_the_sensors_changes_by_what_is_injected(shared_data, dx_px, dy_px):
    for chip in with_edges(shared_data):
        before, after = measure(chip), measure(chip, dx_px, dy_px)
        assert after.quality >= MIN_QUALITY, chip.name
        assert after.dx_px - before.dx_px == pytest.approx(dx_px, abs=0.4), chip.name
        assert after.dy_px - before.dy_px == pytest.approx(dy_px, abs=0.4), chip.name


def test_missing_pixels_do_not_pull(shared_data):
    for chip in with_edges(shared_data):
        whole = measure(chip)
        s1, s2 = chip.s1.copy(), chip.s2.copy()
        s1[:, : s1.shape[1] // 4] = np.nan
        s2[:, 60:75, 40:70] = np.nan
        found = measure_shift(s1, s2, chip.s2_bands)
        assert (found.dx_px, found.dy_px) == pytest.approx((whole.dx_px, whole.dy_px), abs=0.75), chip.name


def test_no_shift_is_claimed_on_noise_or_between_strangers(shared_data):
    noise = np.random.default_rng(5)
    chips = [*terramesh(shared_data), *bigearthnet(shared_data)]
    for chip in chips:
        speckle = noise.normal(-12, 3, chip.s1.shape).astype(np.float32)
        assert math.isnan(measure_shift(speckle, chip.s2, L2A).dx_px), chip.name
    for k, chip in enumerate(chips):
        for other in chips[:k]:
            found = measure_shift(chip.s1[:, :120, :110], other.s2[:, :120, :110], L2A)
            assert math.isnan(found.dx_px), f"{chip.name} and {other.name}"
            assert math.isnan(found.dy_px)
            assert 0 < found.quality < MIN_QUALITY


@pytest.mark.parametrize(
    ("height", "width", "valid"), [(40, 200, 1.0), (100, 90, 0.4), (100, 90, 0.0)], ids=["small", "holes", "empty"]
)
def test_too_little_to_compare(height, width, valid):
    noise = np.random.default_rng(2)
    s1 = noise.normal(-12, 3, (2, height, width)).astype(np.float32)
    s2 = noise.uniform(0, 3000, (1, height, width)).astype(np.float32)
    s2[:, noise.random((height, width)) >= valid] = np.nan
    found = measure_shift(s1, s2, ("B04",))
    assert math.isnan(found.dx_px)
    assert found.quality == 0


def test_a_uniform_picture_has_no_shift():
    flat = np.full((80, 96), 0.25, np.float32)
    assert correlate(flat, flat).quality == 0
