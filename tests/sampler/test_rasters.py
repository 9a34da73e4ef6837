"""Sources: what is found and refused, what is read, and that nothing is ever made up."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.shutil import copy as copy_raster
from rasterio.vrt import WarpedVRT

from csmoe_sampler.errors import RasterError
from csmoe_sampler.placement import Lattice, TileBoxes, place
from csmoe_sampler.rasters import RasterSource, View, open_source, reading
from csmoe_sampler.rasters.windows import plan_windows
from sampler.raster_files import COARSE_GRID, lattice_of, patches, write_raster
from services.http_files import Faults, serve_files

PIXELS = patches((90, 130), [10, 20, 30], seed=1)
TILED = {"tiled": True, "blockxsize": 32, "blockysize": 16}
EVERY_TILE = np.arange(COARSE_GRID.size)


@dataclass(frozen=True)
class Known:
    """A record of a catalogue."""

    href: str
    transform: tuple[float, ...] | None = None
    shape: tuple[int, int] | None = None


def placed_on(lattice, by_centres=True):
    return place(lattice, TileBoxes.of(COARSE_GRID, EVERY_TILE, lattice), by_centres)


def read_all(source, by_centres=True):
    """Pixels of the first file that belong to tiles; 255 where none is read."""
    file = source.files[0]
    found = np.full((file.lattice.num_rows, file.lattice.num_cols), 255, np.uint8)
    with source.open(file) as reader:
        for window, pixels in reader.stream(placed_on(file.lattice, by_centres)):
            rows, cols = window.shape
            part = found[window.row_start : window.row_stop, window.col_start : window.col_stop]
            part[:] = pixels[: rows * cols].reshape(rows, cols)
    return found


@pytest.fixture
def raster(tmp_path):
    return write_raster(tmp_path / "cover.tif", PIXELS, 12.0, 48.0, 0.1, nodata=0, **TILED)


@pytest.fixture
def hasty(monkeypatch):
    """No pauses between attempts."""
    monkeypatch.setattr(reading, "BACKOFF_S", (0.0, 0.0, 0.0, 0.0))


# ---- what is found --------------------------------------------------------------------------------------------------


def test_files_folders_and_patterns(tmp_path):
    for k, name in enumerate(["b.tif", "a.TIFF", "c.tif"]):
        write_raster(tmp_path / "maps" / name, PIXELS, 13.0 * k, 48.0, 0.1)
    (tmp_path / "maps" / "notes.txt").write_text("no raster")
    names = {"a.TIFF", "b.tif", "c.tif"}
    folder = open_source(tmp_path / "maps")
    assert {file.name for file in folder.files} == names
    assert open_source(str(tmp_path / "maps" / "*.[tT][iI]*")).files == folder.files
    assert open_source([tmp_path / "maps" / "c.tif", str(tmp_path / "maps"), tmp_path / "maps"]).files == folder.files
    assert [file.lattice.west for file in folder.files] == [0.0, 13.0, 26.0]


@pytest.mark.parametrize("path", ["none.tif", "*.tif", ""])
def test_nothing_there(tmp_path, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RasterError, match="no such file, or a folder or pattern without rasters"):
        open_source(str(tmp_path / "empty" / path))


def test_no_file_at_all():
    with pytest.raises(RasterError, match="without files"):
        open_source([])


def test_what_is_no_raster(tmp_path):
    (tmp_path / "fake.tif").write_text("no raster")
    with pytest.raises(RasterError, match=r"raster fake\.tif: opening failed: .*damaged or incomplete"):
        open_source(tmp_path / "fake.tif")


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crs": None}, r"has no CRS: .*gdal_edit\.py -a_srs EPSG:4326"),
        ({"crs": "EPSG:3035"}, r"has the projected CRS EPSG:3035: pass reproject=true \(--reproject\)"),
        ({"crs": "EPSG:4978"}, r"its CRS EPSG:4978 is not in degrees"),
        ({"crs": "EPSG:4901"}, r"its CRS EPSG:4901 is not in degrees"),
        ({"transform": Affine(0.1, 0, 12, 0, 0.1, 48)}, r"is rotated or not north-up .*gdalwarp"),
        ({"transform": Affine(0.1, 0.01, 12, 0.01, -0.1, 48)}, r"is rotated or not north-up"),
        ({"transform": Affine(10, 0, 500000, 0, -10, 5400000)}, r"its bounds .* cannot be degrees: .*-a_srs"),
        ({"transform": Affine(0.1, 0, 12, 0, -0.1, 90.2)}, r"its bounds .* cannot be degrees"),
        ({"transform": Affine(0.1, 0, 350, 0, -0.1, 50)}, r"its bounds .* cannot be degrees"),
        ({"count": 2}, r"has 2 bands: name one of them as vrt://FILE\?bands=1"),
    ],
)
def test_unplaceable_rasters(tmp_path, options, message):
    path = write_raster(tmp_path / "cover.tif", PIXELS, 12.0, 48.0, 0.1, **options)
    with pytest.raises(RasterError, match=rf"raster cover\.tif: {message}"):
        open_source(path)


def test_a_mask_band_is_refused(tmp_path):
    path = write_raster(tmp_path / "cover.tif", PIXELS, 12.0, 48.0, 0.1)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(PIXELS > 10)
    with pytest.raises(RasterError, match=r"marks missing pixels in a mask of its own: .*-dstnodata"):
        open_source(path)


def test_one_band_of_several(tmp_path):
    path = write_raster(tmp_path / "cover.tif", PIXELS, 12.0, 48.0, 0.1, count=2)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(PIXELS[::-1], 2)
    source = open_source(f"vrt://{path}?bands=2")
    assert np.array_equal(read_all(source), PIXELS[::-1])
    assert source.provenance()["files"][0]["name"] == "cover.tif"


def test_a_grid_registered_global_raster_is_accepted(tmp_path):
    """Half a pixel beyond the poles, one column twice."""
    pixels = patches((181, 361), [1, 2], seed=2)
    source = open_source(write_raster(tmp_path / "g.tif", pixels, -180.5, 90.5, 1.0))
    assert source.lattice.num_cols_once == 360


def test_another_geographic_crs_is_recorded(tmp_path):
    source = open_source(write_raster(tmp_path / "g.tif", PIXELS, 12.0, 48.0, 0.1, crs="EPSG:4267"))
    assert source.provenance()["crs_taken_for_epsg_4326"] == ["EPSG:4267"]


def test_mcd12c1_counts_as_epsg_4326(shared_data):
    source = open_source(shared_data / "landcover")
    assert source.provenance()["crs_taken_for_epsg_4326"] == ["unknown"]
    assert source.pixel_deg == 0.05


def test_overlapping_files_are_named(tmp_path):
    write_raster(tmp_path / "a.tif", PIXELS, 12.0, 48.0, 0.1)
    write_raster(tmp_path / "b.tif", PIXELS, 12.0 + 13.0 - 0.06, 48.0 - 8.9, 0.1)
    with pytest.raises(RasterError, match=r"rasters a\.tif and b\.tif lie over each other"):
        open_source(tmp_path)


def test_files_that_touch_or_overlap_by_less_than_half_a_pixel(tmp_path):
    write_raster(tmp_path / "a.tif", PIXELS, 12.0, 48.0, 0.1)
    write_raster(tmp_path / "b.tif", PIXELS, 25.0 - 0.04, 48.0, 0.1)
    write_raster(tmp_path / "c.tif", PIXELS, 12.0, 39.0, 0.1)
    assert len(open_source(tmp_path).files) == 3


def test_files_that_overlap_across_the_antimeridian(tmp_path):
    write_raster(tmp_path / "east.tif", PIXELS, 175.0, 10.0, 0.1)
    write_raster(tmp_path / "west.tif", PIXELS, -175.0, 10.0, 0.1)
    with pytest.raises(RasterError, match=r"east\.tif and west\.tif lie over each other"):
        open_source(tmp_path)


def test_pixels_of_different_size(tmp_path):
    write_raster(tmp_path / "a.tif", PIXELS, 12.0, 48.0, 0.1)
    write_raster(tmp_path / "b.tif", PIXELS, 40.0, 48.0, (0.1, 0.11))
    with pytest.raises(RasterError, match=r"a\.tif and b\.tif have pixels of different size \(0\.1 x 0\.1 and 0\.1"):
        open_source(tmp_path)


# ---- what is read ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 90)),
    st.tuples(st.integers(1, 70), st.integers(1, 100)),
    st.integers(1, 4000),
    st.booleans(),
    st.sets(st.integers(0, COARSE_GRID.size - 1), max_size=60),
)
def test_windows_cover_placed_pixels_and_touch_blocks_once(shape, blocks, most_px, whole_runs, some):
    lattice = Lattice(170.0, 61.0, 0.125, 0.125, *shape)
    near = COARSE_GRID.in_box(20, 30, 165, -165)
    tiles = np.unique(np.concatenate([near[list({k % len(near) for k in some})], [0]]).astype(np.int64))
    placed = place(lattice, TileBoxes.of(COARSE_GRID, tiles, lattice), by_centres=True)
    wanted = np.zeros(shape, bool)
    for band in range(len(placed.row_start)):
        for k in range(placed.first_segment[band], placed.first_segment[band + 1]):
            wanted[placed.row_start[band] : placed.row_stop[band], placed.col_start[k] : placed.col_stop[k]] = True
    read, touched = np.zeros(shape, int), np.zeros((-(-shape[0] // blocks[0]), -(-shape[1] // blocks[1])), int)
    last_row = 0
    for top, bottom, left, right in plan_windows(placed, blocks, most_px, whole_runs):
        assert 0 <= top < bottom <= shape[0]
        assert 0 <= left < right <= shape[1]
        assert top >= last_row
        last_row = top
        assert (bottom - top) * (right - left) <= max(most_px, blocks[0] * blocks[1]) or whole_runs
        read[top:bottom, left:right] += 1
        touched[top // blocks[0] : -(-bottom // blocks[0]), left // blocks[1] : -(-right // blocks[1])] += 1
        if whole_runs:
            in_rows = np.repeat((placed.row_stop > top) & (placed.row_start < bottom), np.diff(placed.first_segment))
            inside = in_rows & (placed.col_stop > left) & (placed.col_start < right)
            assert (placed.col_start[inside] >= left).all()
            assert (placed.col_stop[inside] <= right).all()
    assert (read[wanted] == 1).all()
    assert read.max(initial=0) <= 1
    assert touched.max(initial=0) <= 1


@pytest.mark.parametrize("window_bytes", [1, 700, 4 * 2**20])
@pytest.mark.parametrize("options", [{}, TILED, {"blockysize": 90}, {"compress": None}])
def test_reads_what_rasterio_reads(tmp_path, monkeypatch, options, window_bytes):
    monkeypatch.setattr(reading, "_LOCAL_WINDOW_BYTES", window_bytes)
    path = write_raster(tmp_path / "cover.tif", PIXELS, 12.0, 48.0, 0.1, **options)
    assert np.array_equal(read_all(open_source(path)), PIXELS)


def test_only_blocks_with_tiles_are_read(raster):
    source = open_source(raster)
    tiles = COARSE_GRID.locate_index([13.0], [45.0])
    placed = place(source.lattice, TileBoxes.of(COARSE_GRID, tiles, source.lattice), by_centres=True)
    with source.open(source.files[0]) as reader:
        windows = [window for window, _ in reader.stream(placed)]
    assert 0 < sum(np.prod(window.shape) for window in windows) < PIXELS.size / 5


def test_blocks_between_tiles_are_not_read(raster):
    source = open_source(raster)
    tiles = np.sort(COARSE_GRID.locate_index([13.0, 24.0], [45.0, 45.0]))
    placed = place(source.lattice, TileBoxes.of(COARSE_GRID, tiles, source.lattice), by_centres=True)
    assert len(placed.row_start) == 1
    with source.open(source.files[0]) as reader:
        windows = [window for window, _ in reader.stream(placed, whole_runs=True)]
    assert len(windows) == 2
    assert sum(window.num_px for window in windows) < PIXELS.size / 4


def test_a_vrt_is_read_in_blocks_larger_than_its_own(tmp_path):
    """Otherwise the blocks of the files behind it are decoded again for every row of its blocks."""
    pixels = patches((300, 2500), [10, 20, 30], seed=4)
    path = write_raster(tmp_path / "wide.tif", pixels, 12.0, 48.0, 0.01, tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(f"vrt://{path}") as dataset:
        copy_raster(dataset, path.with_suffix(".vrt"), driver="VRT")
    source = open_source(path.with_suffix(".vrt"))
    assert np.array_equal(read_all(source), pixels)
    with source.open(source.files[0]) as reader:
        windows = [window for window, _ in reader.stream(placed_on(source.lattice))]
    assert [window.shape for window in windows] == [(300, 2048), (300, 452)]


def test_a_truncated_file_is_an_error(raster):
    source = open_source(raster)
    data = raster.read_bytes()
    raster.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(RasterError, match=r"cover\.tif: reading rows \d+ to \d+, columns \d+ to \d+ failed: .+damaged"):
        read_all(source)


def test_damaged_bytes_are_an_error(raster):
    source = open_source(raster)
    data = bytearray(raster.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 60] = bytes(60)
    raster.write_bytes(data)
    with pytest.raises(RasterError, match=r"raster cover\.tif: reading rows .* failed"):
        read_all(source)


def test_ignored_read_errors_are_not_ignored(raster, monkeypatch):
    """A user's GDAL setting that fills in zeros for what cannot be read."""
    monkeypatch.setenv("GTIFF_IGNORE_READ_ERRORS", "YES")
    test_damaged_bytes_are_an_error(raster)


