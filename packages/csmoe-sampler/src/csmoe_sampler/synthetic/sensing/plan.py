"""The scenes of a layout before a pixel of them is made: frame, swath, time, orbit and names."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import numpy as np
import pyproj
import shapely

from csmoe_sampler.synthetic.noise import sine_cosine
from csmoe_sampler.synthetic.sensing.frames import Frame, box_outline, clip_outline
from csmoe_sampler.synthetic.sensing.layouts import Pass, SceneLayout
from csmoe_sampler.synthetic.sensing.mgrs import GRANULE_M, Granule
from csmoe_sampler.types import Float64

OFFSET_START = datetime(2022, 1, 25, tzinfo=UTC)
"""From then on the digital numbers of Sentinel-2 carry an offset."""

_START = datetime(2021, 1, 1, tzinfo=UTC)
_TILT_DEG = 12.0
"""Angle between the track of a satellite and the meridian."""
_FAR_M = 1e6
_SINGLE, _GAP, _GAP_DAYS = 2, 1, (250, 420)
"""Places in the layout of a granule whose first descending scene has VV alone, and of one long without Sentinel-1."""
# Repeat cycle in days and orbits; absolute orbit at the start of 2021 and the first with relative number 1, of A and B.
_CYCLES = {
    "s2": (10, 143, {"A": (28_890, -2), "B": (19_968, 27)}),
    "s1": (12, 175, {"A": (35_937, 73), "B": (24_960, 27)}),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene of either sensor."""

    granule: Granule
    frame: Frame
    outline: Float64
    """Corners of the part of the frame that has data, (K, 2) in metres, convex, counterclockwise."""
    platform: str
    """`A` or `B`."""
    when: datetime
    """Middle of the acquisition."""
    relative_orbit: int
    absolute_orbit: int

    def key(self, seed: int) -> int:
        """Of the noise of this scene on the Earth of a seed, below 2 ** 30."""
        return _number(f"{seed} {self.frame.epsg} {self.when:%Y%m%dT%H%M%S} {self.relative_orbit}") >> 2


@dataclass(frozen=True, kw_only=True)
class Sentinel2Scene(Scene):
    """Level 2A of a granule."""

    collection: ClassVar[str] = "sentinel-2-l2a"
    cloud: float
    """Share of the sky that clouds cover, about."""

    @property
    def baseline(self) -> str:
        """Of the processing, as `04.00`."""
        return "04.00" if self.when >= OFFSET_START else "03.01"

    @property
    def made(self) -> datetime:
        """When the product was made, some hours after the acquisition."""
        return (self.when + timedelta(seconds=9000 + _number(self.granule.name) % 20_000)).replace(microsecond=0)

    @property
    def item_id(self) -> str:
        """As `S2B_MSIL2A_20240419T095549_R122_T47XML_20240419T123458`."""
        return self._named("")

    @property
    def folder(self) -> str:
        """Of the product: the id with the baseline in it, and `.SAFE`."""
        return self._named(f"N{self.baseline.replace('.', '')}_") + ".SAFE"

    def _named(self, baseline: str) -> str:
        orbit, tile = f"R{self.relative_orbit:03d}", f"T{self.granule.name}"
        return f"S2{self.platform}_MSIL2A_{_stamp(self.when)}_{baseline}{orbit}_{tile}_{_stamp(self.made)}"

    def file(self, band: str, gsd: int) -> str:
        """Of a band of `gsd` metres, relative to the folder of the collection."""
        return f"{self.folder}/IMG_DATA/R{gsd}m/T{self.granule.name}_{_stamp(self.when)}_{band}_{gsd}m.tif"


