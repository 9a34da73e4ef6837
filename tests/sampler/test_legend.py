"""Legends: the shipped ones are consistent, a user's is checked in full, codes are looked up by their bits."""

import numpy as np
import pytest

from csmoe_sampler.errors import LegendError
from csmoe_sampler.legend import NODATA, UNKNOWN, load_legend, shipped_legends

GOOD = """
name = "two"
title = "Two classes"
source = "nowhere"
licence = "CC0"
nodata = [255, -1]
water = ["sea"]
class = [
    { label = "land", codes = [1, 3], group = "dry", color = "#00ff00" },
    { label = "sea", codes = [2], group = "wet", color = "#0000ff" },
]
"""


def write(tmp_path, text):
    path = tmp_path / "legend.toml"
    path.write_text(text)
    return str(path)


def test_shipped_legends_are_these():
    assert shipped_legends() == [
        "corine1",
        "corine2",
        "corine3",
        "dynamic_world",
        "esa_cci",
        "igbp",
        "koppen",
        "lc100",
        "worldcover",
    ]


@pytest.mark.parametrize("name", shipped_legends())
def test_shipped_legend_is_sound(name):
    legend = load_legend(name)
    assert legend.name == name
    assert 4 <= len(set(legend.groups)) <= 7
    assert all(label == label.lower() for label in legend.labels) or name == "koppen"
    assert legend.to_json()["labels"] == list(legend.labels)


@pytest.mark.parametrize(
    ("name", "num_classes", "water_codes", "nodata"),
    [
        ("worldcover", 11, {80}, (0,)),
        ("igbp", 17, {0, 17}, (255,)),
        ("esa_cci", 22, {210}, (0,)),
        ("lc100", 22, {80, 200}, (0, 255)),
        ("dynamic_world", 9, {0}, (255,)),
        ("corine1", 5, {*range(40, 45), 511, 512, 521, 522, 523}, None),
        ("corine2", 15, {*range(40, 45), 511, 512, 521, 522, 523}, None),
        ("corine3", 44, {*range(40, 45), 511, 512, 521, 522, 523}, None),
        ("koppen", 30, set(), (0,)),
    ],
)
def test_open_water_and_no_data_are_told_apart(name, num_classes, water_codes, nodata):
    legend = load_legend(name)
    assert legend.num_classes == num_classes
    assert {c for codes, wet in zip(legend.codes, legend.water_mask, strict=True) if wet for c in codes} == water_codes
    assert nodata is None or legend.nodata == nodata


def test_koppen_symbols_and_colours_are_those_of_the_map(shared_data):
    legend = load_legend("koppen")
    lines = (shared_data / "koppen" / "legend.txt").read_text(encoding="utf-8").splitlines()
    listed = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert len(listed) == 30
    for (number, symbol, *_), codes, label, group in zip(
        listed, legend.codes, legend.labels, legend.groups, strict=True
    ):
        assert (int(number.rstrip(":")),) == codes
        assert (label, group) == (symbol, symbol[0])
    rgb = [tuple(map(int, line.split("[")[1].rstrip("] \n").split())) for line in lines if line.rstrip().endswith("]")]
    assert [tuple(bytes.fromhex(color[1:])) for color in legend.colors] == rgb


def test_corine_levels_nest():
    one, two, three = (load_legend(f"corine{k}") for k in (1, 2, 3))
    for finer, coarser in ((three, two), (two, one)):
        for codes in finer.codes:
            assert sum(set(codes) <= set(broad) for broad in coarser.codes) == 1
    # The 44 grid codes follow the order of the three-digit codes.
    assert [codes[0] for codes in three.codes] == list(range(1, 45))
    assert sorted(codes[1] for codes in three.codes) == [codes[1] for codes in three.codes]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", {0: UNKNOWN, 1: 0, 3: 0, 2: 1, 255: NODATA}),
        ("int8", {0: UNKNOWN, 1: 0, 255: NODATA}),
        ("uint16", {1: 0, 255: NODATA, 65535: UNKNOWN}),
        ("int16", {2: 1, 255: NODATA, 65535: NODATA}),
    ],
)
def test_lookup_goes_by_the_bits(tmp_path, dtype, expected):
    table = load_legend(write(tmp_path, GOOD)).lookup(dtype)
    assert table.size == 2 ** (8 * np.dtype(dtype).itemsize)
    assert {bits: table[bits] for bits in expected} == expected


