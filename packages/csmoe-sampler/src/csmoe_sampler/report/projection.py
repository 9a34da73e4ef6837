"""Equal-area map projections of the unit sphere: Equal Earth for the globe, sinusoidal for a region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from csmoe_sampler.types import Float64

_EQUAL_EARTH = (1.340264, -0.081106, 0.000893, 0.003796)
"""Coefficients A1..A4 of Šavrič, Patterson and Jenny (2019), doi:10.1080/13658816.2018.1504949."""

_GLOBAL_SPAN_DEG = 180.0


@dataclass(frozen=True)
class Projection:
    """An equal-area projection; both are symmetric about `centre_lon` and map areas without distortion."""

    centre_lon: float = 0.0
    is_global: bool = True

    def forward(self, lon: Float64, lat: Float64) -> tuple[Float64, Float64]:
        """Easting and northing on the unit sphere, of coordinates in degrees."""
        turned = np.radians((np.asarray(lon, np.float64) - self.centre_lon + 180.0) % 360.0 - 180.0)
        return self.forward_turned(turned, np.radians(lat))

    def forward_turned(self, turned: Float64, phi: Float64) -> tuple[Float64, Float64]:
        """Like `forward`, of radians; `turned` counts from the central meridian and is not wrapped."""
        if not self.is_global:
            return turned * np.cos(phi), np.asarray(phi, np.float64)
        a1, a2, a3, a4 = _EQUAL_EARTH
        theta = np.arcsin(np.sqrt(3.0) / 2.0 * np.sin(phi))
        square = theta * theta
        sixth = square**3
        slope = 9 * a4 * sixth * square + 7 * a3 * sixth + 3 * a2 * square + a1
        easting = 2.0 * np.sqrt(3.0) * turned * np.cos(theta) / (3.0 * slope)
        return easting, theta * (a4 * sixth * square + a3 * sixth + a2 * square + a1)


def projection_for(lon: Float64) -> Projection:
    """The projection that suits tiles at these longitudes: turned to their middle where they span less than half."""
    if not len(lon):
        return Projection()
    degrees = np.flatnonzero(np.bincount(np.floor(lon % 360.0).astype(np.int64) % 360, minlength=360))
    gaps = np.diff(np.append(degrees, degrees[0] + 360))
    widest = int(np.argmax(gaps))
    span = 361 - int(gaps[widest])
    if span > _GLOBAL_SPAN_DEG:
        return Projection()
    start = degrees[(widest + 1) % len(degrees)]
    return Projection(centre_lon=float((start + span / 2.0 + 180.0) % 360.0 - 180.0), is_global=False)
