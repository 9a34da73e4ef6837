"""The sun and the clouds above a frame at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from csmoe_sampler.synthetic.noise import EARTH_KM, fractal_noise, sine_cosine
from csmoe_sampler.types import Float32, Float64

_CLOUD_KM = 1.6
"""Height of the clouds above the ground."""
_LOWEST_SUN = 0.2
"""Shadows are drawn as if the cosine of the sun's zenith angle were this at least."""
_WAVE_KM, _OCTAVES = 46.0, 7
_CIRRUS_KM = 90.0
_SOFT = 0.28
# How much of the sky has noise above a threshold: standard normal quantiles of 2, 5, 10 ... percent.
_SHARES = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0])
_QUANTILES = np.array([4.5, 2.05, 1.64, 1.28, 0.84, 0.52, 0.25, 0.0, -0.25, -0.52, -0.84, -1.28, -1.64, -2.05, -4.5])
_DEVIATION = 0.46


@dataclass(frozen=True, kw_only=True)
class Sun:
    """Where the sun stands, as a unit vector."""

    east: float
    north: float
    up: float

    @property
    def zenith_deg(self) -> float:
        """Angle from the vertical, to 1e-6 degrees."""
        return round(math.degrees(math.acos(self.up)), 6)

    @property
    def azimuth_deg(self) -> float:
        """Clockwise from north, to 1e-6 degrees."""
        return round(math.degrees(math.atan2(self.east, self.north)) % 360.0, 6)


@dataclass(frozen=True, kw_only=True)
class Clouds:
    """Thickness of what hides the pixels, each (H, W), 0-1."""

    cloud: Float32
    cirrus: Float32
    shadow: Float32


def sun_above(lon: float, lat: float, when: datetime) -> Sun:
    """The sun at a place in degrees and a time in UTC."""
    day = when.timetuple().tm_yday
    hours = when.hour + when.minute / 60.0 + lon / 15.0
    sine_sun, cosine_sun = sine_cosine(23.44 * sine_cosine(360.0 * (day - 81) / 365.25)[0])
    sine_hour, cosine_hour = sine_cosine(15.0 * (hours - 12.0))
    sine_lat, cosine_lat = sine_cosine(lat)
    return Sun(
        east=-cosine_sun * sine_hour,
        north=cosine_lat * sine_sun - sine_lat * cosine_sun * cosine_hour,
        up=sine_lat * sine_sun + cosine_lat * cosine_sun * cosine_hour,
    )


def cover_sky(points: Float64, shape: tuple[int, int], pixel_m: float, share: float, sun: Sun, key: int) -> Clouds:
    """Clouds over about `share` of a frame, and their shadows away from the sun.

    Args:
        points: Pixel centres on the unit sphere, (3, H * W).
        shape: H, W.
        pixel_m: Edge of a pixel.
        share: 0 (no clouds at all) to 1.
        sun: Throws the shadows.
        key: Of the noise: another sky for every scene.
    """
    if share <= 0.0:
        nothing = np.zeros(shape, np.float32)
        return Clouds(cloud=nothing, cirrus=nothing, shadow=nothing)
    threshold = float(np.interp(share, _SHARES, _QUANTILES)) * _DEVIATION
    noise = fractal_noise(points, EARTH_KM / _WAVE_KM, key, _OCTAVES, 2.07, 0.62).reshape(shape)
    cloud = _thickness(noise, threshold, _SOFT)
    veil = fractal_noise(points, EARTH_KM / _CIRRUS_KM, key + 16, 3, 3.1, 0.4).reshape(shape)
    cirrus = _thickness(veil, threshold + 0.22, 0.5)
    shift = _CLOUD_KM * 1000.0 / (pixel_m * max(sun.up, _LOWEST_SUN))
    shadow = _moved(cloud, -round(sun.north * shift), round(sun.east * shift))
    return Clouds(cloud=cloud, cirrus=cirrus, shadow=shadow)


def _thickness(noise: Float64, threshold: float, soft: float) -> Float32:
    t = np.clip((noise - threshold) / soft, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def _moved(values: Float32, rows: int, cols: int) -> Float32:
    """What lies `rows` down and `cols` right of every pixel; the border is repeated."""
    down = np.clip(np.arange(values.shape[0]) + rows, 0, values.shape[0] - 1)
    right = np.clip(np.arange(values.shape[1]) + cols, 0, values.shape[1] - 1)
    return values[down[:, None], right[None, :]]