@dataclass(frozen=True, kw_only=True)
class Sentinel1Scene(Scene):
    """Terrain-corrected backscatter."""

    collection: ClassVar[str] = "sentinel-1-rtc"
    ascending: bool
    polarizations: tuple[str, ...]
    """`vv` and `vh`, or `vv` alone."""

    @property
    def look(self) -> tuple[float, float]:
        """Direction from the sensor over the ground, east and north."""
        sine, cosine = sine_cosine(_TILT_DEG)
        return (cosine if self.ascending else -cosine), sine

    @property
    def ends(self) -> tuple[datetime, datetime]:
        """Start and end of the acquisition."""
        return self.when - timedelta(seconds=12.5), self.when + timedelta(seconds=12.5)

    @property
    def datatake(self) -> int:
        """A number of the acquisition."""
        return self.absolute_orbit * 8 + 2

    @property
    def folder(self) -> str:
        """The name of the product before its terrain correction."""
        start, end = (_stamp(time) for time in self.ends)
        mode = "1SDV" if len(self.polarizations) == 2 else "1SSV"
        return f"S1{self.platform}_IW_GRDH_{mode}_{start}_{end}_{self.absolute_orbit:06d}_{self.datatake:06X}"

    @property
    def item_id(self) -> str:
        """As `S1A_IW_GRDH_1SDV_20240419T045904_20240419T045916_053498_067DF2_rtc`."""
        return f"{self.folder}_rtc"

    def file(self, polarization: str) -> str:
        """Relative to the folder of the collection."""
        return f"{self.folder}/measurement/iw-{polarization}.rtc.tiff"


def plan_scenes(layout: SceneLayout, granules: Sequence[Granule]) -> list[list[Sentinel2Scene] | list[Sentinel1Scene]]:
    """Stacks: all scenes of a list have the same frame."""
    stacks: list[list[Sentinel2Scene] | list[Sentinel1Scene]] = []
    for index, granule in enumerate(granules):
        stacks.append(_sentinel2(layout, granule, index))
        for orbit in (0, 1):
            stack = _sentinel1(layout, granule, index, orbit)
            if stack:
                stacks.append(stack)
    return stacks


def _sentinel2(layout: SceneLayout, granule: Granule, index: int) -> list[Sentinel2Scene]:
    edge = GRANULE_M // layout.pixel_m
    frame = Frame(
        epsg=granule.epsg, x_min=granule.x_min, y_max=granule.y_max, pixel_m=layout.pixel_m, width=edge, height=edge
    )
    orbits = [1 + (_number(granule.name) + 43 * orbit) % 143 for orbit in (0, 1)]
    lon = _middle(granule)[0]
    scenes = []
    for place, seen in enumerate(layout.sentinel2):
        if place == _missing(layout, index)[0]:
            continue
        when = _time(seen, index, 10.6 - lon / 15.0, _number(granule.name) % 600)
        relative = orbits[seen.orbit]
        scenes.append(
            Sentinel2Scene(
                granule=granule,
                frame=frame,
                outline=box_outline(frame) if seen.orbit == 0 else _wedge(frame, index),
                platform=seen.platform,
                when=when,
                relative_orbit=relative,
                absolute_orbit=_absolute_orbit("s2", seen.platform, relative, when),
                cloud=layout.sentinel2[(place + index) % len(layout.sentinel2)].cloud,
            )
        )
    return scenes


def _sentinel1(layout: SceneLayout, granule: Granule, index: int, orbit: int) -> list[Sentinel1Scene]:
    passes = [
        seen
        for place, seen in enumerate(layout.sentinel1)
        if seen.orbit == orbit and place != _missing(layout, index)[1] and not (index == _GAP and _in_gap(seen))
    ]
    frame, outline = _swath(layout, granule, orbit)
    lon = _middle(granule)[0]
    relative = 1 + (_number(granule.name) + 67 * orbit) % 175
    scenes = []
    for seen in passes:
        when = _time(seen, index, (18.1 if orbit == 0 else 6.1) - lon / 15.0, _number(granule.name) % 600)
        single = orbit == 1 and seen is passes[0] and index == _SINGLE
        scenes.append(
            Sentinel1Scene(
                granule=granule,
                frame=frame,
                outline=outline,
                platform=seen.platform,
                when=when,
                relative_orbit=relative,
                absolute_orbit=_absolute_orbit("s1", seen.platform, relative, when),
                ascending=orbit == 0,
                polarizations=("vv",) if single else ("vv", "vh"),
            )
        )
    return scenes


