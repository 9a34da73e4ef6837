import json
import runpy
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from csmoe_sampler.errors import ConfigError
from csmoe_sampler.koppen import GROUPS, SYMBOLS, Ranges, classify, classify_part

RULES = ("peel2007", "beck_compat")
REPOSITORY = Path(__file__).resolve().parents[2]


def symbol_of(t: list[float], p: list[float], rule: str) -> str:
    """The rules as they are printed, one climate at a time."""
    mat, total = (sum(t[3:9]) + sum((*t[9:], *t[:3]))) / 12, sum(p[3:9]) + sum((*p[9:], *p[:3]))
    april, october = [3, 4, 5, 6, 7, 8], [9, 10, 11, 0, 1, 2]
    warm_april = sum(t[m] for m in april) > sum(t[m] for m in october)
    summer, winter = (april, october) if warm_april else (october, april)
    ps, pw = sum(p[m] for m in summer), sum(p[m] for m in winter)
    if rule == "peel2007":
        threshold = 2 * mat + 14
        if total > 0 and pw * 10 >= total * 7:
            threshold = 2 * mat
        elif total > 0 and ps * 10 >= total * 7:
            threshold = 2 * mat + 28
    else:
        threshold = 2 * mat + 14
        if pw * 2.333 > ps:
            threshold = 2 * mat
        if ps * 2.333 > pw:
            threshold = 2 * mat + 28
    if total < 10 * threshold:
        return ("BW" if total < 5 * threshold else "BS") + ("h" if mat >= 18 else "k")
    if min(t) >= 18:
        return "Af" if min(p) >= 60 else "Am" if min(p) >= 100 - total / 25 else "Aw"
    if max(t) <= 10:
        return "ET" if max(t) > 0 else "EF"
    dry_summer = min(p[m] for m in summer) < min(40, max(p[m] for m in winter) / 3)
    dry_winter = min(p[m] for m in winter) < max(p[m] for m in summer) / 10
    if dry_summer and dry_winter:
        season = "w" if ps > pw else "s"
    else:
        season = "s" if dry_summer else "w" if dry_winter else "f"
    main = "C" if min(t) > 0 else "D"
    if max(t) >= 22:
        heat = "a"
    elif sum(month > 10 for month in t) >= 4:
        heat = "b"
    else:
        heat = "d" if main == "D" and min(t) < -38 else "c"
    return main + season + heat


def symbols(codes: np.ndarray) -> list[str]:
    return [("none", *SYMBOLS)[code] for code in codes.ravel().tolist()]


@pytest.mark.parametrize("rule", RULES)
def test_published_examples(shared_data: Path, rule: str) -> None:
    vectors = json.loads((shared_data.parent / "facts" / "koppen_vectors.json").read_text())
    temperature = np.array([vector["temperature_c"] for vector in vectors], float).T
    precipitation = np.array([vector["precipitation_mm"] for vector in vectors], float).T
    codes = classify(temperature, precipitation, rule)
    assert symbols(codes) == [vector["symbol" if rule == "peel2007" else "beck_compat"] for vector in vectors]
    if rule == "peel2007":
        assert codes.tolist() == [vector["code"] for vector in vectors]
        assert set(codes.tolist()) == set(range(1, 31))


