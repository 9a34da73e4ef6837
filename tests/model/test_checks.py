"""The statistics check: silent on genuine chips, and loud on what is known to go wrong with them."""

import tarfile

import numpy as np
import pytest

from csmoe_model.errors import DataError
from csmoe_model.evaluation.checks import check_data, check_pixels, require_sound
from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.layouts.bigearthnet import BANDS as BIGEARTHNET
from csmoe_model.evaluation.layouts.eurosat import BANDS as EUROSAT
from csmoe_model.evaluation.layouts.floods import S2_BANDS
from csmoe_model.evaluation.layouts.images import read_tiff
from csmoe_model.evaluation.layouts.readers import on_one_grid

TEN = tuple(band for band in S2_BANDS if band not in ("B01", "B09", "B10"))
S1 = ("VV", "VH")
SOURCES = ("eurosat", "terramesh", "bigearthnet", "sen1floods11")


@pytest.fixture(scope="module")
def genuine(shared_data, tmp_path_factory):
    """Chips by sensor and source, (bands, H, W) with the names of the bands."""
    sentinel, folder = shared_data / "sentinel", tmp_path_factory.mktemp("bigearthnet")
    for archive in (sentinel / "bigearthnet").glob("*.tar.bz2"):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    patches = {
        sensor: [
            on_one_grid([read_tiff(patch / f"{patch.name}_{band}.tif")[0] for band in BIGEARTHNET[sensor]])
            for patch in sorted((folder / f"BigEarthNet-{sensor.upper()}-Example").iterdir())
        ]
        for sensor in ("s1", "s2")
    }
    optical = [read_tiff(path) for path in sorted((sentinel / "terramesh" / "S2L2A").iterdir())]
    lifted = [path.stem.startswith("433D") for path in sorted((sentinel / "terramesh" / "S2L2A").iterdir())]
    return {
        ("s1", "bigearthnet"): (S1, patches["s1"]),
        ("s1", "terramesh"): (S1, [read_tiff(path) for path in sorted((sentinel / "terramesh" / "S1RTC").iterdir())]),
        ("s1", "sen1floods11"): (S1, [read_tiff(sentinel / "sen1floods11" / "S1" / "Spain_7370579_S1Hand.tif")]),
        ("s2", "bigearthnet"): (BIGEARTHNET["s2"], patches["s2"]),
        ("s2", "terramesh"): (
            BIGEARTHNET["s2"],
            [chip - 1000 if offset else chip for chip, offset in zip(optical, lifted, strict=True)],
        ),
        ("s2", "sen1floods11"): (S2_BANDS, [read_tiff(sentinel / "sen1floods11" / "S2" / "Spain_7370579_S2Hand.tif")]),
        ("s2", "eurosat"): (
            EUROSAT,
            [read_tiff(path) for path in sorted((shared_data / "eurosat" / "EuroSAT_MS").iterdir())],
        ),
        "lifted": (BIGEARTHNET["s2"], optical),
    }


def of(names, unit="DN"):
    return Bands(names=tuple(names), unit=unit, gsd_m=10.0)


def chosen(source, wanted):
    names, stacks = source
    return [stack[[names.index(band) for band in wanted]] for stack in stacks]


def said(findings):
    return [(finding.severity, finding.band, finding.advice) for finding in findings]


# Genuine chips


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(None, id="all"),
        pytest.param(TEN, id="ten"),
        pytest.param(("B04", "B03", "B02"), id="rgb"),
        pytest.param(("B02", "B03", "B04", "B08"), id="10 m"),
        pytest.param(("B8A", "B11", "B12"), id="20 m"),
    ],
)
def test_genuine_optical_chips_raise_no_alarm(genuine, source, wanted):
    names = wanted or genuine["s2", source][0]
    stacks = chosen(genuine["s2", source], names)
    for some in (stacks, *([stack] for stack in stacks)):  # together, and each alone
        assert check_pixels(of(names), some) == []
        assert check_pixels(of(names, "reflectance"), [stack / 10_000 for stack in some]) == []


@pytest.mark.parametrize("source", SOURCES[1:])
def test_genuine_radar_chips_raise_no_alarm(genuine, source):
    for stack in genuine["s1", source][1]:
        assert check_pixels(of(S1, "dB"), [stack]) == []
        assert check_pixels(of(S1[::-1], "dB"), [stack[::-1]]) == []
        assert check_pixels(of(S1, "power"), [10 ** (stack / 10)]) == []