def test_lookup_of_a_real_array(tmp_path):
    values = np.array([-1, 1, 2, 3, 7], np.int16)
    table = load_legend(write(tmp_path, GOOD)).lookup(values.dtype)
    assert table[values.view(np.uint16)].tolist() == [NODATA, 0, 1, 0, UNKNOWN]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "two"\n', "", "name is missing"),
        ("nodata = [255, -1]", "nodata = 255", "nodata is not a list"),
        ("nodata = [255, -1]", "nodata = [2.5]", "nodata holds 2.5"),
        ("nodata = [255, -1]", "nodata = [70000]", "nodata holds 70000"),
        ("nodata = [255, -1]", "nodata = [true]", "nodata holds True"),
        ("nodata = [255, -1]", "nodata = [2]", "code 2 is both no-data and the class 'sea'"),
        ('water = ["sea"]', 'water = ["lake"]', "water names 'lake', which is no class"),
        ('label = "sea"', 'label = "land"', "label 'land' is given twice"),
        ('label = "sea"', 'label = "two words"', "label 'two words' is not made of"),
        ('label = "sea"', 'label = "valid"', "label 'valid' is the name of a column"),
        ("codes = [2]", "codes = [3]", "code 3 is given twice, for 'land' and 'sea'"),
        ("codes = [2]", "codes = []", "class 'sea' has no codes"),
        ("codes = [2]", 'codes = ["2"]', "class 2: codes holds '2'"),
        ('color = "#0000ff"', 'color = "blue"', "color 'blue' of 'sea'"),
        ('group = "wet", ', "", "class 2: group is missing"),
        ('group = "wet"', 'group = ""', "group '' of 'sea'"),
        ('group = "wet"', 'group = "wet", colour = "x"', "class 2: unknown key colour"),
        ('title = "Two classes"', "title = 2", "title is not a text"),
        ('licence = "CC0"', 'licence = "CC0"\nfoo = 1', "unknown key foo"),
        ("class = [", "class = [ 5,", "class 1 is not a table"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(LegendError) as error:
        load_legend(write(tmp_path, GOOD.replace(old, new)))
    assert message in str(error.value)
    assert "legend.toml" in str(error.value)


def test_all_problems_come_in_one_message(tmp_path):
    text = GOOD.replace("#0000ff", "blue").replace('water = ["sea"]', 'water = ["ice"]').replace("[2]", "[3]")
    with pytest.raises(LegendError, match=r"code 3 is given twice.*color 'blue'.*water names 'ice'"):
        load_legend(write(tmp_path, text))


def test_more_classes_than_columns(tmp_path):
    entries = "\n".join(f'{{ label = "c{k}", codes = [{k}], group = "g", color = "#000000" }},' for k in range(251))
    with pytest.raises(LegendError, match="it has 251 classes, more than 250"):
        load_legend(write(tmp_path, GOOD[: GOOD.index("{ label")].replace("255, -1", "999") + entries + "]"))


@pytest.mark.parametrize("text", ["a = ", "class = []"])
def test_malformed_files(tmp_path, text):
    with pytest.raises(LegendError, match=r"legend\.toml"):
        load_legend(write(tmp_path, text))


def test_no_such_legend_lists_those_there_are():
    with pytest.raises(LegendError, match=r"'worldcovr': neither a readable text file nor one of corine1, .*cover"):
        load_legend("worldcovr")
