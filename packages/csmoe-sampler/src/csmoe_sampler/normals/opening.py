"""Monthly normals of temperature (°C) and precipitation (mm) from NetCDF, Zarr, GeoTIFF or TerraClimate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from csmoe_sampler.errors import ConfigError
from csmoe_sampler.normals.files import Grids, open_grids, source_provenance
from csmoe_sampler.remote import Patience

TERRACLIMATE = "https://cpdataeuwest.blob.core.windows.net/cpdata/terraclimate.zarr"
PERIOD = (1991, 2020)
_MONTH_DAYS = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])

_MEAN = ["tas", "t2m", "tavg", "tmean", "tmp", "temp", "temperature", "ta", "air", "air_temperature", "2m_temperature"]
_HIGH = ["tmax", "tasmax", "tmx", "tx", "mx2t", "t_max", "temperature_max", "air_temperature_max"]
_LOW = ["tmin", "tasmin", "tmn", "tn", "mn2t", "t_min", "temperature_min", "air_temperature_min"]
_RAIN = [
    "pr",
    "ppt",
    "prec",
    "precip",
    "precipitation",
    "pre",
    "prcp",
    "tp",
    "rain",
    "rainfall",
    "total_precipitation",
    "mtpr",
    "avg_tprate",
    "precipitation_amount",
    "precipitation_flux",
]
_KELVIN = {"k", "kelvin", "degk", "deg_k", "degrees_kelvin"}
_CELSIUS = {"", "c", "°c", "degc", "deg_c", "celsius", "degree_c", "degrees_c", "degree_celsius", "degrees_celsius"}
_MILLIMETRES = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
}
_PER_DAY = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 86400.0),
    **dict.fromkeys(("d", "day", "days"), 1.0),
}
_PER_MONTH = {"mo", "mon", "month", "months"}


@dataclass(frozen=True, kw_only=True)
class Normals:
    """Mean months of a period; both lazy, with dimensions `month` (1 to 12), `lat`, `lon`."""

    temperature: xr.DataArray
    """°C."""
    precipitation: xr.DataArray
    """mm a month."""
    provenance: dict[str, Any]


def open_normals(temperature: str, precipitation: str, patience: Patience | None = None) -> Normals:
    """Normals from two sources, or from one that holds both.

    A source is a NetCDF file, a Zarr store (folder or URL), a GeoTIFF with 12 bands (path or URL), or a folder with
    12 GeoTIFFs whose names count the months. In NetCDF and Zarr the variables are found by their names; in the place
    of a mean temperature, a maximum and a minimum will do. Series of months are averaged over 1991-2020, or over
    what there is of it, or else over all there is. Units are converted as the attribute `units` says.

    Raises:
        RasterError: A source cannot be opened.
        ConfigError: A source holds no such variable, not 12 months, an unknown unit, or no grid of lat and lon.
    """
    degrees = _temperature(open_grids(temperature, patience), temperature)
    millimetres = _precipitation(open_grids(precipitation, patience), precipitation)
    provenance = {
        "temperature": {**source_provenance(temperature), **degrees.attrs},
        "precipitation": {**source_provenance(precipitation), **millimetres.attrs},
    }
    return Normals(temperature=degrees, precipitation=millimetres, provenance=provenance)


def open_terraclimate(store: str = TERRACLIMATE) -> Normals:
    """Normals of TerraClimate (1/24°, monthly from 1958): mean of tmax and tmin, and ppt; raises as `open_normals`."""
    return open_normals(store, store)


def _temperature(grids: Grids, source: str) -> xr.DataArray:
    mean = _pick(grids, _MEAN)
    high, low = _pick(grids, _HIGH), _pick(grids, _LOW)
    if mean is None and high is not None and low is not None:
        parts = [_mean_months(_to_celsius(grids[name], source), source) for name in (high, low)]
        average = (parts[0] + parts[1]) / 2
        return average.assign_attrs({**parts[0].attrs, "variables": [high, low]})
    if mean is None and len(grids) == 1 and high is None and low is None:
        (mean,) = grids
    if mean is None:
        raise ConfigError(_nothing(source, "temperature (tas, tavg, t2m, ..., or tmax and tmin)", grids))
    return _mean_months(_to_celsius(grids[mean], source), source).assign_attrs(variables=[mean])


def _precipitation(grids: Grids, source: str) -> xr.DataArray:
    name = _pick(grids, _RAIN)
    if name is None and len(grids) == 1:
        (name,) = grids
    if name is None:
        raise ConfigError(_nothing(source, "precipitation (pr, ppt, prec, tp, ...)", grids))
    return _mean_months(_to_millimetres(grids[name], source), source).assign_attrs(variables=[name])


def _pick(grids: Grids, names: list[str]) -> str | None:
    """The first grid that bears one of the names, in the order of the names."""
    by_name = {name.lower(): name for name in grids}
    return next((by_name[name] for name in names if name in by_name), None)


def _nothing(source: str, wanted: str, grids: Grids) -> str:
    found = ", ".join(sorted(grids)) or "no gridded variable"
    return f"normals {source} hold no variable of {wanted}: found {found}; rename the one that is meant"


def _to_celsius(array: xr.DataArray, source: str) -> xr.DataArray:
    unit = str(array.attrs.get("units", "")).strip().lower().replace(" ", "_")
    if unit in _KELVIN:
        return array - 273.15
    if unit in _CELSIUS:
        return array
    raise ConfigError(f"normals {source}: variable '{array.name}' has the unit '{unit}': give temperature in °C or K")


def _to_millimetres(array: xr.DataArray, source: str) -> xr.DataArray:
    """Sums a month; rates are multiplied by the days of their month (February has 28.25 where there are no dates)."""
    unit = str(array.attrs.get("units", "")).strip()
    amount = _parse_unit(unit)
    if amount is None:
        raise ConfigError(
            f"normals {source}: variable '{array.name}' has the unit '{unit}': give precipitation in mm a month, "
            "mm a day, m or kg m-2 s-1"
        )
    factor, is_rate = amount
    if not is_rate:
        return array if factor == 1 else array * factor
    dates = _dates(array)
    days = _MONTH_DAYS[: array.sizes["step"]] if dates is None else array["step"].dt.days_in_month.values
    return array * xr.DataArray(factor * days, dims="step")


def _parse_unit(unit: str) -> tuple[float, bool] | None:
    """Millimetres, or millimetres a day, in one `unit`, and whether it is a rate; None where it is neither."""
    plain = re.sub(r"\*\*|\^", "", unit.lower())
    plain = re.sub(r"(?:/\s*|\bper\s+)([a-z]+)(\d*)", lambda m: f" {m[1]}-{m[2] or 1}", plain)
    powers = {name: int(power or 1) for name, power in re.findall(r"([a-z]+)\s?(-?\d*)", plain)}
    if not powers:
        return (1.0, False)
    if powers.get("kg") == 1 and powers.get("m") == -2:  # a kilogram of water on a square metre is 1 mm high
        del powers["kg"], powers["m"]
        height = 1.0
    else:
        name = next((name for name, power in powers.items() if name in _MILLIMETRES and power == 1), None)
        if name is None:
            return None
        del powers[name]
        height = _MILLIMETRES[name]
    if not powers:
        return (height, False)
    ((time, power), *more) = powers.items()
    if more or power != -1:
        return None
    if time in _PER_MONTH:
        return (height, False)
    return (height * _PER_DAY[time], True) if time in _PER_DAY else None


def _mean_months(array: xr.DataArray, source: str) -> xr.DataArray:
    """Means of January to December, with the `period` of years among the attributes where there are dates."""
    dates = _dates(array)
    if dates is None:
        if array.sizes["step"] != len(_MONTH_DAYS):
            raise ConfigError(
                f"normals {source}: variable '{array.name}' has {array.sizes['step']} steps without dates: "
                "give the 12 months, or dates"
            )
        normals = array.rename(step="month").assign_coords(month=_month_numbers(array)).sortby("month")
        return normals.drop_attrs()
    months, years = dates
    inside = (years >= PERIOD[0]) & (years <= PERIOD[1])
    if not inside.any():
        inside = np.ones_like(inside)
    missing = sorted(set(range(1, 13)) - set(months[inside].tolist()))
    if missing:
        raise ConfigError(f"normals {source}: variable '{array.name}' has no step for month {missing[0]}")
    precise = array.astype(np.float64)
    means = [precise.isel(step=np.flatnonzero(inside & (months == m))).mean("step") for m in range(1, 13)]
    normals = xr.concat(means, "month", coords="minimal", compat="override", join="override")
    years = years[inside]
    normals = normals.assign_coords(month=range(1, 13)).drop_attrs()
    return normals.assign_attrs(period=[int(years.min()), int(years.max())])


def _dates(array: xr.DataArray) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Months and years of the steps; None where they have no dates."""
    if "step" not in array.coords:
        return None
    try:
        return array["step"].dt.month.values, array["step"].dt.year.values
    except (AttributeError, TypeError):
        return None


def _month_numbers(array: xr.DataArray) -> list[int]:
    """1 to 12 in the order of the steps, by their coordinate where it counts the months."""
    numbers = array["step"].values.tolist() if "step" in array.coords else []
    return numbers if sorted(numbers) == list(range(1, 13)) else list(range(1, 13))
