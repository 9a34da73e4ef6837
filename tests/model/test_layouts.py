"""Data sets of scenes: recognised, split, read as they were written, or refused in a sentence."""

import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.layouts import FORMATS, LayoutOptions, open_set
from csmoe_model.evaluation.layouts.splits import completed, split_by_group
from model.chip_stores import write_chips, write_manifest
from model.evaluation_sets import (
    LEVEL_1C,
    geobench,
    images_of,
    patches,
    write_eurosat_ms,
    write_eurosat_rgb,
    write_picture,
    write_reben,
    write_rico,
    write_tiff,
)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=60), st.integers(0, 5), st.randoms())
def test_splits_hang_on_the_group_alone(groups, seed, chance):
    shares = (0.5, 0.3, 0.2)
    split = dict(zip(groups, split_by_group(groups, shares, seed).tolist(), strict=True))
    shuffled = list(groups)
    chance.shuffle(shuffled)
    half = shuffled[: len(shuffled) // 2 + 1]
    assert split_by_group(half, shares, seed).tolist() == [split[group] for group in half]


def test_shares_and_seeds_of_splits():
    groups = [f"place {k}" for k in range(20_000)]
    split, other = (split_by_group(groups, (0.7, 0.1, 0.2), seed) for seed in (0, 1))
    found = [float(np.mean(split == name)) for name in ("train", "validation", "test")]
    assert found == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    assert np.mean(split == other) < 0.6  # 0.54 by chance
    golden = ["train", "validation", "train", "train", "train", "train"]
    assert split_by_group("abcdef", (0.4, 0.3, 0.3), 0).tolist() == golden
    assert set(split_by_group(groups, (0.0, 0.0, 1.0), 0).tolist()) == {"test"}


def test_validation_comes_out_of_train_alone():
    groups = [f"place {k // 2}" for k in range(4000)]
    given_split = np.array(["train"] * 3000 + ["test"] * 1000)
    split, notes = completed(given_split, groups, LayoutOptions(shares=(0.6, 0.2, 0.2)))
    assert (split[3000:] == "test").all() and set(split[:3000]) == {"train", "validation"}
    assert np.mean(split[:3000] == "validation") == pytest.approx(0.25, abs=0.03)
    assert (split[0::2] == split[1::2]).all()
    assert "0.25 of its train" in notes[0]
    whole = np.array(["train", "validation", "test", "train"])
    assert completed(whole, list("abcd"), LayoutOptions())[0].tolist() == whole.tolist()


@pytest.mark.parametrize("below", ["", "2750", "deep/down/2750"])
def test_eurosat_rgb(tmp_path, below):
    colours = write_eurosat_rgb(tmp_path / below, {"SeaLake": 3, "AnnualCrop": 2, "River": 1})
    data = open_set(tmp_path)
    assert (data.name, data.task, data.classes) == ("EuroSAT RGB", "single_label", ("AnnualCrop", "River", "SeaLake"))
    assert [data.classes[k] for k in data.labels] == [one.split("_")[0] for one in data.ids]
    assert sorted(data.ids) == sorted(colours)
    assert data.sensors["s2"].names == ("B04", "B03", "B02") and data.sensors["s2"].unit == "byte"
    for one, colour in colours.items():
        pixels = images_of(data, one)["s2"]
        assert pixels.shape == (3, 8, 6)
        np.testing.assert_allclose(pixels.mean((1, 2)), colour, atol=4)  # JPEG
    assert any("splits made here" in note for note in data.notes)


def test_eurosat_with_a_split_by_folders(tmp_path):
    for part, first in (("train", 0), ("test", 100)):
        for k in range(30):
            pixels = np.full((3, 4, 5), k, np.uint8)
            write_picture(tmp_path / "sub" / part / "Forest" / f"Forest_{first + k}.jpg", pixels)
    data = open_set(tmp_path, "eurosat-rgb")
    number = np.array([int(one.split("_")[1]) for one in data.ids])
    assert (data.split[number >= 100] == "test").all() and set(data.split[number < 100]) == {"train", "validation"}
    other = open_set(tmp_path, "eurosat-rgb", LayoutOptions(seed=1))
    assert data.split_hash() != other.split_hash()


def test_eurosat_ms_has_b8a_last(tmp_path):
    written = write_eurosat_ms(tmp_path / "EuroSAT_MS", {"Pasture": 3, "Highway": 2})
    data = open_set(tmp_path)
    bands = data.sensors["s2"]
    assert data.name == "EuroSAT MS" and bands.unit == "DN" and bands.names[-2:] == ("B12", "B8A")
    for one, pixels in written.items():
        np.testing.assert_array_equal(images_of(data, one)["s2"], pixels)
    assert any("level-1C" in note for note in data.notes)


def test_both_eurosats_have_the_same_splits(tmp_path):
    counts = {"Pasture": 9, "Highway": 7}
    write_eurosat_rgb(tmp_path / "rgb", counts)
    write_eurosat_ms(tmp_path / "ms", counts)
    rgb, ms = open_set(tmp_path / "rgb"), open_set(tmp_path / "ms")
    assert rgb.split_hash() == ms.split_hash()


def test_other_classes_are_no_eurosat(tmp_path):
    write_eurosat_rgb(tmp_path, {"Pasture": 1, "Volcano": 1})
    assert open_set(tmp_path).name.startswith("folders")
    with pytest.raises(DataError, match="folder Volcano is none of its classes"):
        open_set(tmp_path, "eurosat-rgb")


def test_folders_of_geotiffs_tell_their_bands(tmp_path):
    bands, pixels = ("B08", "B04"), np.arange(2 * 5 * 7, dtype=np.int16).reshape(2, 5, 7)
    for k, name in enumerate(("dry", "wet", "dry")):
        write_tiff(tmp_path / name / f"{k}.tif", pixels + k, bands=bands)
    with pytest.raises(DataError, match="in which unit"):
        open_set(tmp_path)
    data = open_set(tmp_path, options=LayoutOptions(unit="DN"))
    assert data.sensors["s2"].names == bands and data.classes == ("dry", "wet")
    np.testing.assert_array_equal(images_of(data, "wet/1.tif")["s2"], pixels + 1)
    named = open_set(tmp_path, options=LayoutOptions(unit="dB", bands=("VV", "VH"), gsd_m=20))
    assert named.sensors["s1"].names == ("VV", "VH") and named.sensors["s1"].gsd_m == 20
    with rasterio.open(tmp_path / "dry" / "0.tif") as source:
        assert source.descriptions == bands  # the tag is the one that GDAL knows


def test_folders_that_do_not_tell_their_bands_are_refused(tmp_path):
    write_tiff(tmp_path / "dry" / "a.tif", np.ones((4, 5, 7), np.uint8))
    with pytest.raises(DataError, match="does not say which bands"):
        open_set(tmp_path)
    data = open_set(tmp_path, options=LayoutOptions(bands=("B02", "B03", "B04"), unit="DN"))
    with pytest.raises(DataError, match="has 4 bands, not the 3"):
        data.reader.images(0)
    with pytest.raises(DataError, match="no masks"):
        data.reader.mask(0)


def test_chips_by_any_column(tmp_path):
    written = write_chips(tmp_path, failed=(3,))
    there = np.arange(11) != 3
    soil = [None if k == 4 else ("clay", "sand", "loam")[k % 3] for k in range(11)]
    split = [("train", "buffer", "validation", "train", "test")[k % 5] for k in range(11)]
    write_manifest(written.manifest, there, soil=soil, split=split, depth=np.arange(11) / 7, code=np.arange(11) % 2)
    data = open_set(written.store, options=LayoutOptions(manifest=written.manifest, label="soil"))
    kept = [0, 2, 5, 7, 8, 9, 10]
    assert data.ids.tolist() == [f"{k}U_{k}R" for k in kept] and data.classes == ("clay", "loam", "sand")
    assert [data.classes[k] for k in data.labels] == [soil[k] for k in kept]
    assert data.split.tolist() == [split[k] for k in kept]
    assert "left out: 2 of other splits (buffer)" in data.notes and "left out: 1 without a label" in data.notes
    assert data.lon_lat[1].tolist() == [pytest.approx(-6.0), pytest.approx(42.0)]
    for row, one in zip(kept, data.ids, strict=True):
        for sensor, pixels in images_of(data, one).items():
            np.testing.assert_array_equal(pixels, written.expected(row, sensor, data.sensors[sensor].names))
    by_default = open_set(written.store, options=LayoutOptions(manifest=written.manifest))
    assert by_default.classes == ("cropland", "tree_cover") and len(by_default) == 8
    codes = open_set(written.store, options=LayoutOptions(manifest=written.manifest, label="code"))
    assert codes.classes == ("0", "1")


def test_chips_are_refused_without_classes(tmp_path):
    written = write_chips(tmp_path, num=5)
    with pytest.raises(ConfigError, match="manifest"):
        open_set(written.store)
    for label, message in (("depth", "has no column depth"), ("weight", "is of double: classes are")):
        with pytest.raises(DataError, match=message):
            open_set(written.store, options=LayoutOptions(manifest=written.manifest, label=label))


def test_chips_of_several_seasons_give_the_first_that_they_have(tmp_path):
    written = write_chips(tmp_path, num=5, seasons=("winter", "summer"), absent=((0, 0), (2, 1)))
    data = open_set(written.store, options=LayoutOptions(manifest=written.manifest))
    for row, season in ((0, 1), (2, 0)):
        expected = written.expected(row, "s2", data.sensors["s2"].names, season)
        np.testing.assert_array_equal(data.reader.images(row)["s2"], expected)
    assert any("winter, summer" in note for note in data.notes)


def make(root, name):
    """A set of a layout, and the options that it needs."""
    if name == "chips":
        written = write_chips(root, num=5)
        return written.store, LayoutOptions(manifest=written.manifest)
    makers = {
        "eurosat-rgb": lambda: write_eurosat_rgb(root, {"River": 3, "Forest": 2}),
        "eurosat-ms": lambda: write_eurosat_ms(root, {"River": 3, "Forest": 2}),
        "folders": lambda: write_eurosat_rgb(root, {"a": 3, "b": 2}),
        "bigearthnet": lambda: write_reben(root, patches(5)),
        "bigearthnet-lmdb": lambda: write_rico(root / "inner", patches(5)),
        "geobench": lambda: geobench(root / "inner", LEVEL_1C),
    }
    makers[name]()
    return (root / "inner" if (root / "inner").is_dir() else root), LayoutOptions()


@pytest.mark.parametrize(
    "name", ["eurosat-rgb", "eurosat-ms", "folders", "bigearthnet", "bigearthnet-lmdb", "geobench", "chips"]
)
def test_every_layout_is_recognised_and_read_by_threads_and_processes(tmp_path, name):
    path, options = make(tmp_path / "set", name)
    assert next(own for own, layout in FORMATS.items() if layout.recognises(path)) == name
    data = open_set(path, options=options)
    assert open_set(path, name, options).fingerprint() == data.fingerprint()
    sensors = {sensor: len(bands.names) for sensor, bands in data.sensors.items()}
    expected = [data.reader.images(k) for k in range(len(data))]
    for found in expected:
        assert {sensor: len(pixels) for sensor, pixels in found.items()}.items() <= sensors.items()
        assert all(pixels.dtype == np.float32 and pixels.ndim == 3 for pixels in found.values())
    copy = pickle.loads(pickle.dumps(data.reader))
    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(copy.images, [k % len(data) for k in range(24)])):
            for sensor, pixels in expected[k % len(data)].items():
                np.testing.assert_array_equal(found[sensor], pixels)