def write_sparse(path, **options):
    profile = {"width": 128, "height": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:4326", **TILED, **options}
    transform = Affine(0.1, 0, 12, 0, -0.1, 48)
    with rasterio.open(path, "w", driver="GTiff", transform=transform, SPARSE_OK=True, **profile) as dataset:
        dataset.write(np.full((16, 32), 20, np.uint8), 1, window=rasterio.windows.Window(32, 16, 32, 16))
    return path


def test_blocks_left_out_are_no_data(tmp_path):
    found = read_all(open_source(write_sparse(tmp_path / "sparse.tif", nodata=9)))
    assert (found[16:32, 32:64] == 20).all()
    assert (found == 9).sum() == found.size - 16 * 32


def test_blocks_left_out_without_a_no_data_value(tmp_path):
    with pytest.raises(RasterError, match=r"sparse\.tif: leaves out blocks \(at row 0, column 0\) and declares no"):
        read_all(open_source(write_sparse(tmp_path / "sparse.tif")))


def test_a_file_that_has_changed(raster):
    source = open_source(raster)
    write_raster(raster, PIXELS[:-1], 12.0, 48.0, 0.1)
    with pytest.raises(RasterError, match=r"its pixels are not those announced"):
        source.open(source.files[0])


MEMORY = """
import resource, sys
import numpy as np
from sampler.raster_files import COARSE_GRID
from csmoe_sampler.placement import TileBoxes, place
from csmoe_sampler.rasters import open_source

source = open_source(sys.argv[1])
boxes = TileBoxes.of(COARSE_GRID, np.arange(COARSE_GRID.size), source.lattice)
with source.open(source.files[0]) as reader:
    stream = reader.stream(place(source.lattice, boxes, by_centres=True))
    next(stream)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in stream:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_what_was_read_does_not_stay_in_memory(tmp_path):
    """In a process of its own, since a peak never goes down."""
    pixels = np.random.default_rng(0).integers(1, 4, (8192, 8192), np.uint8)
    big = write_raster(tmp_path / "big.tif", pixels, 12.0, 48.0, 0.001, tiled=True, blockxsize=512, blockysize=512)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, str(big)], env=environment, check=True, capture_output=True, text=True
    )
    assert int(ran.stdout) < 30_000  # kB, of 65,536 that were decoded


# ---- overviews and warps --------------------------------------------------------------------------------------------


@pytest.fixture
def pyramid(raster):
    with rasterio.open(raster, "r+") as dataset:
        dataset.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    return raster


def test_an_overview_by_name(pyramid):
    source = open_source(pyramid, overview=4)
    with rasterio.open(pyramid, overview_level=1) as dataset:
        expected = dataset.read(1)
    assert expected.shape == (23, 33)
    assert (source.lattice.num_rows, source.lattice.num_cols) == (23, 33)
    assert np.array_equal(read_all(source, by_centres=False), expected)
    assert source.provenance()["overview"] == 4


def test_an_overview_of_a_catalogue_file(pyramid):
    known = Known(str(pyramid), (0.1, 0, 12, 0, -0.1, 48), (90, 130))
    source = RasterSource.from_table([known], view=View(overview=4))
    assert source.files[0].lattice == open_source(pyramid, overview=4).files[0].lattice
    read_all(source, by_centres=False)


def test_no_such_overview(pyramid, tmp_path):
    with pytest.raises(RasterError, match=r"has no overview of factor 8: it has those of 2, 4"):
        open_source(pyramid, overview=8)
    plain = write_raster(tmp_path / "plain" / "p.tif", PIXELS, 12.0, 48.0, 0.1)
    with pytest.raises(RasterError, match=r"has no overview of factor 2: it has none"):
        open_source(plain, overview=2)


def test_a_projected_raster_passes_through_a_warp(tmp_path):
    path = tmp_path / "laea.tif"
    write_raster(path, PIXELS, 4_300_000.0, 3_200_000.0, 10_000.0, crs="EPSG:3035", nodata=0)
    source = open_source(path, reproject=True)
    with rasterio.open(path) as dataset, WarpedVRT(dataset, crs="EPSG:4326") as warped:
        expected = warped.read(1)
        assert source.files[0].lattice.west == warped.bounds.left
    assert (expected == 0).any()
    assert np.array_equal(read_all(source), expected)
    assert source.provenance()["reproject"] == "nearest"


def test_a_warp_needs_a_no_data_value(tmp_path):
    path = write_raster(tmp_path / "laea.tif", PIXELS, 4_300_000.0, 3_200_000.0, 10_000.0, crs="EPSG:3035")
    with pytest.raises(RasterError, match="a warp needs a no-data value"):
        open_source(path, reproject=True)


def test_reproject_leaves_geographic_rasters_alone(raster):
    assert open_source(raster, reproject=True).files == open_source(raster).files


# ---- catalogues and remote files ------------------------------------------------------------------------------------


def test_a_table_opens_nothing_until_it_is_read(raster):
    known = Known(str(raster), (0.1, 0, 12, 0, -0.1, 48, 0, 0, 1), (90, 130))
    missing = Known("https://127.0.0.1:9/none.tif", (0.1, 0, 25, 0, -0.1, 48), (90, 130))
    source = RasterSource.from_table([missing, known], origin={"items": 2})
    assert [file.name for file in source.files] == ["cover.tif", "none.tif"]
    assert np.array_equal(read_all(source), PIXELS)
    assert source.files[0].lattice == open_source(raster).files[0].lattice
    assert source.provenance()["origin"] == {"items": 2}


def test_headers_are_read_where_the_table_does_not_know(raster):
    assert RasterSource.from_table([Known(str(raster))]).files == open_source(raster).files


def test_a_table_that_is_wrong(raster):
    with pytest.raises(RasterError, match="cannot be degrees"):
        RasterSource.from_table([Known(str(raster), (10.0, 0, 5e5, 0, -10, 5e6), (90, 130))])
    source = RasterSource.from_table([Known(str(raster), (0.1, 0, 12.2, 0, -0.1, 48), (90, 130))])
    with pytest.raises(RasterError, match="its pixels are not those announced"):
        read_all(source)


def test_a_remote_file(raster, hasty):
    with serve_files(raster.parent) as server:
        source = open_source(f"{server.url}/cover.tif")
        assert np.array_equal(read_all(source), PIXELS)
        assert source.provenance()["files"] == [{"href": f"{server.url}/cover.tif"}]


@pytest.mark.parametrize("kind", ["503", "500", "truncate", "reset"])
def test_passing_faults_are_outlasted(raster, hasty, kind):
    lattice = open_source(raster).lattice
    known = Known("", (0.1, 0, 12, 0, -0.1, 48), (90, 130))
    with serve_files(raster.parent, Faults((kind,), rate=0.5, seed=3, at_most=6)) as server:
        source = RasterSource.from_table([Known(f"{server.url}/cover.tif", known.transform, known.shape)])
        assert source.lattice == lattice
        assert np.array_equal(read_all(source), PIXELS)
        assert sum(request.fault is not None for request in server.requests) >= 2


def test_lasting_faults_are_an_error(raster, hasty):
    with serve_files(raster.parent, Faults(("503",))) as server:
        with pytest.raises(RasterError, match=r"raster cover\.tif: opening failed: .*503.*try again later"):
            open_source(f"{server.url}/cover.tif?sig=secret")
        assert len(server.requests) >= 5


def test_a_missing_remote_file_is_not_asked_for_again_and_again(raster, hasty):
    with serve_files(raster.parent) as server:
        with pytest.raises(RasterError, match=r"raster none\.tif: opening failed: .*404") as error:
            open_source(f"{server.url}/none.tif?sig=secret")
        assert "secret" not in str(error.value)
        assert len(server.requests) <= 2


def test_a_signature_is_in_no_message_and_no_provenance(raster, hasty):
    (raster.parent / "page.tif").write_text("please log in")
    with serve_files(raster.parent) as server:
        with pytest.raises(RasterError, match=r"raster page\.tif: opening failed: .*not recognized") as error:
            open_source(f"{server.url}/page.tif?sig=secret")
        assert "secret" not in str(error.value)
        source = open_source(f"{server.url}/cover.tif?sig=secret")
        assert source.provenance()["files"] == [{"href": f"{server.url}/cover.tif"}]


class SignerOfTwo:
    """Leads to a file that ends early, and from the second call on to the whole one."""

    def __init__(self):
        self.calls = 0

    def __call__(self, href):
        self.calls += 1
        return href.replace("/cover", "/short") if self.calls == 1 else href


def test_a_failed_read_starts_from_the_opening(raster, hasty):
    data = raster.read_bytes()
    (raster.parent / "short.tif").write_bytes(data[: len(data) * 2 // 3] + bytes(len(data) - len(data) * 2 // 3))
    sign = SignerOfTwo()
    with serve_files(raster.parent) as server:
        known = Known(f"{server.url}/cover.tif", (0.1, 0, 12, 0, -0.1, 48), (90, 130))
        assert np.array_equal(read_all(RasterSource.from_table([known], sign=sign)), PIXELS)
    assert sign.calls == 2


def test_a_remote_file_that_is_cut_short(raster, hasty):
    data = raster.read_bytes()
    raster.write_bytes(data[: len(data) * 2 // 3])
    with serve_files(raster.parent) as server, pytest.raises(RasterError, match=r"cover\.tif: reading rows .* failed"):
        read_all(open_source(f"{server.url}/cover.tif"))


class Signer:
    """Signs with a count, so that a signature can be seen to be new."""

    calls = 0

    def __call__(self, href):
        Signer.calls += 1
        return f"{href}?sig=secret{Signer.calls}"


def test_hrefs_are_signed_late_and_anew(raster, hasty):
    Signer.calls = 0
    with serve_files(raster.parent, Faults(("503",), at_most=4)) as server:
        href = f"{server.url}/cover.tif"
        source = RasterSource.from_table([Known(href, (0.1, 0, 12, 0, -0.1, 48), (90, 130))], sign=Signer())
        assert Signer.calls == 0
        assert np.array_equal(read_all(pickle.loads(pickle.dumps(source))), PIXELS)
    assert Signer.calls >= 2
    assert "secret" not in json.dumps(source.provenance())


# ---- provenance, cost -----------------------------------------------------------------------------------------------


def test_provenance_does_not_depend_on_the_folder_or_the_order(tmp_path):
    for k, name in enumerate(["a.tif", "b.tif"]):
        write_raster(tmp_path / "one" / name, PIXELS, 13.0 * k, 48.0, 0.1)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    paths = [tmp_path / "one" / name for name in ("b.tif", "a.tif")]
    one, two = open_source(paths).provenance(), open_source(tmp_path / "two").provenance()
    assert one == two
    assert str(tmp_path) not in json.dumps(one)
    write_raster(tmp_path / "two" / "b.tif", PIXELS[::-1], 13.0, 48.0, 0.1)
    assert open_source(tmp_path / "two").provenance()["digest"] != one["digest"]


def test_provenance_of_a_vrt_follows_its_files(raster):
    vrt = raster.with_name("mosaic.vrt")
    with rasterio.open(f"vrt://{raster}") as dataset:
        copy_raster(dataset, vrt, driver="VRT")
    before = open_source(vrt).provenance()
    write_raster(raster, PIXELS[::-1], 12.0, 48.0, 0.1, nodata=0, **TILED)
    assert open_source(vrt).provenance()["digest"] != before["digest"]


def test_cost_is_that_of_the_blocks(tmp_path):
    for k in range(3):
        write_raster(tmp_path / f"{k}.tif", PIXELS, 12.0 + 13 * k, 48.0, 0.1, nodata=0, **TILED)
    source = open_source(tmp_path)
    every = source.cost(COARSE_GRID, EVERY_TILE)
    blocks = 3 * 6 * 5
    assert (every.files, every.requests, every.pixels) == (3, blocks, blocks * 16 * 32)
    stored = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 0.6 * stored < every.bytes < stored
    one = source.cost(COARSE_GRID, COARSE_GRID.locate_index([14.0], [45.0]))
    assert one.files == 1
    assert one.pixels < every.pixels / 10
    assert source.cost(COARSE_GRID, np.array([0])).pixels == 0


def test_cost_of_remote_files_counts_requests(raster):
    with serve_files(raster.parent) as server:
        cost = open_source(f"{server.url}/cover.tif").cost(COARSE_GRID, EVERY_TILE)
    assert cost.requests == 1
    assert cost.pixels == 6 * 5 * 16 * 32


def test_sources_travel(raster):
    source = pickle.loads(pickle.dumps(open_source(raster)))
    assert source == open_source(raster)
    assert np.array_equal(read_all(source), PIXELS)


def test_lattices_of_files(raster):
    assert open_source(raster).lattice == lattice_of(PIXELS, 12.0, 48.0, 0.1)
    assert Path(open_source(raster).files[0].href).is_absolute()
