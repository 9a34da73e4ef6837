"""Sen1Floods11, OMBRIA, BigEarthNet's reference maps, and folders of images and masks."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.layouts import LayoutOptions, open_set
from csmoe_model.evaluation.layouts.bigearthnet import BANDS
from csmoe_model.evaluation.layouts.floods import S2_BANDS, open_sen1floods11
from csmoe_model.evaluation.layouts.neighbours import edges_of, groups_of, touching
from csmoe_model.evaluation.layouts.nomenclature import CLASSES
from csmoe_model.evaluation.layouts.ombria import open_ombria
from csmoe_model.evaluation.layouts.pairs import open_pairs
from csmoe_model.evaluation.layouts.reference_maps import IGNORE, open_reference_maps
from model import evaluation_sets

PLAIN = LayoutOptions()
SHAPE = (6, 9)


def write_tiff(path, values):
    """Bands, or a single one without the axis."""
    evaluation_sets.write_tiff(path, values if values.ndim == 3 else values[None])


def write_png(path, values):
    """(H, W) or (H, W, 3)."""
    pixels = np.asarray(values, np.uint8)
    evaluation_sets.write_picture(path, pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0))


def value_of(data, one, what="mask"):
    row = data.ids.tolist().index(one)
    return data.reader.mask(row) if what == "mask" else data.reader.images(row)


# Sen1Floods11

CHIPS = ("Ghana_1", "Ghana_2", "Sri-Lanka_3", "Spain_4", "Paraguay_5", "Bolivia_6", "Bolivia_7", "Spain_8")
OFFICIAL = {"train": ("Ghana_1", "Sri-Lanka_3"), "valid": ("Paraguay_5",), "test": ("Spain_4",)}


def write_floods(root, *, official=True):
    folder = root / "v1.1/data/flood_events/HandLabeled" if official else root
    s1, s2, labels = ("S1Hand", "S2Hand", "LabelHand") if official else ("S1", "S2", "Labels")
    for k, name in enumerate(CHIPS):
        radar = np.arange(2 * 54, dtype=np.float32).reshape(2, *SHAPE) - 40 - k
        optical = np.arange(13 * 54, dtype=np.int16).reshape(13, *SHAPE) + k
        write_tiff(folder / s1 / f"{name}_S1Hand.tif", radar * np.nan if name == "Paraguay_5" else radar)
        if name != "Ghana_1":
            write_tiff(folder / s2 / f"{name}_S2Hand.tif", optical)
        write_tiff(folder / labels / f"{name}_LabelHand.tif", (np.arange(54, dtype=np.int16) % 3 - 1).reshape(SHAPE))
    splits = root / "v1.1/splits/flood_handlabeled"
    for split, names in OFFICIAL.items() if official else ():
        splits.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"{name}_S1Hand.tif,{name}_LabelHand.tif\n" for name in names)
        (splits / f"flood_{split}_data.csv").write_text(rows)
    return root


def test_sen1floods11_is_split_by_its_tables_with_bolivia_apart(tmp_path):
    data = open_sen1floods11(write_floods(tmp_path), PLAIN)
    assert dict(zip(data.ids.tolist(), data.split.tolist(), strict=True)) == {
        "Ghana_1": "train",
        "Sri-Lanka_3": "train",
        "Paraguay_5": "validation",
        "Spain_4": "test",
    }
    assert data.group.tolist() == ["Ghana", "Paraguay", "Spain", "Sri-Lanka"]
    notes = " ".join(data.notes)
    assert "Bolivia (2 chips) is left out" in notes
    assert "2 chips are in no official split" in notes
    assert "no s1 in Paraguay_5: taken as lacking" in notes
    assert "no s2 in Ghana_1: taken as lacking" in notes


def test_sen1floods11_gives_bands_by_name_and_masks_with_ignored_pixels(tmp_path):
    data = open_set(write_floods(tmp_path))
    spain = value_of(data, "Spain_4", "images")
    assert spain["s1"].shape == (2, *SHAPE)
    assert spain["s2"][S2_BANDS.index("B8A"), 0, 1] == 8 * 54 + 1 + 3
    assert set(value_of(data, "Paraguay_5", "images")) == {"s2"}
    assert set(value_of(data, "Ghana_1", "images")) == {"s1"}
    np.testing.assert_array_equal(value_of(data, "Spain_4"), (np.arange(54) % 3 - 1).reshape(SHAPE))
    assert data.ignore_index == -1


def test_bolivia_can_take_the_place_of_the_test_split(tmp_path):
    data = open_sen1floods11(write_floods(tmp_path), LayoutOptions(part="bolivia"))
    assert data.ids[data.of_split("test")].tolist() == ["Bolivia_6", "Bolivia_7"]
    assert data.ids[data.of_split("train")].tolist() == ["Ghana_1", "Sri-Lanka_3"]
    with pytest.raises(ConfigError, match="no part 'peru'"):
        open_sen1floods11(tmp_path, LayoutOptions(part="peru"))


def test_without_tables_countries_do_not_straddle_splits(tmp_path):
    data = open_sen1floods11(write_floods(tmp_path, official=False), PLAIN)
    assert "Bolivia_6" not in data.ids.tolist()
    assert len(data) == 6
    for country in set(data.group.tolist()):
        assert len(set(data.split[data.group == country].tolist())) == 1


def test_a_mask_with_other_numbers_is_refused(tmp_path):
    write_floods(tmp_path, official=False)
    write_tiff(tmp_path / "Labels" / "Spain_4_LabelHand.tif", np.full(SHAPE, 7, np.int16))
    with pytest.raises(DataError, match=r"Spain_4_LabelHand\.tif: holds 7"):
        value_of(open_sen1floods11(tmp_path, PLAIN), "Spain_4")
    with pytest.raises(DataError, match="no folders"):
        open_sen1floods11(tmp_path / "S1", PLAIN)


def test_real_floods(shared_data):
    folder = shared_data / "sentinel" / "sen1floods11"
    data = open_set(folder, "sen1floods11")
    with tifffile.TiffFile(folder / "S2" / "Spain_7370579_S2Hand.tif") as file:
        text = str(file.pages[0].tags["GDAL_METADATA"].value)
    described = re.findall(r'role="description">B(\d+A?)<', text)
    assert [f"B{name.zfill(2)}" for name in described] == list(data.sensors["s2"].names)
    spain = value_of(data, "Spain_7370579", "images")
    assert spain["s1"].shape == (2, 512, 512)
    assert np.nanmedian(spain["s1"][0]) > np.nanmedian(spain["s1"][1]) + 5
    codes, counts = np.unique(value_of(data, "Spain_7370579"), return_counts=True)
    assert dict(zip(codes.tolist(), counts.tolist(), strict=True)) == {-1: 99, 0: 192010, 1: 70035}
    assert value_of(data, "Paraguay_34417", "images") == {}
    assert "no s1 in Paraguay_34417" in " ".join(data.notes)


# OMBRIA


def scene(seed, rows, columns, edge=64, channels=3):
    """A picture in pieces, row by row, (rows * columns, edge, edge, channels); both sides of a cut are nearly alike."""
    chance = np.random.default_rng(seed)
    field = chance.integers(5, 250, (rows * edge, columns * edge, channels), np.uint8)
    for axis in (0, 1):
        for cut in range(edge, field.shape[axis], edge):
            beside = field.take(cut, axis) + chance.integers(0, 4, field.take(cut, axis).shape, np.uint8)
            field[(slice(None),) * axis + (cut - 1,)] = beside
    return field.reshape(rows, edge, columns, edge, channels).swapaxes(1, 2).reshape(-1, edge, edge, channels)


def write_ombria(root):
    """Two scenes: places 1 to 6 (4 in the test split), and 7 to 8; place 9 is alone, in the test split."""
    for sensor, channels in (("S1", 1), ("S2", 3)):
        for k, time in enumerate(("BEFORE", "AFTER")):
            shapes = ((2, 3), (1, 2), (1, 1))
            seeds = [1000 * channels + 100 * k + number for number in range(3)]
            pieces = [p for seed, s in zip(seeds, shapes, strict=True) for p in scene(seed, *s, channels=channels)]
            for number, piece in enumerate(pieces, 1):
                split = "test" if number in (4, 9) else "train"
                name = f"{sensor}_{time.lower()}_{number:04d}.png"
                write_png(root / f"Ombria{sensor}" / split / time / name, piece.squeeze())
                mask = np.where(np.arange(64 * 64).reshape(64, 64) < 20 + number, 255, 0)
                write_png(root / f"Ombria{sensor}" / split / "MASK" / f"{sensor}_mask_{number:04d}.png", mask)
    return root


def test_ombria_pairs_the_sensors_after_the_flood_and_finds_its_scenes(tmp_path):
    data = open_set(write_ombria(tmp_path))
    assert data.task == "segmentation"
    assert data.ids.tolist() == [f"{number:04d}" for number in range(1, 10)]
    groups = dict(zip(data.ids.tolist(), data.group.tolist(), strict=True))
    assert len({groups[f"{k:04d}"] for k in range(1, 7)}) == 1
    assert groups["0007"] == groups["0008"]
    assert len(set(groups.values())) == 3
    assert data.ids[data.of_split("test")].tolist() == ["0004", "0009"]
    assert any("50% of the official test images share an edge" in note for note in data.notes)
    images = value_of(data, "0003", "images")
    for sensor, name in (("s1", "S1"), ("s2", "S2")):
        with Image.open(tmp_path / f"Ombria{name}/train/AFTER/{name}_after_0003.png") as picture:
            np.testing.assert_array_equal(images[sensor], np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1))
    assert value_of(data, "0003").sum() == 23
    assert data.sensors["s2"].unit == data.sensors["s1"].unit == "byte"


@pytest.mark.parametrize(("part", "num", "first"), [("before", 9, "0001"), ("both", 18, "0001 before")])
def test_ombria_before_the_flood_has_no_masks(tmp_path, part, num, first):
    data = open_ombria(write_ombria(tmp_path), LayoutOptions(part=part))
    assert (data.task, len(data), data.ids[0]) == ("pairs", num, first)
    with Image.open(tmp_path / "OmbriaS1/train/BEFORE/S1_before_0001.png") as picture:
        np.testing.assert_array_equal(data.reader.images(0)["s1"][0], np.asarray(picture))
    for group in set(data.group.tolist()):
        own = data.split[(data.group == group) & (data.split != "test")]
        assert len(set(own.tolist())) <= 1


def test_what_ombria_refuses(tmp_path):
    with pytest.raises(DataError, match="no images"):
        open_ombria(tmp_path, PLAIN)
    with pytest.raises(ConfigError, match="no part 'later'"):
        open_ombria(tmp_path, LayoutOptions(part="later"))
    write_png(write_ombria(tmp_path) / "OmbriaS1/train/MASK/S1_mask_0002.png", np.full((16, 16), 128))
    data = open_ombria(tmp_path, PLAIN)
    with pytest.raises(DataError, match="other values than 0 and 255"):
        value_of(data, "0002")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4))
def test_pieces_of_a_scene_touch_as_they_were_cut(seed, rows, columns):
    looks = [scene(seed * 2 + k, rows, columns, channels=1)[..., 0].astype(np.float32) for k in (0, 1)]
    pairs = touching(np.stack([[edges_of(piece) for piece in look] for look in looks]))
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    expected = np.abs(grid[:, None] - grid[None]).sum(-1) == 1
    np.testing.assert_array_equal(pairs, expected)
    assert set(groups_of(pairs).tolist()) == {0}


def test_groups_are_what_pairs_connect():
    pairs = np.zeros((7, 7), bool)
    for one, other in ((0, 5), (5, 3), (1, 4)):
        pairs[one, other] = pairs[other, one] = True
    assert groups_of(pairs).tolist() == [0, 1, 2, 0, 1, 0, 6]


# Reference maps


def write_maps(root, code_of):
    names = [f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_{k}" for k in (57, 58, 59)]
    for k, name in enumerate(names):
        folder = root / "BigEarthNet-S2" / name.rsplit("_", 2)[0] / name
        for place, band in enumerate(BANDS["s2"]):
            write_tiff(folder / f"{name}_{band}.tif", np.full((12, 12), 100 * place + k, np.uint16))
        if k != 1:
            write_tiff(root / "Reference_Maps" / name.rsplit("_", 2)[0] / name / f"{name}_reference_map.tif", code_of)
    table = {
        "patch_id": names,
        "labels": [["Pastures"], ["Arable land"], ["Pastures", "Mixed forest"]],
        "split": ["train", "validation", "test"],
        "country": ["Austria"] * 3,
        "s1_name": [""] * 3,
        "contains_seasonal_snow": [False] * 3,
        "contains_cloud_or_shadow": [False] * 3,
    }
    pq.write_table(pa.table(table), root / "metadata.parquet")
    return root


def test_reference_maps_are_classes_by_name(tmp_path):
    codes = np.full((12, 12), 231, np.uint16)
    codes[0, :5], codes[1, :], codes[2, 3], codes[4, 4] = 124, 313, 211, 999
    data = open_reference_maps(write_maps(tmp_path, codes), PLAIN)
    assert data.ids.tolist() == [f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_{k}" for k in (57, 59)]
    assert data.split.tolist() == ["train", "test"]
    assert data.labels.sum(1).tolist() == [1, 2]
    assert any("1 without a reference map" in note for note in data.notes)
    mask = data.reader.mask(1)
    expected = np.full((12, 12), CLASSES.index("Pastures"))
    expected[0, :5] = expected[4, 4] = IGNORE
    expected[1, :], expected[2, 3] = CLASSES.index("Mixed forest"), CLASSES.index("Arable land")
    np.testing.assert_array_equal(mask, expected)
    assert data.reader.images(1)["s2"][3, 0, 0] == 302
    assert data.ignore_index == IGNORE


def test_a_real_reference_map(tmp_path, shared_data):
    name = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
    file = shared_data / "sentinel" / "bigearthnet" / f"{name}_reference_map.tif"
    codes = np.full((12, 12), 231, np.uint16)
    target = write_maps(tmp_path, codes) / "Reference_Maps" / name.rsplit("_", 2)[0] / name / file.name
    target.write_bytes(file.read_bytes())
    mask = open_reference_maps(tmp_path, PLAIN).reader.mask(0)
    counts = {CLASSES[code]: int((mask == code).sum()) for code in np.unique(mask)}
    assert counts == {"Arable land": 7075, "Pastures": 1154, "Broad-leaved forest": 4131, "Mixed forest": 2040}


# Images and masks


def write_pairs(root, masks, *, part=""):
    for name, mask in masks.items():
        shape = np.asarray(mask).shape
        write_tiff(root / part / "images" / f"{name}.tif", np.stack([np.full(shape, k, np.float32) for k in range(4)]))
        write_png(root / part / "masks" / f"{name}.png", mask)
    return root


FOUR = LayoutOptions(bands=("B02", "B03", "B04", "B08"), unit="reflectance")


@pytest.mark.parametrize(
    ("values", "options", "codes", "ignored", "num"),
    [
        pytest.param([0, 2, 1], {}, [0, 2, 1], -1, 3, id="codes"),
        pytest.param([0, 255, 255], {}, [0, 1, 1], -1, 2, id="black and white"),
        pytest.param([255, 255, 255], {}, [1, 1, 1], -1, 2, id="white"),
        pytest.param([0, 1, 255], {}, [0, 1, 255], 255, 2, id="255 is ignored"),
        pytest.param([0, 255, 255], {"ignore_index": 255}, [0, 255, 255], 255, 1, id="255 is said to be ignored"),
        pytest.param([0, 1, 3], {"ignore_index": 0}, [0, 1, 3], 0, 4, id="0 is ignored"),
        pytest.param([0, 1, 1], {"classes": ("a", "b", "c")}, [0, 1, 1], -1, 3, id="a class that does not occur"),
    ],
)
def test_codes_of_masks(tmp_path, values, options, codes, ignored, num):
    write_pairs(tmp_path, {"one": [values, values]})
    data = open_pairs(tmp_path, FOUR.model_copy(update=options))
    assert data.reader.mask(0).tolist() == [codes, codes]
    assert (data.ignore_index, len(data.classes)) == (ignored, num)
    assert data.reader.images(0)["s2"][:, 1, 2].tolist() == [0, 1, 2, 3]
    assert data.sensors["s2"].unit == "reflectance"


def test_folders_of_splits_are_kept(tmp_path):
    for part, name in (("train", "a"), ("validation", "b"), ("test", "a")):
        write_pairs(tmp_path, {name: [[0, 1, 0]]}, part=part)
    data = open_set(tmp_path, options=FOUR)
    assert dict(zip(data.ids.tolist(), data.split.tolist(), strict=True)) == {
        "train/a": "train",
        "validation/b": "validation",
        "test/a": "test",
    }
    whole = open_pairs(write_pairs(tmp_path / "whole", {f"{k}": [[0, 1, 0]] for k in range(40)}), FOUR)
    assert set(whole.split.tolist()) == {"train", "validation", "test"}


def test_negative_codes_count_for_nothing(tmp_path):
    write_pairs(tmp_path, {"one": [[0, 1, 2]]})
    (tmp_path / "masks/one.png").unlink()
    write_tiff(tmp_path / "masks/one.tif", np.array([[0, -9, 2]], np.int16))
    assert open_pairs(tmp_path, FOUR).reader.mask(0).tolist() == [[0, -1, 2]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("mask", r"one\.png: is 4 x 1 px, its image 3 x 1: give both one size"),
        ("no mask", "has no mask"),
        ("code", "hold code 2, and 2 classes are named"),
        ("bands", "has 4 bands, not the 3"),
        ("colours", "has 3 bands"),
        ("nothing", "has no images"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_in_a_sentence(tmp_path, spoil, message):
    write_pairs(tmp_path, {"one": [[0, 2, 1]]})
    mask, options = tmp_path / "masks/one.png", FOUR
    if spoil == "mask":
        write_png(mask, [[0, 1, 1, 0]])
    elif spoil == "no mask":
        mask.unlink()
    elif spoil == "code":
        options = FOUR.model_copy(update={"classes": ("dry", "wet")})
    elif spoil == "bands":
        options = FOUR.model_copy(update={"bands": ("B02", "B03", "B04")})
    elif spoil == "colours":
        write_png(mask, np.zeros((1, 3, 3)))
    else:
        (tmp_path / "images/one.tif").unlink()
    with pytest.raises(DataError, match=message):
        open_pairs(tmp_path, options).reader.images(0)