def _swath(layout: SceneLayout, granule: Granule, orbit: int) -> tuple[Frame, Float64]:
    """The frame of a scene of Sentinel-1 near a granule, in the UTM zone of its middle, and the swath across it."""
    lon, lat = _middle(granule)
    # Frames follow the satellite, not the granules: they lie aside, the descending ones farther.
    shift_km = (3.0, -2.0) if orbit == 0 else (-15.0, 8.0)
    lon, lat = lon + shift_km[0] / (111.3 * sine_cosine(lat)[1]), lat + shift_km[1] / 111.3
    epsg = granule.epsg // 100 * 100 + math.floor((lon + 180.0) / 6.0) + 1
    x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    sine, cosine = sine_cosine(_TILT_DEG if orbit == 0 else -_TILT_DEG)
    across, along = (500.0 * km for km in layout.frame_km)
    corners = np.array([(-across, -along), (across, -along), (across, along), (-across, along)])
    turned = np.column_stack(
        (corners[:, 0] * cosine - corners[:, 1] * sine, corners[:, 0] * sine + corners[:, 1] * cosine)
    )
    outline = np.round(turned) + np.round([x, y])
    pixel = layout.pixel_m
    # Not on the lattice of Sentinel-2, nor any fraction of a pixel from it that is round.
    x_min = (math.floor(outline[:, 0].min() / pixel) - 0.37) * pixel
    y_max = (math.ceil(outline[:, 1].max() / pixel) + 0.23) * pixel
    width, height = np.ceil((outline[:, 0].max() - x_min) / pixel), np.ceil((y_max - outline[:, 1].min()) / pixel)
    frame = Frame(
        epsg=epsg, x_min=round(x_min, 2), y_max=round(y_max, 2), pixel_m=pixel, width=int(width), height=int(height)
    )
    return frame, outline


def _missing(layout: SceneLayout, index: int) -> tuple[int | None, int | None]:
    return layout.missing[index % len(layout.missing)] if layout.missing else (None, None)


def _in_gap(seen: Pass) -> bool:
    return _GAP_DAYS[0] <= seen.day < _GAP_DAYS[1]


def _wedge(frame: Frame, index: int) -> Float64:
    """The part of a frame on one side of the edge of a swath."""
    west, south, east, north = frame.bounds
    x, y = (west + east) / 2.0, (south + north) / 2.0
    sine, cosine = sine_cosine(_TILT_DEG)
    side = 1.0 if index % 2 == 0 else -1.0
    x += side * (4_000.0 + 9_000.0 * (index % 4))
    near = [(x - sine * _FAR_M, y - cosine * _FAR_M), (x + sine * _FAR_M, y + cosine * _FAR_M)]
    far = [(px - side * _FAR_M, py) for px, py in reversed(near)]
    corners = np.round(np.array(near + far))
    return clip_outline(box_outline(frame), corners if _turns_left(corners) else corners[::-1])


def _turns_left(corners: Float64) -> bool:
    return bool(shapely.LinearRing(corners).is_ccw)


def _middle(granule: Granule) -> tuple[float, float]:
    """Longitude and latitude to 1e-6 degrees."""
    to_globe = pyproj.Transformer.from_crs(granule.epsg, 4326, always_xy=True)
    lon, lat = to_globe.transform(granule.x_min + GRANULE_M / 2, granule.y_max - GRANULE_M / 2)
    return round(lon, 6), round(lat, 6)


def _time(seen: Pass, index: int, hour_utc: float, seconds: int) -> datetime:
    return _START + timedelta(days=seen.day - 1 + index % 5, seconds=round(3600 * hour_utc) + seconds, milliseconds=24)


def _absolute_orbit(sensor: str, platform: str, relative: int, when: datetime) -> int:
    """The orbit since launch that has the relative number and is nearest in time."""
    days, orbits, starts = _CYCLES[sensor]
    begin, first = starts[platform]
    about = begin + round((when - _START) / timedelta(days=1) * orbits / days)
    wanted = (relative - 1 + first) % orbits
    return about + (wanted - about + orbits // 2) % orbits - orbits // 2


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def _stamp(time: datetime) -> str:
    return f"{time:%Y%m%dT%H%M%S}"
