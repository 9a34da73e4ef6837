"""Köppen-Geiger classes from monthly normals of temperature and precipitation.

The rules are those of the table of Peel et al. (2007), as revised by Beck et al. (2018, 2023), in this order:

    B  MAP < 10 Pth             W: MAP < 5 Pth, else S;  h: MAT >= 18, else k
    A  Tcold >= 18              f: Pdry >= 60;  m: Pdry >= 100 - MAP / 25;  else w
    C  Thot > 10, Tcold > 0     s: Psdry < 40 and Psdry < Pwwet / 3;  w: Pwdry < Pswet / 10;  else f
                                a: Thot >= 22;  b: Tm10 >= 4;  else c
    D  Thot > 10, Tcold <= 0    as C, with d in the place of c where Tcold < -38
    E  Thot <= 10               T: Thot > 0, else F

MAT is the mean temperature (°C) and MAP the annual precipitation (mm); Thot, Tcold and Pdry are those of the
hottest, coldest and driest month; Tm10 counts the months above 10 °C. Summer is the warmer half of the year
out of April-September and October-March, and October-March where they tie; Ps and Pw are the precipitation of
summer and winter, Psdry, Pswet, Pwdry and Pwwet that of their driest and wettest months. Where s and w both
hold, w wins if Ps > Pw, else s. The arid threshold Pth is 2 MAT where at least 70 % of MAP falls in winter,
2 MAT + 28 where at least 70 % of it falls in summer, else 2 MAT + 14.

Peel, M. C., Finlayson, B. L., McMahon, T. A. (2007), Hydrol. Earth Syst. Sci. 11, 1633-1644.
Beck, H. E. et al. (2018), Scientific Data 5, 180214; (2023), Scientific Data 10, 724.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import numpy as np
import numpy.typing as npt

from csmoe_sampler.errors import ConfigError
from csmoe_sampler.koppen_kernels import classify_slab
from csmoe_sampler.types import Float64

if TYPE_CHECKING:  # dask and xarray take seconds to import, and only who hands them in needs them
    import dask.array as da
    import xarray as xr

Rule = Literal["peel2007", "beck_compat"]
Codes = npt.NDArray[np.uint8]

SYMBOLS = (
    *("Af", "Am", "Aw", "BWh", "BWk", "BSh", "BSk"),
    *("Csa", "Csb", "Csc", "Cwa", "Cwb", "Cwc", "Cfa", "Cfb", "Cfc"),
    *("Dsa", "Dsb", "Dsc", "Dsd", "Dwa", "Dwb", "Dwc", "Dwd", "Dfa", "Dfb", "Dfc", "Dfd", "ET", "EF"),
)
"""Symbols of codes 1, 2, ..., 30."""
GROUPS = tuple(symbol[0] for symbol in SYMBOLS)
"""Main climates of codes 1, 2, ..., 30."""
MONTHS = 12
_SLAB_CELLS = 1 << 14
_MAP_CELLS = 1000
"""From this number of cells on, normals are a map rather than a few stations."""


@overload
def classify(temperature: npt.NDArray[Any], precipitation: npt.NDArray[Any], rule: Rule = "peel2007") -> Codes: ...


@overload
def classify(temperature: da.Array, precipitation: da.Array, rule: Rule = "peel2007") -> da.Array: ...


@overload
def classify(temperature: xr.DataArray, precipitation: xr.DataArray, rule: Rule = "peel2007") -> xr.DataArray: ...


def classify(temperature: Any, precipitation: Any, rule: Rule = "peel2007") -> Any:
    """Köppen-Geiger codes 1..30 (uint8, see `SYMBOLS`); 0 where a month is missing (NaN, infinite or masked).

    Numpy and Dask arrays carry the months, January to December, on the first axis; an `xarray.DataArray` in a
    dimension `month`, wherever it stands. Dask arrays are classified lazily. Beside inputs and result this
    takes a few megabytes of memory.

    Args:
        temperature: Mean temperature of each month in °C.
        precipitation: Precipitation of each month in mm, on the same grid.
        rule: `peel2007`: as above. `beck_compat`: as in the scripts published with the maps of Beck et al. 2018
            and 2023, which take 2 MAT + 28 wherever more than 30 % of the precipitation falls in summer.

    Raises:
        ConfigError: The rule is unknown, the grids differ, there are not 12 months, or the values cannot be °C
            and mm a month. Values of Dask arrays are judged when they are computed, each chunk by itself.
    """
    check_rule(rule)
    packages = {type(array).__module__.partition(".")[0] for array in (temperature, precipitation)}
    if packages == {"xarray"}:
        return _classify_xarray(temperature, precipitation, rule)
    shape = np.shape(temperature)
    if shape != np.shape(precipitation):
        raise ConfigError(
            f"temperature has shape {shape}, precipitation {np.shape(precipitation)}: bring both to the same grid"
        )
    if not shape or shape[0] != MONTHS:
        raise ConfigError(f"temperature and precipitation have shape {shape}: the first axis must hold 12 months")
    if "dask" in packages:
        return _classify_dask(temperature, precipitation, rule)
    ranges = Ranges()
    codes = classify_part(temperature, precipitation, rule, ranges)
    ranges.check_units()
    return codes


def check_rule(rule: str) -> None:
    """Raises `ConfigError` where `rule` is not one of `Rule`."""
    if rule not in get_args(Rule):
        raise ConfigError(f"Köppen rule {rule!r} is unknown: choose one of {', '.join(get_args(Rule))}")


@dataclass
class Ranges:
    """What is known of the values classified so far; tells whether they can be °C and mm a month."""

    coldest_month_c: float = np.inf
    hottest_month_c: float = -np.inf
    driest_month_mm: float = np.inf
    wettest_month_mm: float = -np.inf
    coldest_year_c: float = np.inf
    hottest_year_c: float = -np.inf
    wettest_year_mm: float = -np.inf
    cells: int = 0
    """Cells without a missing month."""

    def include(self, other: Ranges) -> None:
        """Widens these ranges by `other`."""
        self.coldest_month_c = min(self.coldest_month_c, other.coldest_month_c)
        self.hottest_month_c = max(self.hottest_month_c, other.hottest_month_c)
        self.driest_month_mm = min(self.driest_month_mm, other.driest_month_mm)
        self.wettest_month_mm = max(self.wettest_month_mm, other.wettest_month_mm)
        self.coldest_year_c = min(self.coldest_year_c, other.coldest_year_c)
        self.hottest_year_c = max(self.hottest_year_c, other.hottest_year_c)
        self.wettest_year_mm = max(self.wettest_year_mm, other.wettest_year_mm)
        self.cells += other.cells

    def check_values(self) -> None:
        """Raises `ConfigError` for a value that occurs nowhere on Earth."""
        missing = "mark missing cells as NaN"
        if self.hottest_month_c > 100:
            kelvin = self.hottest_month_c < 400
            advice = "this looks like kelvin, subtract 273.15" if kelvin else missing
            raise ConfigError(f"temperature reaches {self.hottest_month_c:g} where °C are needed: {advice}")
        if self.coldest_month_c < -100:
            raise ConfigError(f"temperature falls to {self.coldest_month_c:g} °C: {missing}")
        if self.driest_month_mm < 0:
            raise ConfigError(f"precipitation falls to {self.driest_month_mm:g} mm: {missing}")
        if self.wettest_month_mm > 15_000:
            raise ConfigError(f"precipitation reaches {self.wettest_month_mm:g} mm in a month: {missing}")

    def check_units(self) -> None:
        """Raises `ConfigError` where a whole map is too dry to be in mm a month.

        Metres: no place on Earth gets more than 15 m a year, and hardly a map stays below 15 mm everywhere.
        Millimetres a day: twelve daily means add up to 400 at most; mm a month add up to thousands somewhere
        on a map whose annual mean temperatures span more than 30 °C.
        """
        if self.cells < _MAP_CELLS:
            return
        wettest = f"precipitation nowhere exceeds {self.wettest_year_mm:.3g} mm a year"
        if self.wettest_year_mm < 15:
            raise ConfigError(f"{wettest}: this looks like metres, give mm a month")
        if self.wettest_year_mm < 600 and self.hottest_year_c - self.coldest_year_c > 30:
            raise ConfigError(f"{wettest} from hot to cold climates: this looks like mm a day, give mm a month")


def classify_part(temperature: npt.NDArray[Any], precipitation: npt.NDArray[Any], rule: Rule, ranges: Ranges) -> Codes:
    """Codes of one part of a map, months first; widens `ranges`, by which the caller judges the whole map.

    Raises:
        ConfigError: A value occurs nowhere on Earth.
    """
    codes = np.zeros(temperature.shape[1:], np.uint8)
    for slab in _slabs(codes.shape):
        degrees, millimetres = _as_slab(temperature, slab), _as_slab(precipitation, slab)
        part = np.empty(degrees.shape[1], np.uint8)
        found = Ranges(*classify_slab(degrees, millimetres, rule == "beck_compat", part))
        found.check_values()
        ranges.include(found)
        codes[slab] = part.reshape(codes[slab].shape)
    return codes


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Indices that cut the first axis into slabs of about `_SLAB_CELLS` cells."""
    if not shape:
        yield ()
        return
    rows = max(1, _SLAB_CELLS // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], rows):
        yield (slice(start, start + rows),)


def _as_slab(array: npt.NDArray[Any], slab: tuple[slice, ...]) -> Float64:
    """The cells of a slab as (12, cells), missing ones NaN."""
    values = array[(slice(None), *slab)].astype(np.float64)
    return np.ascontiguousarray(np.ma.filled(values, np.nan).reshape(MONTHS, -1))


def _classify_dask(temperature: Any, precipitation: Any, rule: Rule) -> da.Array:
    import dask.array as da

    temperature = da.asarray(temperature).rechunk({0: -1})
    precipitation = da.asarray(precipitation).rechunk(temperature.chunks)
    nothing = np.empty((0,) * (temperature.ndim - 1), np.uint8)
    codes: da.Array = da.map_blocks(_classify_chunk, temperature, precipitation, rule, drop_axis=0, meta=nothing)
    return codes


def _classify_chunk(temperature: npt.NDArray[Any], precipitation: npt.NDArray[Any], rule: Rule) -> Codes:
    return classify_part(temperature, precipitation, rule, Ranges())


def _classify_xarray(temperature: xr.DataArray, precipitation: xr.DataArray, rule: Rule) -> xr.DataArray:
    import xarray as xr

    temperature = _by_month(temperature, "temperature")
    precipitation = _by_month(precipitation, "precipitation")
    try:
        xr.align(temperature, precipitation, join="exact", copy=False)
        precipitation = precipitation.transpose(*temperature.dims)
    except ValueError as error:
        raise ConfigError(
            "temperature and precipitation lie on different grids "
            f"({_sizes(temperature)}; {_sizes(precipitation)}): bring both to the same coordinates"
        ) from error
    codes = classify(temperature.data, precipitation.data, rule)
    cells = temperature.isel(month=0, drop=True)
    attributes = {
        "long_name": "Köppen-Geiger climate class",
        "classification_rule": rule,
        "flag_values": np.arange(1, len(SYMBOLS) + 1, dtype=np.uint8),
        "flag_meanings": " ".join(SYMBOLS),
    }
    return xr.DataArray(codes, coords=cells.coords, dims=cells.dims, name="climate", attrs=attributes)


def _by_month(array: xr.DataArray, quantity: str) -> xr.DataArray:
    """`array` with January to December in front."""
    if array.sizes.get("month") != MONTHS:
        raise ConfigError(f"{quantity} has dimensions {_sizes(array)}: it must have a dimension 'month' of 12")
    if "month" in array.coords:
        array = array.sortby("month")
        if not np.array_equal(array["month"], np.arange(1, MONTHS + 1)):
            raise ConfigError(f"{quantity} has the months {array['month'].values.tolist()}: they must be 1 to 12")
    return array.transpose("month", ...)


def _sizes(array: xr.DataArray) -> str:
    return ", ".join(f"{name} {size}" for name, size in array.sizes.items())