def test_genuine_pictures_raise_no_alarm(shared_data, tmp_path):
    from csmoe_model.evaluation.layouts import open_set

    with tarfile.open(shared_data / "eurosat" / "EuroSAT_RGB_2000.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    data = open_set(tmp_path)
    assert len(data) == 2000
    assert require_sound(data).notes == data.notes


# Radar mutations

RADAR = {
    "swapped": (lambda x: x[::-1], "dB", [("error", "", "exchange the names of VV and VH")]),
    "swapped power": (lambda x: 10 ** (x[::-1] / 10), "power", [("error", "", "exchange the names of VV and VH")]),
    "truncated": (
        np.trunc,
        "dB",
        [("error", band, "read the values as floating point, where they still have fractions") for band in S1],
    ),
    "rounded": (
        np.round,
        "dB",
        [("error", band, "read the values as floating point, where they still have fractions") for band in S1],
    ),
    "power for dB": (
        lambda x: 10 ** (x / 10),
        "dB",
        [("error", "VV", "give the unit as 'power', or convert with 10 log10(x)")],
    ),
    "dB for power": (lambda x: x, "power", [("error", "VV", "give the unit as 'dB'")]),
    "scaled": (lambda x: x * 100.5, "dB", [("error", band, "check the unit and the scale") for band in S1]),
    "empty": (
        lambda x: x * np.nan,
        "dB",
        [("error", band, "leave the band out, or fetch the images again") for band in S1],
    ),
}


@pytest.mark.parametrize("source", SOURCES[1:])
@pytest.mark.parametrize("name", list(RADAR))
def test_radar_mutations_are_caught(genuine, source, name):
    mutate, unit, expected = RADAR[name]
    assert said(check_pixels(of(S1, unit), [mutate(stack) for stack in genuine["s1", source][1]])) == expected


def test_water_alone_does_not_tell_the_polarisations(genuine):
    chance = np.random.default_rng(0)
    water = np.stack([chance.normal(-24, 1.5, (64, 48)), chance.normal(-22, 1.5, (64, 48))]).astype(np.float32)
    assert check_pixels(of(S1, "dB"), [water]) == []
    spain = genuine["s1", "sen1floods11"][1][0]
    (finding,) = check_pixels(of(S1, "dB"), [water, spain, water, spain[::-1], spain])
    assert (finding.severity, "in 1 of 3 images" in finding.problem) == ("warning", True)


# Optical mutations


def put(stack, band, value):
    return np.where(np.arange(len(stack))[:, None, None] == band, np.float32(value), stack)


BAND = "leave the band out, or fetch the images again"
OPTICAL = {
    "offset": (lambda x: x + 1000, "DN", "", "subtract 1000 from every band"),
    "offset of reflectance": (lambda x: x / 10_000 + 0.1, "reflectance", "", "subtract 1000 from every band"),
    "reflectance for DN": (lambda x: x / 10_000, "DN", "", "give the unit as 'reflectance'"),
    "DN for reflectance": (lambda x: x, "reflectance", "", "give the unit as 'DN'"),
    "bytes for DN": (lambda x: np.round(np.clip(x / 3000, 0, 1) * 255), "DN", "", "give the unit as 'byte'"),
    "DN for bytes": (lambda x: x, "byte", "", "check the unit and the scale"),
    "empty band": (lambda x: put(x, 2, np.nan), "DN", "B03", BAND),
    "constant band": (lambda x: put(x, 5, 0), "DN", "B06", BAND),
    "shifted to the right": (lambda x: np.roll(x, 1, 0), "DN", "", "name the bands in the order of the values"),
    "shifted to the left": (lambda x: np.roll(x, -1, 0), "DN", "", "name the bands in the order of the values"),
    "B8A last": (
        lambda x: np.concatenate([x[:8], x[9:], x[8:9]]),
        "DN",
        "",
        "name the bands in the order of the values",
    ),
    "reversed": (lambda x: x[::-1], "DN", "", "name the bands in the order of the values"),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", list(OPTICAL))
def test_optical_mutations_are_caught(genuine, source, name):
    mutate, unit, band, advice = OPTICAL[name]
    names = tuple(band for band in S2_BANDS if band in genuine["s2", source][0])  # the order of the mutations
    stacks = [mutate(stack) for stack in chosen(genuine["s2", source], names)]
    assert ("error", band, advice) in said(check_pixels(of(names, unit), stacks))


def test_eurosat_named_in_the_usual_order_is_told_its_own(genuine):
    (finding,) = check_pixels(of(S2_BANDS), genuine["s2", "eurosat"][1])
    assert finding.severity == "error"
    assert f"the order {', '.join(EUROSAT)} better" in finding.problem


def test_the_offset_of_one_chip_is_worth_a_warning(genuine):
    names, stacks = genuine["lifted"]
    (finding,) = check_pixels(of(names), stacks, sensor="s2")
    assert finding.severity == "warning"
    assert str(finding).startswith("s2: no band falls below 1")
    assert "in 1 of 3 images; subtract 1000" in str(finding)


@pytest.mark.parametrize(
    ("unit", "values", "advice"),
    [
        pytest.param("byte", [0.0, 0.4, 1.0], "give the unit as '0-1'", id="0 to 1 for bytes"),
        pytest.param("byte", [-3.0, 200.0, 9.0], "check the unit and the scale", id="negative bytes"),
        pytest.param("0-1", [0.0, 128.0, 255.0], "check the unit and the scale", id="bytes for 0 to 1"),
        pytest.param("m", [7.0, 7.0, 7.0], BAND, id="flat"),
    ],
)
def test_other_units(unit, values, advice):
    image = np.broadcast_to(np.array(values, np.float32), (1, 5, 3))
    assert [finding.advice for finding in check_pixels(of(["own"], unit), [image])] == [advice]
    assert check_pixels(of(["own"], "m"), [np.arange(15, dtype=np.float32).reshape(1, 5, 3)]) == []


# Data sets


class Stacks:
    """A reader of what it is given."""

    def __init__(self, stacks):
        self.stacks, self.asked = stacks, []

    def images(self, sample):
        self.asked.append(sample)
        return self.stacks[sample]

    def mask(self, sample):
        raise AssertionError("nobody asks for masks")


def data_of(stacks, split, **sensors):
    num = len(stacks)
    ids = np.array([f"p{k}" for k in range(num)])
    return EvaluationSet(
        name="ours",
        task="pairs",
        sensors=sensors,
        classes=(),
        ids=ids,
        split=np.array(split),
        labels=None,
        reader=Stacks(stacks),
        notes=("as it came",),
    )


def radar(seed, lift=0.0):
    chance = np.random.default_rng(seed)
    return np.stack([chance.normal(-10 + lift, 2, (32, 40)), chance.normal(-17 - lift, 2, (32, 40))]).astype(np.float32)


def test_all_errors_come_in_one_sentence_and_warnings_as_notes():
    stacks = [{"s1": radar(k)[::-1], "dem": np.zeros((1, 4, 5), np.float32)} for k in range(4)]
    data = data_of(stacks, ["train"] * 3 + ["test"], s1=of(S1, "dB"), dem=of(["height"], "m"), s2=of(["B02"]))
    with pytest.raises(DataError) as caught:
        require_sound(data)
    message = str(caught.value)
    assert message.startswith("data set ours: s1: VV is ")
    for part in ("exchange the names of VV and VH", "dem height: every valid pixel is 0", "s2: no image of it"):
        assert part in message
    stacks = [{"s1": radar(k)} for k in range(4)]
    stacks[1]["s1"][0] = np.nan
    sound = require_sound(data_of(stacks, ["train"] * 4, s1=of(S1, "dB")))
    assert sound.notes == (
        "as it came",
        "s1 VV: no valid pixel, in 1 of 4 images; leave the band out, or fetch the images again",
    )


def test_a_few_samples_of_every_split_are_looked_at():
    split = ["train"] * 50 + ["test"] * 7
    data = data_of([{"s1": radar(k)} for k in range(57)], split, s1=of(S1, "dB"))
    assert check_data(data, samples=3) == []
    assert data.reader.asked == [0, 24, 49, 50, 53, 56]
    only_test = [{"s1": radar(k)[:: -1 if k >= 50 else 1]} for k in range(57)]
    assert [f.severity for f in check_data(data_of(only_test, split, s1=of(S1, "dB")), samples=3)] == ["error"]


def test_a_sensor_that_few_samples_lack_is_no_problem():
    stacks = [{"s1": radar(k)} if k else {} for k in range(3)]
    assert check_data(data_of(stacks, ["train"] * 3, s1=of(S1, "dB"))) == []
