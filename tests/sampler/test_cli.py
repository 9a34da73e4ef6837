"""The commands as typed: what they say, and one clear line with nothing half-written for every bad input."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from csmoe_sampler import cli
from csmoe_sampler.chips import Failure, FetchResult
from csmoe_sampler.cli.speech import say_chips
from csmoe_sampler.config import load_config
from csmoe_sampler.pipeline import Outputs, Runtime, build
from csmoe_sampler.remote import Patience
from services.http_files import Faults, serve_files

QUICK = Patience(retries=2, backoff_s=0.01)
LEGEND = """
name = "three"
title = "Three classes"
source = "made up"
licence = "none"
nodata = [0]
water = ["sea"]
class = [
    { label = "sea", codes = [1], group = "water", color = "#0000ff" },
    { label = "wood", codes = [2], group = "land", color = "#00ff00" },
    { label = "sand", codes = [3], group = "land", color = "#ffff00" },
]
"""


def run(capsys, monkeypatch, *arguments):
    """Exit code and what was said, of a command as the shell would run it."""
    monkeypatch.setattr(sys, "argv", ["csmoe-sample", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def write_map(path, codes, *, crs="EPSG:4326", pixel=0.05, west=0.0, north=3.0, **options):
    profile = {
        "driver": "GTiff", "height": codes.shape[0], "width": codes.shape[1], "count": 1, "dtype": codes.dtype.name,
        "crs": crs, "transform": rasterio.Affine(pixel, 0, west, 0, -pixel, north), "compress": "deflate",
        "tiled": True, "blockxsize": 16, "blockysize": 16, **options,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(codes, 1)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A box of 4 x 3 degrees with three classes and two climates, and everything that is wrong with others."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(8)
    codes = rng.integers(1, 4, (60, 80)).astype(np.uint8)
    write_map(folder / "cover.tif", codes)
    write_map(folder / "climate.tif", np.where(codes > 2, 14, 3).astype(np.uint8))
    write_map(folder / "utm.tif", codes, crs="EPSG:32631", pixel=5000.0, west=200000.0, north=400000.0)
    write_map(folder / "lost.tif", codes, crs=None)
    strange = codes.copy()
    strange[7, 9:11] = 77
    write_map(folder / "strange.tif", strange)
    whole = (folder / "cover.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "three.toml").write_text(LEGEND)
    (folder / "twice.toml").write_text(LEGEND.replace("codes = [3]", "codes = [2]"))
    return folder


def sources(world, *, cover="cover.tif", legend="three.toml"):
    return ["--landcover", world / cover, "--legend", world / legend, "--climate", world / "climate.tif"]


BAD_BUILDS = {
    "unknown region": (["--region", "atlantis"], {}, ["region 'atlantis' is unknown", "ISO 3166"]),
    "n of zero": (["--n", "0"], {}, ["n = 0", "greater than 0"]),
    "n below zero": (["--n", "-5"], {}, ["n = -5", "greater than 0"]),
    "more than there are": (["--n", "100000"], {}, ["100,000 were asked for", "lower --n"]),
    "missing file": ([], {"cover": "none.tif"}, ["none.tif", "no such file"]),
    "truncated raster": ([], {"cover": "cut.tif"}, ["cut.tif", "damaged or incomplete"]),
    "projected CRS": ([], {"cover": "utm.tif"}, ["utm.tif", "EPSG:32631", "--reproject"]),
    "no CRS": ([], {"cover": "lost.tif"}, ["lost.tif", "CRS"]),
    "unknown code": ([], {"cover": "strange.tif"}, ["strange.tif", "77", "2"]),
    "code given twice": ([], {"legend": "twice.toml"}, ["code 2 is given twice", "'wood'", "'sand'"]),
    "no such legend": ([], {"legend": "none.toml"}, ["none.toml", "worldcover"]),
    "no such scheduler": (["--scheduler", "tcp://127.0.0.1:9"], {}, ["tcp://127.0.0.1:9", "dask scheduler"]),
    "no such catalogue": (["--stac-url", "http://127.0.0.1:9"], None, ["127.0.0.1:9"]),
}


@pytest.mark.parametrize("name", BAD_BUILDS)
def test_bad_input_gives_one_line_and_writes_nothing(world, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr("csmoe_sampler.engine.CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr("csmoe_sampler.stac.catalogue.Patience", lambda: QUICK)
    arguments, wrong, parts = BAD_BUILDS[name]
    given = [] if wrong is None else sources(world, **wrong)
    out = tmp_path / "out.parquet"
    common = ["--region", "0,0,4,3", "--n", 50, "--out", out, "--quiet"]
    code, _, said = run(capsys, monkeypatch, "build", *common, *given, *arguments)
    assert code == 1
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    for part in parts:
        assert part in said
    assert not out.exists()
    left = {path.name for path in tmp_path.rglob("*")}
    assert left <= {"out.atlas.parquet", "_atlas.json", ".lock"}, "only the record of what was asked for may stay"


def test_failing_catalogue(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("csmoe_sampler.stac.catalogue.Patience", lambda: QUICK)
    with serve_files(world, Faults(kinds=("503",), retry_after_s=0)) as server:
        arguments = ["--stac-url", server.url, "--climate", world / "climate.tif", "--out", tmp_path / "out.parquet"]
        code, _, said = run(capsys, monkeypatch, "build", "--region", "0,0,4,3", "--n", 5, *arguments)
    assert (code, said.count("\n")) == (1, 1)
    assert "503" in said
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_and_is_freed(world, small_disk, capsys, monkeypatch):
    command = ["build", "--region", "0,0,4,3", "--n", 300, *sources(world), "--out", small_disk / "out.parquet"]
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 24_000))
    code, _, said = run(capsys, monkeypatch, *command, "--quiet")
    assert code == 1
    assert "the disk is full: free space, then run the same command again" in said
    assert said.count("\n") == 1
    assert not (small_disk / "out.parquet").exists()
    assert not list(small_disk.rglob("*.tmp-*"))
    ballast.unlink()
    assert run(capsys, monkeypatch, *command, "--quiet", "--no-report")[0] == 0


@pytest.fixture(scope="module")
def sample(world, tmp_path_factory):
    """A good build on that world."""
    overrides = {
        "region": "0,0,4,3",
        "n": 300,
        "landcover.source": [str(world / "cover.tif")],
        "landcover.legend": str(world / "three.toml"),
        "climate.source": str(world / "climate.tif"),
    }
    outputs = Outputs.beside(tmp_path_factory.mktemp("sample") / "out.parquet", report=False)
    build(load_config(None, overrides), outputs, Runtime())
    return outputs


def test_an_atlas_of_another_grid(sample, world, tmp_path, capsys, monkeypatch):
    arguments = ["--region", "0,0,4,3", "--n", 20, "--grid-km", 20, "--atlas", sample.atlas, *sources(world)]
    code, _, said = run(capsys, monkeypatch, "build", *arguments, "--out", tmp_path / "o.parquet", "--quiet")
    assert (code, said.count("\n")) == (1, 1)
    assert "has tiles of 10 km" in said
    assert "this run 20 km" in said
    assert list(tmp_path.iterdir()) == []


def test_select_from_something_else(sample, tmp_path, capsys, monkeypatch):
    code, _, said = run(capsys, monkeypatch, "select", tmp_path, "--n", 20)
    assert (code, said.count("\n")) == (1, 1)
    assert "is no atlas" in said


def test_validate_names_a_broken_row(sample, tmp_path, capsys, monkeypatch):
    assert run(capsys, monkeypatch, "validate", sample.manifest)[:2] == (0, f"{sample.manifest}: sound\n")
    table = pq.read_table(sample.manifest)
    weights = table["weight"].to_numpy().copy()
    weights[17] = 0.5
    broken = tmp_path / "broken.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("weight"), "weight", [weights]), broken)
    code, out, said = run(capsys, monkeypatch, "validate", broken)
    assert code == 1
    assert "weight" in out
    assert "17" in out
    assert said.count("\n") == 1


def test_audit_of_a_point_list(sample, tmp_path, capsys, monkeypatch):
    (tmp_path / "points.csv").write_text("lon,lat\n0.5,1.5\n0.51,1.51\n2.2,2.2\n100,10\n")
    arguments = [tmp_path / "points.csv", "--atlas", sample.atlas, "--out", tmp_path / "audit.json"]
    code, out, _ = run(capsys, monkeypatch, "audit", *arguments)
    assert code == 0
    assert "strata hit" in out
    assert (tmp_path / "audit.json").stat().st_size > 100


def test_plan_and_dry_run_cost_nothing(world, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["--region", "0,0,4,3", "--n", 50, *sources(world)]
    for command in (["plan", *common], ["build", *common, "--dry-run"]):
        code, out, _ = run(capsys, monkeypatch, *command)
        assert code == 0
        assert "landcover" in out
        assert "disk" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["plan"], ["build", "--dry-run"]], ids=" ".join)
def test_a_plan_takes_normals_in_place_of_a_climate_map(world, tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    common = ["--region", "0,0,4,3", "--n", 50, *sources(world)[:-2]]
    normals = ["--temperature", tmp_path / "gone_t.tif", "--precipitation", tmp_path / "gone_p.tif"]
    code, _, err = run(capsys, monkeypatch, *command, *common, *normals)
    assert code == 1
    assert "gone_t.tif" in err


def test_failures_are_told_by_reason_with_what_to_do(capsys):
    alike = [Failure(tile_id=f"{k}U_7R", sensor="s1", item="x", reason="gone.tif: no such file") for k in range(12)]
    other = Failure(tile_id="9U_9R", sensor="s2", item="y", reason="all cloud")
    say_chips(FetchResult(chip=np.arange(15) - 13, failed=(*alike, other), warnings=()), Path("a/chips.zarr"))
    assert capsys.readouterr().out.splitlines() == [
        "failed: tile 0U_7R and 11 more, s1: gone.tif: no such file",
        "failed: tile 9U_9R, s2: all cloud",
        "failed: 13 in all, listed in a/chips.failed.csv; for others in their place:",
        "  pair --exclude a/chips.failed.csv --overwrite, then fetch --reuse a/chips.zarr --out ANOTHER",
        "2 of 15 chips -> a/chips.zarr",
    ]


def test_report_of_a_manifest(sample, tmp_path, capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "report", sample.manifest, "--out", tmp_path / "page.html", "--quiet")
    assert code == 0
    assert "page.html" in out
    assert "<html" in (tmp_path / "page.html").read_text()


COMMANDS = (
    *("build", "describe", "select", "pair", "fetch", "report", "plan", "validate", "audit", "export"),
    *("demo earth", "demo quickstart"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, *command.split(), "--help")
    assert code == 0
    assert out.splitlines()[0].startswith("Usage: csmoe-sample")


BAD_SCENES = {
    "no manifest": (["pair", "none.parquet"], ["none.parquet", "no such file"]),
    "no provider": (["pair", "{manifest}", "--provider", "none"], ["provider 'none'", "planetary-computer"]),
    "no season": (["pair", "{manifest}", "--seasons", "monsoon"], ["seasons.0 = 'monsoon'", "'winter'"]),
    "dates in reverse": (["pair", "{manifest}", "--start", "2022-01-01", "--end", "2021-01-01"], ["is before"]),
    "cloud above all": (["pair", "{manifest}", "--max-cloud", "101"], ["max_cloud_percent = 101"]),
    "no atlas": (["pair", "{manifest}", "--atlas", "none.parquet"], ["none.parquet is not there", "--atlas"]),
    "no catalogue": (["pair", "{manifest}", "--scenes", "none.json", "--no-report"], ["none.json"]),
    "no product": (
        ["pair", "{manifest}", "--provider", "earth-search", "--no-report"],
        ["no product 'sentinel-1-rtc'"],
    ),
    "nothing to fetch": (["fetch", "{manifest}"], ["has no column s2_item", "`pair`"]),
    "size of a chip": (["fetch", "{manifest}", "--size-px", "7"], ["size_px = 7", "16"]),
    "no chips": (["export", "{manifest}", "--to", "geotiff", "--out", "tifs"], ["chips.zarr: no such store"]),
    "no store": (["validate", "."], ["no such store"]),
    "scenes unasked": (["build", "--scenes", "x.json"], ["add --pair"]),
    "no axis": (["build", "--diversity", "beauty"], ["'beauty' is unknown", "landcover"]),
    "no spectra": (["select", "{atlas}", "--diversity", "spectral"], ["[spectral]"]),
}


@pytest.mark.parametrize("name", BAD_SCENES)
def test_bad_scenes_give_one_line(sample, tmp_path, capsys, monkeypatch, name):
    words, expected = BAD_SCENES[name]
    monkeypatch.chdir(tmp_path)
    before = sample.manifest.read_bytes()
    words = [word.format(manifest=sample.manifest, atlas=sample.atlas) for word in words]
    code, _, err = run(capsys, monkeypatch, *words)
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert all(text in line for text in expected), line
    assert sample.manifest.read_bytes() == before


def test_debug_gives_the_traceback():
    command = [sys.executable, "-m", "csmoe_sampler", "build", "--region", "atlantis", "--debug"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
    assert "RegionError" in answer.stderr
