"""Image files as arrays."""

import sys

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio import Affine

from csmoe_model.errors import DataError
from csmoe_model.evaluation.layouts.images import read_image
from csmoe_model.evaluation.layouts.readers import on_one_grid
from model.evaluation_sets import write_picture, write_tiff


@pytest.mark.parametrize(
    ("dtype", "nodata", "count", "options"),
    [
        ("uint16", None, 3, {}),
        ("int16", "-9999", 2, {"compression": "deflate"}),
        ("float32", "-3.4e+38", 1, {"compression": "lzw", "predictor": 3}),
        ("float32", "nan", 4, {"tile": (16, 16)}),
        ("uint8", "0", 1, {"compression": "zstd"}),
    ],
)
def test_geotiffs_are_what_gdal_reads(tmp_path, dtype, nodata, count, options):
    pixels = np.random.default_rng(0).integers(0, 200, (count, 19, 23)).astype(dtype)
    if nodata and nodata != "nan":
        pixels[-1, :3, :5] = np.array(float(nodata)).astype(dtype)
    elif nodata:
        pixels[0, 4] = np.nan
    path = write_tiff(tmp_path / "a.tif", pixels, nodata=nodata, **options)
    with rasterio.open(path) as source:
        expected = source.read(masked=True).astype(np.float32).filled(np.nan)
    found = read_image(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert bool(nodata) == bool(np.isnan(found).any())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_missing_values_beyond_single_precision(tmp_path, dtype):
    pixels = np.ones((2, 3, 4))
    pixels[1, 0] = -np.inf if dtype == "float32" else np.finfo(np.float64).min
    found = read_image(write_tiff(tmp_path / "a.tif", pixels.astype(dtype), nodata="-1.7976931348623157e+308"))
    assert np.isnan(found[1, 0]).all() and np.isnan(found).sum() == 4


def test_bands_one_after_the_other_and_a_cog_with_overviews(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, (3, 64, 96)).astype(np.int16)
    about = {
        "driver": "COG",
        "dtype": "int16",
        "count": 3,
        "height": 64,
        "width": 96,
        "blocksize": 128,
        "transform": Affine(10, 0, 5e5, 0, -10, 5e6),
    }
    with rasterio.open(tmp_path / "a.tif", "w", **about, overview_count=1) as target:
        target.write(pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)
    with rasterio.open(tmp_path / "b.tif", "w", **(about | {"driver": "GTiff", "interleave": "band"})) as target:
        target.write(pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif"), pixels)


def test_pictures(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (3, 7, 9)).astype(np.uint8)
    np.testing.assert_array_equal(read_image(write_picture(tmp_path / "a.png", colours)), colours)
    np.testing.assert_array_equal(read_image(write_picture(tmp_path / "b.PNG", colours[:1])), colours[:1])
    alpha = np.full((1, 7, 9), 255, np.uint8)
    alpha[0, 2] = 0
    seen = read_image(write_picture(tmp_path / "c.png", np.concatenate([colours, alpha])))
    assert seen.shape == (3, 7, 9) and np.isnan(seen[:, 2]).all() and not np.isnan(np.delete(seen, 2, 1)).any()
    Image.fromarray(np.arange(63, dtype=np.uint16).reshape(7, 9) * 500).save(tmp_path / "d.png")
    assert read_image(tmp_path / "d.png").max() == 31_000


def test_a_palette_stands_for_colours_or_for_codes(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [2, 1], [0, 0]], np.uint8), mode=None).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    codes = np.asarray(picture)
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", codes=True), codes[None])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, 1, 0], [70, 80, 90])


@pytest.mark.parametrize(
    "name", ["absent.tif", "absent.png", "broken.tif", "broken.jpg", "cut.tif", "cut.png", "a.bmp"]
)
def test_unreadable_images_are_named_in_a_sentence(tmp_path, name):
    path = tmp_path / name
    if name.startswith("broken"):
        path.write_bytes(b"II*\0no image at all" * 9)
    elif name.startswith("cut"):
        pixels = np.random.default_rng(0).integers(0, 255, (1, 64, 64)).astype(np.uint8)
        whole = write_tiff(path, pixels) if name.endswith("tif") else write_picture(path, pixels)
        path.write_bytes(whole.read_bytes()[:-2500])
    with pytest.raises(DataError, match=name) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_told(tmp_path, monkeypatch):
    path = write_tiff(tmp_path / "a.tif", np.ones((1, 4, 5), np.uint8))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(DataError, match=r'tifffile is not installed; run pip install "csmoe-model\[formats\]"'):
        read_image(path)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_coarse_bands_are_repeated(height, width, factor):
    fine, coarse = np.zeros((height * factor, width * factor), np.float32), np.arange(height * width, dtype=np.float32)
    coarse = coarse.reshape(height, width)
    found = on_one_grid([coarse, fine])
    np.testing.assert_array_equal(found, [coarse.repeat(factor, 0).repeat(factor, 1), fine])