def random_climates(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Climates of all sorts, on whole numbers, so that thresholds and ties are met often and sums are exact."""
    generator = np.random.default_rng(seed)
    months = np.arange(12)[:, None]
    wave = np.cos((months - generator.integers(0, 12, count)) * np.pi / 6)
    temperature = generator.choice([-25, -5, 8, 18, 22, 26], count) + generator.uniform(0, 25, count) * wave
    temperature += generator.integers(-6, 7, count) * (generator.random(count) < 0.5)
    rain_wave = np.cos((months - generator.integers(0, 12, count)) * np.pi / 6)
    season = 1 + generator.choice([0, 0.3, 0.6, 1], count) * rain_wave
    precipitation = generator.gamma(1.2, 70, count) * season * generator.choice([0, 0.05, 0.3, 1, 3], count)
    precipitation *= generator.choice([0.1, 1, 1, 1], (12, count))
    return np.rint(temperature), np.rint(precipitation)


@pytest.mark.parametrize("rule", RULES)
def test_100000_random_climates_against_the_printed_rules(rule: str) -> None:
    temperature, precipitation = random_climates(7, 50_000)
    codes = classify(temperature, precipitation, rule)
    columns = zip(temperature.T.tolist(), precipitation.T.tolist(), strict=True)
    assert symbols(codes) == [symbol_of(t, p, rule) for t, p in columns]
    assert len(set(codes.tolist())) >= 27


def months_of(low: int, high: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float64, 12, elements=st.integers(low, high).map(float))


@settings(max_examples=300, deadline=None)
@given(months_of(-60, 45), months_of(0, 900), st.sampled_from(RULES))
def test_any_climate_has_exactly_one_class(t: np.ndarray, p: np.ndarray, rule: str) -> None:
    code = int(classify(t, p, rule))
    assert SYMBOLS[code - 1] == symbol_of(t.tolist(), p.tolist(), rule)


@settings(max_examples=200, deadline=None)
@given(months_of(-40, 40), months_of(0, 300), st.sampled_from(RULES))
def test_the_other_hemisphere_has_the_same_climate(t: np.ndarray, p: np.ndarray, rule: str) -> None:
    t[3:9] += 1 if t[3:9].sum() == np.r_[t[9:], t[:3]].sum() else 0  # a tie is decided by the calendar
    assert classify(t, p, rule) == classify(np.roll(t, 6), np.roll(p, 6), rule)


@pytest.mark.parametrize(("april", "expected"), [(12.0, "Csb"), (12.5, "Cwb")])
def test_tie_of_the_half_years_makes_october_to_march_the_summer(april: float, expected: str) -> None:
    temperature = np.full(12, 12.0)
    temperature[3] = april
    precipitation = np.where((np.arange(12) >= 3) & (np.arange(12) < 9), 150.0, 5.0)
    assert symbols(classify(temperature, precipitation)) == [expected]


def seasonal(mean: float, swing: float) -> np.ndarray:
    """Six cold months and six warm ones, so that the extremes are exactly `mean -+ swing`."""
    return np.where((np.arange(12) >= 3) & (np.arange(12) < 9), mean + swing, mean - swing)


@pytest.mark.parametrize(
    ("temperature", "rain", "expected"),
    [
        (seasonal(20, 2), 60, "Af"),
        (seasonal(20, 2), 59.5, "Aw"),
        (seasonal(19.5, 2), 60, "Cfb"),
        (seasonal(12, 10), 100, "Cfa"),
        (seasonal(11.5, 10), 100, "Cfb"),
        (seasonal(11, 11), 100, "Dfa"),
        (seasonal(5, 5), 100, "ET"),
        (seasonal(0, 0), 100, "EF"),
        (seasonal(-12, 26), 100, "Dfb"),
        (np.r_[[-38] * 6, [5] * 4, 12, 12], 100, "Dfc"),
        (np.r_[[-38.5] * 6, [5] * 4, 12, 12], 100, "Dfd"),
        (seasonal(18, 4), 30, "BSh"),
        (seasonal(17.5, 4), 30, "BSk"),
    ],
)
def test_thresholds_lie_on_the_printed_side(temperature: np.ndarray, rain: float, expected: str) -> None:
    assert symbols(classify(temperature.astype(float), np.full(12, rain))) == [expected]


def arid(parts: tuple[int, int], total: float) -> str:
    """Class of a climate with MAT 20 and about `total` mm, shared among summer and winter in `parts` of ten."""
    summer = (np.arange(12) >= 3) & (np.arange(12) < 9)
    unit = round(total / 60 * 256) / 256  # exact in binary, so that 70 % are 70 %
    return symbols(classify(np.where(summer, 24.0, 16.0), np.where(summer, *parts) * unit))[0]


@pytest.mark.parametrize(
    ("parts", "limit"), [((3, 7), 400.0), ((4, 6), 540.0), ((5, 5), 540.0), ((6, 4), 540.0), ((7, 3), 680.0)]
)
def test_arid_limits_at_exactly_70_percent(parts: tuple[int, int], limit: float) -> None:
    assert arid(parts, limit + 1)[0] == "C"
    assert arid(parts, limit - 1) == "BSh"
    assert arid(parts, limit / 2 + 1) == "BSh"
    assert arid(parts, limit / 2 - 1) == "BWh"


def test_symbols_and_groups() -> None:
    assert len(SYMBOLS) == len(set(SYMBOLS)) == len(GROUPS) == 30
    assert "".join(sorted(set(GROUPS))) == "ABCDE"
    assert [SYMBOLS[code - 1] for code in (1, 4, 8, 17, 28, 30)] == ["Af", "BWh", "Csa", "Dsa", "Dfd", "EF"]


@pytest.fixture
def grid() -> tuple[xr.DataArray, xr.DataArray]:
    """A small map, higher than wide, with a missing month here and there."""
    temperature, precipitation = (values.reshape(12, 23, 9) for values in random_climates(3, 207))
    temperature[4, 2, 3] = np.nan
    precipitation[11, 20, 8] = np.nan
    coords = {"month": range(1, 13), "lat": np.linspace(60, 38, 23), "lon": np.arange(9.0)}
    return tuple(
        xr.DataArray(values, coords, ("month", "lat", "lon"), name=name, attrs={"units": unit})
        for values, name, unit in ((temperature, "t", "degC"), (precipitation, "p", "mm"))
    )


@pytest.mark.parametrize("rule", RULES)
def test_numpy_xarray_and_dask_agree(grid: tuple[xr.DataArray, xr.DataArray], rule: str) -> None:
    temperature, precipitation = grid
    expected = classify(temperature.values, precipitation.values, rule)
    assert expected.dtype == np.uint8
    assert np.argwhere(expected == 0).tolist() == [[2, 3], [20, 8]]
    lazy = classify(
        da.from_array(temperature.values, chunks=(5, 10, 4)),
        da.from_array(precipitation.values, chunks=(12, 7, 9)),
        rule,
    )
    assert isinstance(lazy, da.Array)
    assert lazy.dtype == np.uint8
    assert lazy.chunks == ((10, 10, 3), (4, 4, 1))
    np.testing.assert_array_equal(lazy.compute(), expected)
    mixed = classify(da.from_array(temperature.values), precipitation.values, rule)
    np.testing.assert_array_equal(mixed.compute(), expected)

    labelled = classify(temperature.transpose("lat", "month", "lon"), precipitation[::-1], rule)
    np.testing.assert_array_equal(labelled, expected)
    assert labelled.dims == ("lat", "lon")
    xr.testing.assert_equal(labelled["lat"], temperature["lat"])
    assert labelled.attrs["classification_rule"] == rule
    assert labelled.attrs["flag_meanings"].split() == list(SYMBOLS)
    assert labelled.attrs["flag_values"].tolist() == list(range(1, 31))
    assert "month" not in labelled.coords

    chunked = classify(temperature.chunk(month=1, lat=6), precipitation.chunk(lon=2), rule)
    assert isinstance(chunked.data, da.Array)
    xr.testing.assert_identical(chunked.compute(), labelled)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_types_and_layouts(dtype: str) -> None:
    temperature, precipitation = (values.astype(dtype) for values in random_climates(5, 600))
    expected = classify(temperature.astype(float), precipitation.astype(float))
    cube = temperature.reshape(12, 4, 3, 50), precipitation.reshape(12, 4, 3, 50)
    np.testing.assert_array_equal(classify(*cube).ravel(), expected)
    fortran = [np.asfortranarray(values) for values in cube]
    np.testing.assert_array_equal(classify(*fortran).ravel(), expected)
    months_last = [np.moveaxis(np.moveaxis(values, 0, -1).copy(), -1, 0) for values in cube]
    np.testing.assert_array_equal(classify(*months_last).ravel(), expected)
    hidden = np.ma.masked_array(temperature, np.zeros_like(temperature, bool))
    hidden[6, 10] = np.ma.masked
    codes = classify(hidden, precipitation)
    assert codes[10] == 0
    np.testing.assert_array_equal(np.delete(codes, 10), np.delete(expected, 10))
    assert classify(temperature[:, 0], precipitation[:, 0]).shape == ()


def test_more_cells_than_a_slab(grid: tuple[xr.DataArray, xr.DataArray]) -> None:
    temperature, precipitation = random_climates(11, 40_000)
    whole = classify(temperature, precipitation)
    parts = [classify(temperature[:, i::7], precipitation[:, i::7]) for i in range(7)]
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(whole[i::7], part)


def test_infinite_values_are_missing() -> None:
    temperature, precipitation = random_climates(1, 3)
    temperature[0, 0], precipitation[5, 1] = np.inf, -np.inf
    assert classify(temperature, precipitation)[:2].tolist() == [0, 0]


def field(low: float, high: float) -> np.ndarray:
    return np.broadcast_to(np.linspace(low, high, 1200), (12, 1200)).copy()


@pytest.mark.parametrize(
    ("temperature", "precipitation", "message"),
    [
        (field(250, 300), field(10, 100), "temperature reaches 300 where °C are needed: this looks like kelvin"),
        (field(-9999, 20), field(10, 100), "temperature falls to -9999 °C: mark missing cells as NaN"),
        (field(0, 32767), field(10, 100), "temperature reaches 32767 where °C are needed: mark missing cells as NaN"),
        (field(0, 20), field(-1, 100), "precipitation falls to -1 mm: mark missing cells as NaN"),
        (field(0, 20), field(0, 1e20), r"precipitation reaches 1e\+20 mm in a month: mark missing cells as NaN"),
        (field(10, 20), field(0.001, 0.6), "nowhere exceeds 7.2 mm a year: this looks like metres"),
        (
            field(-10, 29),
            field(0, 20),
            "nowhere exceeds 240 mm a year from hot to cold climates: this looks like mm a day",
        ),
    ],
)
def test_implausible_units(temperature: np.ndarray, precipitation: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        classify(temperature, precipitation)


@pytest.mark.parametrize(
    ("temperature", "precipitation"),
    [
        (np.full((12, 1), 20.0), np.full((12, 1), 0.05)),  # a station in the Atacama
        (field(15, 28), field(0.0, 20.0)),  # a map of the Sahara
        (field(-10, 29), field(0, 300)),
    ],
)
def test_dry_places_are_no_error(temperature: np.ndarray, precipitation: np.ndarray) -> None:
    assert classify(temperature, precipitation).all()


def test_values_of_dask_arrays_are_judged_when_computed() -> None:
    codes = classify(da.from_array(field(250, 300)), da.from_array(field(10, 100)))
    with pytest.raises(ConfigError, match="kelvin"):
        codes.compute()


def test_ranges_of_parts_add_up() -> None:
    temperature, precipitation = random_climates(2, 5000)
    whole, parts = Ranges(), Ranges()
    classify_part(temperature, precipitation, "peel2007", whole)
    for start in range(0, 5000, 1700):
        classify_part(temperature[:, start : start + 1700], precipitation[:, start : start + 1700], "peel2007", parts)
    assert parts == whole
    assert whole.cells == 5000
    assert (whole.coldest_month_c, whole.hottest_month_c) == (temperature.min(), temperature.max())
    assert (whole.driest_month_mm, whole.wettest_month_mm) == (precipitation.min(), precipitation.max())
    means = temperature.mean(axis=0)
    assert (whole.coldest_year_c, whole.hottest_year_c) == pytest.approx((means.min(), means.max()))
    assert whole.wettest_year_mm == precipitation.sum(axis=0).max()


def frame(months: list[int], lat: list[float]) -> xr.DataArray:
    return xr.DataArray(np.ones((12, len(lat))), {"month": months, "lat": lat}, ("month", "lat"))


@pytest.mark.parametrize(
    ("temperature", "precipitation", "message"),
    [
        (np.ones((12, 4)), np.ones((12, 5)), r"shape \(12, 4\), precipitation \(12, 5\)"),
        (np.ones((11, 4)), np.ones((11, 4)), "first axis must hold 12 months"),
        (np.float64(1), np.float64(1), "first axis must hold 12 months"),
        (frame(list(range(12)), [1.0]), frame(list(range(12)), [1.0]), r"months \[0, 1,.*they must be 1 to 12"),
        (frame(list(range(1, 13)), [1.0]), frame(list(range(1, 13)), [1.01]), "different grids"),
        (frame(list(range(1, 13)), [1.0, 2.0]), frame(list(range(1, 13)), [1.0]), "different grids"),
        (frame(list(range(1, 13)), [1.0]).rename(month="m"), frame(list(range(1, 13)), [1.0]), "dimension 'month'"),
    ],
)
def test_unusable_inputs(temperature: object, precipitation: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        classify(temperature, precipitation)


def test_unknown_rule() -> None:
    with pytest.raises(ConfigError, match="'peel' is unknown: choose one of peel2007, beck_compat"):
        classify(np.ones((12, 1)), np.ones((12, 1)), "peel")


@pytest.mark.parametrize(("rule", "classes", "groups"), [("peel2007", 0.80, 0.91), ("beck_compat", 0.83, 0.925)])
def test_agreement_with_the_published_map(shared_data: Path, rule: str, classes: float, groups: float) -> None:
    benchmark = runpy.run_path(str(REPOSITORY / "benchmarks" / "koppen_agreement.py"))
    result = benchmark["agreement"](shared_data, rule)
    assert classes < result.classes_frac < classes + 0.02
    assert groups < result.groups_frac < groups + 0.02
    assert result.confusion.sum() == pytest.approx(1)