def test_unknown_folders_and_formats_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is of no known layout, looked for .*data\.mdb \(bigearthnet-lmdb\)"):
        open_set(tmp_path / "empty")
    with pytest.raises(DataError, match="is no folder"):
        open_set(tmp_path / "absent")
    with pytest.raises(ConfigError, match="format 'eurosat': it is one of geobench, "):
        open_set(tmp_path, "eurosat")
    with pytest.raises(ValueError, match="1 together"):
        LayoutOptions(shares=(0.5, 0.1, 0.1))


def test_the_real_eurosat_subset(shared_data, tmp_path):
    with tarfile.open(shared_data / "eurosat" / "EuroSAT_RGB_2000.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    data = open_set(tmp_path)
    assert len(data) == 2000 and len(data.classes) == 10
    assert np.bincount(data.labels).tolist() == [200] * 10
    assert (data.split == "test").sum() == 400 and 350 < (data.split == "validation").sum() < 450
    path = next(tmp_path.glob("*/train/River/*.jpg"))
    with Image.open(path) as picture:
        expected = np.asarray(picture).transpose(2, 0, 1)
    np.testing.assert_array_equal(images_of(data, path.stem)["s2"], expected)


def test_the_real_eurosat_ms_files(shared_data, tmp_path):
    files = sorted((shared_data / "eurosat" / "EuroSAT_MS").glob("*.tif"))
    for file in files:
        folder = tmp_path / file.stem.split("_")[0]
        folder.mkdir()
        (folder / file.name).symlink_to(file)
    data = open_set(tmp_path)
    assert data.classes == ("AnnualCrop", "Pasture", "SeaLake")
    for file in files:
        pixels = images_of(data, file.stem)["s2"]
        with rasterio.open(file) as source:
            np.testing.assert_array_equal(pixels, source.read())
        by_name = dict(zip(data.sensors["s2"].names, pixels.mean((1, 2)), strict=True))
        assert by_name["B10"] == min(by_name.values()), "cirrus is dark at the top of the atmosphere"
    crops = dict(zip(data.sensors["s2"].names, images_of(data, "AnnualCrop_1")["s2"].reshape(13, -1), strict=True))
    closest = max(set(crops) - {"B8A"}, key=lambda band: np.corrcoef(crops["B8A"], crops[band])[0, 1])
    assert closest in ("B07", "B08")
