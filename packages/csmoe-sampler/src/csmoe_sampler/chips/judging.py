"""One tile's pixels -> what the store keeps, checked: offset removed, dB, shares of valid pixels, guards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_sampler.chips.alignment import measure_shift
from csmoe_sampler.chips.guards import Finding, check_chip, detect_offset
from csmoe_sampler.chips.journal import FAILED, FETCHED, NOT_FETCHED, Failure, Measured, Outcome, Warned
from csmoe_sampler.chips.radiometry import store_decibels, store_dn, to_decibels, to_dn, valid_share
from csmoe_sampler.chips.reading import Recipe, SceneError, SeasonPixels
from csmoe_sampler.chips.tiles import Scene, Tile
from csmoe_sampler.errors import RasterAccessError, RasterUnreachableError
from csmoe_sampler.types import Float32

Chip = Mapping[str, npt.NDArray[Any]]


def judge_tile(
    tile: Tile, found: Sequence[SeasonPixels | None] | SceneError, recipe: Recipe
) -> tuple[Outcome, dict[int, Chip]]:
    """What becomes of a tile, and its chips by season; none of a tile that fails in any."""
    empty = tuple(Measured() for _ in tile.seasons)
    if isinstance(found, SceneError):
        passing = isinstance(found.cause, RasterUnreachableError | RasterAccessError)
        failure = Failure(
            tile_id=tile.tile_id,
            sensor=found.sensor,
            item=found.item,
            reason=str(found.cause),
            passing=passing,
            unread=True,
        )
        return Outcome(status=FAILED, seasons=empty, failures=(failure,)), {}
    there = [(number, pixels) for number, pixels in enumerate(found) if pixels is not None]
    if not there:
        return Outcome(status=NOT_FETCHED, seasons=empty), {}
    judged = {number: _judge_season(tile, tile.seasons[number], pixels, recipe) for number, pixels in there}
    failures = tuple(failure for _, _, more, _ in judged.values() for failure in more)
    grid = there[0][1].grid
    outcome = Outcome(
        status=FAILED if failures else FETCHED,
        crs=grid.crs,
        bounds=grid.bounds,
        seasons=tuple(judged[number][1] if number in judged else Measured() for number in range(len(tile.seasons))),
        failures=failures,
        warnings=tuple(warning for *_, more in judged.values() for warning in more),
    )
    return outcome, {} if failures else {number: chip for number, (chip, *_) in judged.items()}


Judged = tuple[Chip, Measured, list[Failure], list[Warned]]


def _judge_season(tile: Tile, scenes: Mapping[str, Scene], pixels: SeasonPixels, recipe: Recipe) -> Judged:
    offset = _offset(scenes["s2"], pixels.sensors["s2"], recipe)
    arrays = {"s2": to_dn(pixels.sensors["s2"], recipe.products["s2"].unit, offset)}
    if "s1" in pixels.sensors:
        linear = recipe.products["s1"].unit == "linear"
        arrays["s1"] = to_decibels(pixels.sensors["s1"]) if linear else pixels.sensors["s1"]
    shares = {sensor: valid_share(array) for sensor, array in arrays.items()}
    findings = check_chip(arrays, {sensor: recipe.bands(sensor) for sensor in arrays})
    failures = [
        Failure(tile_id=tile.tile_id, sensor=sensor, item=scenes[sensor].item, reason=reason)
        for sensor, reason in _reasons(shares, findings, recipe)
    ]
    measured = Measured(
        s2_offset=offset, s2_valid=shares["s2"], s1_valid=shares.get("s1"), shift=_shift(arrays, recipe)
    )
    chip: dict[str, npt.NDArray[Any]] = {"s2": store_dn(arrays["s2"])}
    if "s1" in arrays:
        chip["s1"] = store_decibels(arrays["s1"])
    if recipe.mask:
        chip["scl"] = np.zeros(arrays["s2"].shape[1:], np.uint8) if pixels.mask is None else pixels.mask
    return chip, measured, failures, [_warned(tile, finding) for finding in findings if not finding.fatal]


def _offset(scene: Scene, dn: Float32, recipe: Recipe) -> float:
    """DN to subtract: what the item tells, or the pixels where it does not."""
    asked = recipe.config.offset == "detect" or scene.offset is None
    if asked and recipe.products["s2"].unit == "DN":
        return detect_offset(dn, recipe.config.s2_bands)
    return scene.offset or 0.0


def _reasons(shares: Mapping[str, float], findings: Sequence[Finding], recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Why a chip is refused: sensor and account, one for each sensor."""
    refusing = [finding for finding in findings if finding.fatal or recipe.config.guards == "refuse"]
    for sensor, share in shares.items():
        accounts = [finding.message for finding in refusing if finding.sensor == sensor]
        if accounts:
            yield sensor, "; ".join(accounts)
        elif share < recipe.config.min_valid:
            least = recipe.config.min_valid
            yield sensor, f"{share:.1%} of its pixels are valid in all bands, less than chips.min_valid = {least:g}"


def _shift(arrays: Mapping[str, Float32], recipe: Recipe) -> tuple[float | None, float | None, float] | None:
    if not recipe.config.alignment or "s1" not in arrays:
        return None
    shift = measure_shift(arrays["s1"], arrays["s2"], recipe.config.s2_bands)
    return _number(shift.dx_px), _number(shift.dy_px), _number(shift.quality) or 0.0


def _warned(tile: Tile, finding: Finding) -> Warned:
    return Warned(
        sensor=finding.sensor,
        band=finding.band,
        problem=finding.problem,
        figure=_number(finding.figure),
        message=f"tile {tile.tile_id}, {finding.message}",
    )


def _number(figure: float) -> float | None:
    return float(figure) if math.isfinite(figure) else None
