import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine

from csmoe_sampler.errors import ConfigError, RasterError, StorageError
from csmoe_sampler.koppen import classify
from csmoe_sampler.normals import Normals, classified_map, open_normals, open_terraclimate
from csmoe_sampler.normals.opening import _parse_unit
from csmoe_sampler.progress import NoProgress
from csmoe_sampler.remote import Patience
from services.http_files import Faults, serve_files

MONTHS = np.arange(12)
MONTH_DAYS = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[:, None, None]


def climates(rows: int, cols: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Temperature and precipitation (12, rows, cols), float32-exact, colder and drier to the north."""
    generator = np.random.default_rng(seed)
    north = np.linspace(1, -1, rows)[:, None] + np.zeros(cols)
    swing = generator.uniform(-18, 18, (rows, cols))
    temperature = 10 - 25 * north + swing * np.cos(MONTHS * np.pi / 6)[:, None, None]
    precipitation = generator.gamma(1.5, 60, (12, rows, cols)) * (1.2 - north)
    return np.round(temperature, 1).astype("f4"), np.round(precipitation).astype("f4")


@pytest.fixture
def dataset() -> xr.Dataset:
    """A regional grid, higher than wide, with sea in a corner."""
    temperature, precipitation = climates(14, 9)
    temperature[:, :3, :2] = precipitation[:, :3, :2] = np.nan
    return xr.Dataset(
        {
            "tas": (("month", "lat", "lon"), temperature, {"units": "degC"}),
            "pr": (("month", "lat", "lon"), precipitation, {"units": "mm"}),
        },
        {"month": np.arange(1, 13), "lat": 60 - 0.5 * np.arange(14), "lon": 5 + 0.5 * np.arange(9)},
    )


def check(normals: Normals, dataset: xr.Dataset, rtol: float = 1e-6) -> None:
    for found, expected in ((normals.temperature, dataset["tas"]), (normals.precipitation, dataset["pr"])):
        assert found.dims == ("month", "lat", "lon")
        assert found.chunks is not None
        np.testing.assert_allclose(found.sortby("month"), expected, rtol=rtol, atol=1e-4)
        np.testing.assert_allclose(found["lat"], expected["lat"])
        np.testing.assert_allclose(found["lon"], expected["lon"])


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_tif(path: Path, values: np.ndarray, nodata: float | None = None, **profile: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "driver": "GTiff",
        "dtype": values.dtype.name,
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "crs": "EPSG:4326",
        "transform": Affine(0.5, 0, 4.75, 0, -0.5, 60.25),
        "nodata": nodata,
        **profile,
    }
    with rasterio.open(path, "w", **settings) as raster:
        raster.write(values)
    return path


@pytest.mark.parametrize(("engine", "format"), [("netcdf4", "NETCDF4"), ("scipy", "NETCDF3_64BIT")])
def test_netcdf(tmp_path: Path, dataset: xr.Dataset, engine: str, format: str) -> None:
    path = tmp_path / "normals.nc"
    dataset.to_netcdf(path, engine=engine, format=format)
    normals = open_normals(str(path), str(path))
    check(normals, dataset)
    assert normals.provenance["temperature"] == {
        "name": "normals.nc",
        "digest": f"sha256:{sha(path)}",
        "variables": ["tas"],
    }


def test_dimensions_and_names_as_in_the_wild(tmp_path: Path, dataset: xr.Dataset) -> None:
    wild = dataset.rename(tas="t2m", pr="tp", lat="latitude", lon="longitude", month="valid_time")
    wild = wild.transpose("longitude", "valid_time", "latitude").expand_dims(number=[0])
    wild["orography"] = wild["t2m"].isel(valid_time=0)
    wild["tp"] = (wild["tp"] / 1000).assign_attrs(units="m")
    wild["t2m"] = (wild["t2m"].astype(float) + 273.15).assign_attrs(units="K")
    wild.to_netcdf(tmp_path / "era5.nc", engine="netcdf4")
    check(open_normals(str(tmp_path / "era5.nc"), str(tmp_path / "era5.nc")), dataset, 1e-4)


def test_months_in_another_order(tmp_path: Path, dataset: xr.Dataset) -> None:
    dataset.roll(month=5, roll_coords=True).to_netcdf(tmp_path / "rolled.nc", engine="netcdf4")
    check(open_normals(str(tmp_path / "rolled.nc"), str(tmp_path / "rolled.nc")), dataset)


def test_extremes_are_averaged(tmp_path: Path, dataset: xr.Dataset) -> None:
    extremes = dataset.assign(tmax=dataset["tas"] + 4, tmin=dataset["tas"] - 4).drop_vars("tas")
    extremes.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    normals = open_normals(str(tmp_path / "a.nc"), str(tmp_path / "a.nc"))
    check(normals, dataset)
    assert normals.provenance["temperature"]["variables"] == ["tmax", "tmin"]


def series(dataset: xr.Dataset, first: int, last: int) -> xr.Dataset:
    """Months of years that differ by `year - 2005` (temperature) and in rates of mm a day (precipitation)."""
    times = pd.date_range(f"{first}-01-01", f"{last}-12-31", freq="MS")
    steps = dataset.isel(month=times.month.values - 1).drop_vars("month").rename(month="time").assign_coords(time=times)
    steps["tas"] = steps["tas"] + (steps["time"].dt.year - 2005.5)
    steps["pr"] = (steps["pr"] / steps["time"].dt.days_in_month).astype("f4").assign_attrs(units="kg m-2 s-1")
    steps["pr"] = (steps["pr"] / 86400).assign_attrs(units="kg m-2 s-1")
    return steps


def test_series_is_averaged_over_1991_to_2020(tmp_path: Path, dataset: xr.Dataset) -> None:
    series(dataset, 1985, 2022).to_netcdf(tmp_path / "long.nc", engine="netcdf4", unlimited_dims=["time"])
    normals = open_normals(str(tmp_path / "long.nc"), str(tmp_path / "long.nc"))
    check(normals, dataset, 1e-4)
    assert normals.provenance["precipitation"]["period"] == [1991, 2020]


@pytest.mark.parametrize(("first", "last", "period"), [(1961, 1970, [1961, 1970]), (2011, 2024, [2011, 2020])])
def test_other_periods_are_recorded(
    tmp_path: Path, dataset: xr.Dataset, first: int, last: int, period: list[int]
) -> None:
    series(dataset, first, last).to_netcdf(tmp_path / "other.nc", engine="netcdf4")
    normals = open_normals(str(tmp_path / "other.nc"), str(tmp_path / "other.nc"))
    assert normals.provenance["temperature"]["period"] == period
    offset = (period[0] + period[1]) / 2 - 2005.5
    np.testing.assert_allclose(normals.temperature, dataset["tas"] + offset, rtol=1e-4, atol=1e-4)


def test_unknown_calendar_of_12_months(tmp_path: Path, dataset: xr.Dataset) -> None:
    dataset["month"].attrs["units"] = "months since 0000-01-01"
    dataset.rename(month="time").to_netcdf(tmp_path / "clim.nc", engine="netcdf4")
    check(open_normals(str(tmp_path / "clim.nc"), str(tmp_path / "clim.nc")), dataset)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr(tmp_path: Path, dataset: xr.Dataset, zarr_format: int) -> None:
    store = tmp_path / "normals.zarr"
    dataset.to_zarr(store, zarr_format=zarr_format, consolidated=zarr_format == 2)
    normals = open_normals(str(store), str(store))
    check(normals, dataset)
    again = tmp_path / "elsewhere" / "normals.zarr"
    dataset.to_zarr(again, zarr_format=zarr_format, consolidated=zarr_format == 2)
    assert open_normals(str(again), str(again)).provenance == normals.provenance


def test_terraclimate_layout_over_http(tmp_path: Path, dataset: xr.Dataset) -> None:
    steps = series(dataset, 2018, 2021)
    store = xr.Dataset(
        {
            "tmax": (steps["tas"] + 5).assign_attrs(units="degC"),
            "tmin": (steps["tas"] - 5).assign_attrs(units="degC"),
            "ppt": (steps["pr"] * 86400 * steps["time"].dt.days_in_month).assign_attrs(units="mm"),
        }
    )
    encoding = {name: {"chunks": (12, 8, 8)} for name in store}
    store.to_zarr(tmp_path / "terraclimate.zarr", zarr_format=2, consolidated=True, encoding=encoding)
    with serve_files(tmp_path) as server:
        url = f"{server.url}/terraclimate.zarr"
        normals = open_terraclimate(url)
        opened = len(server.requests)
        assert not any("/ppt/0" in request.path for request in server.requests)
        check(normals, dataset.assign(tas=dataset["tas"] + 13.5), 1e-4)
        asked = [request.path for request in server.requests[opened:] if "/ppt/" in request.path]
        assert len(asked) == len(set(asked))
    assert normals.provenance["temperature"] == {
        "href": url,
        "period": [2018, 2020],
        "variables": ["tmax", "tmin"],
    }


def test_faults_of_a_store_do_not_change_the_map(tmp_path: Path, dataset: xr.Dataset) -> None:
    encoding = {name: {"chunks": (4, 8, 8)} for name in ("tas", "pr")}
    dataset.to_zarr(tmp_path / "n.zarr", zarr_format=2, consolidated=True, encoding=encoding)
    maps = []
    patience = Patience(retries=10, backoff_s=0.001)
    for faults in (None, Faults(("503", "429", "reset", "truncate"), rate=0.1, seed=1, only="/(tas|pr)/[0-9]")):
        with serve_files(tmp_path, faults) as server:
            url = f"{server.url}/n.zarr"
            normals = open_normals(url, url, patience)
            path = tmp_path / f"{faults is None}.tif"
            fields = normals.temperature, normals.precipitation
            classified_map(*fields, "peel2007", path, NoProgress())
            maps.append(path.read_bytes())
            assert any(request.fault for request in server.requests) == (faults is not None)
    assert maps[0] == maps[1]
    with serve_files(tmp_path, Faults(("503",), only="/(tas|pr)/[0-9]")) as server:
        normals = open_normals(f"{server.url}/n.zarr", f"{server.url}/n.zarr", Patience(retries=1, backoff_s=0.001))
        fields = normals.temperature, normals.precipitation
        with pytest.raises(RasterError, match="cannot be read in full"):
            classified_map(*fields, "peel2007", tmp_path / "x.tif", NoProgress())
    assert not (tmp_path / "x.tif").exists()


@pytest.mark.parametrize("tiled", [True, False])
def test_geotiff_of_12_bands(tmp_path: Path, dataset: xr.Dataset, tiled: bool) -> None:
    values = np.rint(np.nan_to_num(dataset["tas"].values, nan=-3276.8) * 10).astype("i2")
    block = {"tiled": True, "blockxsize": 16, "blockysize": 16} if tiled else {}
    temperature = write_tif(tmp_path / "t.tif", values, -32768, **block)
    with rasterio.open(temperature, "r+") as raster:
        raster.scales = [0.1] * 12
    precipitation = write_tif(tmp_path / "p.tif", dataset["pr"].values, np.nan, **block)
    check(open_normals(str(temperature), str(precipitation)), dataset)


def test_geotiff_over_http(tmp_path: Path, dataset: xr.Dataset) -> None:
    for name in ("tas", "pr"):
        write_tif(tmp_path / f"{name}.tif", dataset[name].values)
    with serve_files(tmp_path) as server, rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        check(open_normals(f"{server.url}/tas.tif", f"{server.url}/pr.tif"), dataset)


def test_folder_of_12_geotiffs(tmp_path: Path, dataset: xr.Dataset) -> None:
    for month in range(12):
        values = dataset.isel(month=[month])
        write_tif(tmp_path / "t" / f"CHELSA_tas_{month + 1}_1981-2010_V.2.1.tif", values["tas"].values)
        write_tif(tmp_path / "p" / f"wc2.1_10m_prec_{month + 1:02d}.tif", values["pr"].values)
    check(open_normals(str(tmp_path / "t"), str(tmp_path / "p")), dataset)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("mm", (1, False)),
        ("", (1, False)),
        ("mm/month", (1, False)),
        ("mm month-1", (1, False)),
        ("mm per month", (1, False)),
        ("kg m-2", (1, False)),
        ("kg m**-2", (1, False)),
        ("kg/m^2", (1, False)),
        ("cm", (10, False)),
        ("m", (1000, False)),
        ("mm/day", (1, True)),
        ("mm d-1", (1, True)),
        ("m day**-1", (1000, True)),
        ("kg m-2 s-1", (86400, True)),
        ("kg m**-2 s**-1", (86400, True)),
        ("kg/m2/s", (86400, True)),
        ("mm s-1", (86400, True)),
        ("K", None),
        ("mm year-1", None),
        ("W m-2", None),
        ("kg m-2 s-2", None),
    ],
)
def test_units_of_precipitation(unit: str, expected: tuple[float, bool] | None) -> None:
    assert _parse_unit(unit) == expected


def test_rates_without_dates_use_mean_months(tmp_path: Path, dataset: xr.Dataset) -> None:
    rates = dataset.assign(pr=(dataset["pr"] / MONTH_DAYS).assign_attrs(units="mm/day"))
    rates.to_netcdf(tmp_path / "rates.nc", engine="netcdf4")
    check(open_normals(str(tmp_path / "rates.nc"), str(tmp_path / "rates.nc")), dataset)


def refused(source: Path, kind: type[Exception] = ConfigError) -> str:
    with pytest.raises(kind) as caught:
        open_normals(str(source), str(source))
    return str(caught.value)


def test_unknown_variables_are_listed(tmp_path: Path, dataset: xr.Dataset) -> None:
    def message(changed: xr.Dataset) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.nc"
        changed.to_netcdf(path, engine="netcdf4")
        return refused(path)

    assert "found bar, foo; rename the one that is meant" in message(dataset.rename(tas="foo", pr="bar"))
    assert "no variable of precipitation (pr, ppt, prec, tp, ...): found bar, other, tas" in message(
        dataset.rename(pr="bar").assign(other=dataset["pr"])
    )
    assert "found tas['month', 'row', 'column'], pr['month', 'row', 'column']" in message(
        dataset.rename(lat="row", lon="column")
    )


def test_unknown_units_and_missing_months(tmp_path: Path, dataset: xr.Dataset) -> None:
    for name, unit in (("tas", "degF"), ("pr", "inch")):
        changed = dataset.copy()
        changed[name] = changed[name].assign_attrs(units=unit)
        changed.to_netcdf(tmp_path / f"{name}.nc", engine="netcdf4")
        assert f"variable '{name}' has the unit '{unit.lower()}'" in refused(tmp_path / f"{name}.nc")
    dataset.isel(month=slice(11)).to_netcdf(tmp_path / "11.nc", engine="netcdf4")
    assert "variable 'tas' has 11 steps without dates" in refused(tmp_path / "11.nc")
    series(dataset, 2000, 2000).isel(time=slice(7)).to_netcdf(tmp_path / "7.nc", engine="netcdf4")
    assert "has no step for month 8" in refused(tmp_path / "7.nc")


def test_files_that_cannot_be_opened(tmp_path: Path, dataset: xr.Dataset) -> None:
    assert "cannot be opened: No such file" in refused(tmp_path / "missing.nc", RasterError)
    (tmp_path / "text.nc").write_text("not a grid")
    assert "neither NetCDF nor GeoTIFF, nor a Zarr store" in refused(tmp_path / "text.nc", RasterError)
    (tmp_path / "cut.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    assert "cut.nc cannot be opened" in refused(tmp_path / "cut.nc", RasterError)
    (tmp_path / "cut.tif").write_bytes(b"II*\x00\xff\xff")
    assert "cut.tif cannot be opened" in refused(tmp_path / "cut.tif", RasterError)
    with pytest.raises(RasterError, match="download it first"):
        open_normals("https://example.org/normals.nc", "https://example.org/normals.nc")
    with pytest.raises(RasterError, match="only Zarr stores"):
        open_normals("ftp://example.org/normals.zarr", "ftp://example.org/normals.zarr")


def test_a_lacking_library_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise ImportError("HTTPFileSystem requires aiohttp")

    monkeypatch.setattr("csmoe_sampler.normals.files._open_dataset", lacking)
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("patience has no use here"))
    with pytest.raises(ConfigError, match=r"install csmoe-sampler\[normals\]"):
        open_normals("https://example.org/normals.zarr", "https://example.org/normals.zarr")


def test_unusable_geotiffs(tmp_path: Path, dataset: xr.Dataset) -> None:
    values = dataset["tas"].values
    metres = Affine(1000, 0, 500000, 0, -1000, 6000000)
    assert "lie in EPSG:32632" in refused(write_tif(tmp_path / "u.tif", values, crs="EPSG:32632", transform=metres))
    turned = Affine(0.4, 0.3, 5, 0.3, -0.4, 60)
    assert "lie in a rotated grid" in refused(write_tif(tmp_path / "r.tif", values, transform=turned))
    assert "has 11 steps without dates" in refused(write_tif(tmp_path / "11.tif", values[:11]))
    write_tif(tmp_path / "few" / "t_01.tif", values[:1])
    assert "found 1 GeoTIFFs; 12 are needed, numbered 1 to 12" in refused(tmp_path / "few")


def on_grid(lat: np.ndarray, lon: np.ndarray, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    coords = {"month": np.arange(1, 13), "lat": lat, "lon": lon}
    values = climates(lat.size, lon.size, seed)
    return tuple(xr.DataArray(array, coords, ("month", "lat", "lon")) for array in values)


def read_map(path: Path) -> tuple[np.ndarray, rasterio.Affine]:
    with rasterio.open(path) as raster:
        assert raster.crs.to_epsg() == 4326
        assert raster.nodata == 0
        assert raster.dtypes == ("uint8",)
        assert raster.profile["tiled"]
        assert raster.compression.value == "DEFLATE"
        return raster.read(1), raster.transform


def test_class_map_of_a_region(tmp_path: Path) -> None:
    temperature, precipitation = on_grid(60 - 0.1 * np.arange(700), 5 + 0.1 * np.arange(300))
    temperature[2, 100:120, 7] = np.nan
    classified_map(temperature, precipitation, "peel2007", tmp_path / "map.tif", NoProgress())
    codes, transform = read_map(tmp_path / "map.tif")
    np.testing.assert_array_equal(codes, classify(temperature.values, precipitation.values))
    assert tuple(transform)[:6] == pytest.approx((0.1, 0, 4.95, 0, -0.1, 60.05))
    classified_map(temperature, precipitation, "beck_compat", tmp_path / "compat.tif", NoProgress())
    compat, _ = read_map(tmp_path / "compat.tif")
    assert 0 < (compat != codes).mean() < 0.3


@pytest.mark.parametrize("turned", ["lat", "lon", "both", "precipitation"])
def test_direction_of_the_grid_does_not_matter(tmp_path: Path, turned: str) -> None:
    temperature, precipitation = on_grid(89.5 - np.arange(180.0), -179.5 + np.arange(360.0))
    classified_map(temperature, precipitation, "peel2007", tmp_path / "a.tif", NoProgress())
    around = {"lon": (temperature["lon"] + 360) % 360}
    other = [array.assign_coords(around).sortby("lon") for array in (temperature, precipitation)]
    if turned == "lat":
        other = [temperature[:, ::-1], precipitation[:, ::-1]]
    elif turned == "both":
        other = [array.sortby("lat").transpose("lon", "lat", "month") for array in other]
    elif turned == "precipitation":
        other[0] = temperature
    classified_map(*other, "peel2007", tmp_path / "b.tif", NoProgress())
    assert sha(tmp_path / "a.tif") == sha(tmp_path / "b.tif")
    codes, transform = read_map(tmp_path / "a.tif")
    assert tuple(transform)[:6] == (1, 0, -180, 0, -1, 90)
    np.testing.assert_array_equal(codes, classify(temperature.values, precipitation.values))


def test_cells_across_poles_and_antimeridian_are_halved(tmp_path: Path) -> None:
    lat, lon = 90 - 2.0 * np.arange(91), 2.0 * np.arange(180)
    temperature, precipitation = on_grid(lat, lon)
    classified_map(temperature, precipitation, "peel2007", tmp_path / "nodes.tif", NoProgress())
    codes, transform = read_map(tmp_path / "nodes.tif")
    assert codes.shape == (180, 360)
    assert tuple(transform)[:6] == (1, 0, -180, 0, -1, 90)
    expected = classify(temperature.values, precipitation.values)
    pixel_lat, pixel_lon = 89.5 - np.arange(180), (-179.5 + np.arange(360)) % 360
    row = np.abs(pixel_lat[:, None] - lat).argmin(axis=1)
    apart = np.abs(pixel_lon[:, None] - lon)
    col = np.minimum(apart, 360 - apart).argmin(axis=1)
    np.testing.assert_array_equal(codes, expected[np.ix_(row, col)])


@pytest.mark.parametrize(("lat", "edge", "rows"), [(90 - np.arange(31.0), 90, 61), (-60 - np.arange(31.0), -59.5, 61)])
def test_one_pole(tmp_path: Path, lat: np.ndarray, edge: float, rows: int) -> None:
    temperature, precipitation = on_grid(lat, np.arange(10.0))
    classified_map(temperature, precipitation, "peel2007", tmp_path / "pole.tif", NoProgress())
    codes, transform = read_map(tmp_path / "pole.tif")
    assert codes.shape == (rows, 10)
    assert (transform.f, transform.e) == (edge, -0.5)
    expected = classify(temperature.values, precipitation.values)
    np.testing.assert_array_equal(codes[-1 if edge == 90 else 0], expected[-1 if edge == 90 else 0])
    np.testing.assert_array_equal(codes[0 if edge == 90 else -1], expected[0 if edge == 90 else -1])


def test_rounded_coordinates_still_make_a_global_map(tmp_path: Path) -> None:
    lat = (89.95 - 0.1 * np.arange(1800))[::4].astype("f4")
    lon = (-179.95 + 0.1 * np.arange(3600)).astype("f4")[::4]
    step = 0.4
    lat, lon = lat - np.float32(0.15), lon + np.float32(0.15)
    classified_map(*on_grid(lat, lon), "peel2007", tmp_path / "f4.tif", NoProgress())
    _, transform = read_map(tmp_path / "f4.tif")
    assert (transform.c, transform.f, transform.a) == (-180, 90, step)
    assert transform.e == pytest.approx(-step)


def test_map_is_the_same_to_the_byte(tmp_path: Path) -> None:
    temperature, precipitation = on_grid(70 - 0.05 * np.arange(600), 0.05 * np.arange(530))
    digests = set()
    for number, (chunks, cache) in enumerate([((600, 530), 500), ((100, 70), 1), ((257, 530), 64)]):
        lazy = [array.chunk(lat=chunks[0], lon=chunks[1]) for array in (temperature, precipitation)]
        path = tmp_path / f"{number}.tif"
        with rasterio.Env(GDAL_CACHEMAX=cache, GDAL_NUM_THREADS="ALL_CPUS"):
            classified_map(*lazy, "peel2007", path, NoProgress())
        digests.add(sha(path))
    assert len(digests) == 1


def test_unusable_grids(tmp_path: Path) -> None:
    temperature, precipitation = on_grid(60 - np.arange(8.0), 170 + np.arange(20.0))
    with pytest.raises(ConfigError, match="not evenly spaced"):
        classified_map(temperature, precipitation, "peel2007", tmp_path / "x.tif", NoProgress())
    temperature, precipitation = on_grid(60 - np.arange(8.0), np.arange(20.0))
    shifted = precipitation.assign_coords(lat=precipitation["lat"] + 0.5)
    with pytest.raises(ConfigError, match=r"temperature has 8 \(60 to 53\) latitudes, precipitation 8 \(60.5 to 53.5"):
        classified_map(temperature, shifted, "peel2007", tmp_path / "x.tif", NoProgress())
    with pytest.raises(ConfigError, match="at least two"):
        classified_map(temperature[:, :1], precipitation[:, :1], "peel2007", tmp_path / "x.tif", NoProgress())
    assert list(tmp_path.iterdir()) == []


def test_map_in_wrong_units_is_not_kept(tmp_path: Path) -> None:
    temperature, precipitation = on_grid(80 - np.arange(160.0), np.arange(20.0))
    for wrong, message in (
        ((temperature + 273.15, precipitation), "kelvin"),
        ((temperature, precipitation / 1000), "metres"),
        ((temperature, precipitation / 30), "mm a day"),
    ):
        lazy = [array.chunk(lat=10) for array in wrong]
        with pytest.raises(ConfigError, match=message):
            classified_map(*lazy, "peel2007", tmp_path / "x.tif", NoProgress())
    assert list(tmp_path.iterdir()) == []


def test_full_disk(small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(1_000_000))
    generator = np.random.default_rng(0)
    shape = (12, 600, 530)
    coords = {"month": np.arange(1, 13), "lat": 60 - 0.05 * np.arange(600), "lon": 0.05 * np.arange(530)}
    temperature, precipitation = (
        xr.DataArray(np.broadcast_to(generator.uniform(*span, shape[1:]), shape), coords, ("month", "lat", "lon"))
        for span in ((-30, 35), (0, 150))
    )
    with pytest.raises(StorageError, match="is the disk full"):
        classified_map(temperature, precipitation, "peel2007", small_disk / "x.tif", NoProgress())
    assert [path.name for path in small_disk.iterdir()] == ["other"]


class Rows(NoProgress):
    def __init__(self) -> None:
        self.total = self.done = 0

    def start(self, name: str, total: int, unit: str) -> None:
        self.total = total

    def advance(self, count: int) -> None:
        self.done += count


def test_progress_counts_all_rows(tmp_path: Path) -> None:
    progress = Rows()
    temperature, precipitation = on_grid(60 - 0.1 * np.arange(300), 0.1 * np.arange(40))
    classified_map(temperature.chunk(lat=17), precipitation, "peel2007", tmp_path / "x.tif", progress)
    assert progress.total == progress.done == 300
