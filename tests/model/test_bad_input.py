"""Whole commands on what they cannot use: exit code 1, one line that says what to do, and nothing written."""

import json
import math
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from csmoe_model.train.checkpoint import checkpoints, load_model, save_model
from model.chip_stores import write_chips, write_manifest
from model.processes import start
from model.run_inputs import CONFIG, options
from model.small_models import built, model_config, train_config

NUM = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store whose places lack pixels here and there and, some of them, a sensor; its manifest; a configuration."""
    folder = tmp_path_factory.mktemp("inputs")
    write_chips(folder, num=NUM, size=40, shard_chips=16)
    (folder / "run.toml").write_text(CONFIG)
    return folder


def given(folder, tmp_path, *, manifest=None, config=None, more=()):
    path = folder / "run.toml"
    if config:
        path = tmp_path / "other.toml"
        path.write_text(config)
    chips = ["--chips", folder / "chips.zarr"]
    return [
        *options(manifest or folder / "sample.parquet", path),
        *chips,
        "--out",
        tmp_path / "run",
        "--steps",
        "2",
        *more,
    ]


def without_chips(folder, tmp_path):
    return {"manifest": write_manifest(tmp_path / "sample.parquet", np.ones(NUM, bool), chip=None)}


def of_another_manifest(folder, tmp_path):
    table = pq.read_table(folder / "sample.parquet")
    metadata = {"csmoe": json.dumps({"config_digest": "f" * 64})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "sample.parquet")
    return {"manifest": tmp_path / "sample.parquet"}


def a_band_that_is_missing(folder, tmp_path):
    return {"config": CONFIG.replace('"B8A"', '"B08"')}


def keys_that_do_not_exist(folder, tmp_path):
    config = CONFIG.replace("max_steps = 14", 'speed = "fast"').replace("dim = 32", "dims = 32")
    return {"config": config.replace("lr = 1e-3", "lr = -1")}


def weights_of_another_architecture(folder, tmp_path):
    config = train_config(model_config(patch_px=16))
    return {"more": ["--init-from", save_model(tmp_path / "other", built(config)[0], config)]}


def a_pickle(folder, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "weights.ckpt")
    return {"more": ["--init-from", tmp_path / "weights.ckpt"]}


REFUSED = [
    (without_chips, ["manifest", "has no column chip: run `csmoe-sample fetch` on it first"]),
    (of_another_manifest, ["chip store", "chips.zarr: belongs to another manifest", "give the two that go together"]),
    (a_band_that_is_missing, ["chip store", "sensor 's2' lacks B08 (it has B02, B03, B8A, B11)"]),
    (keys_that_do_not_exist, ["configuration", "speed: no such key", "dims: no such key", "optimiser.lr = -1"]),
    (weights_of_another_architecture, ["checkpoint", "is of another architecture (", " and "]),
    (a_pickle, ["checkpoint", "weights.ckpt: is a pickle", "csmoe-train convert --help"]),
]


@pytest.mark.parametrize(("wrong", "says"), REFUSED, ids=[wrong.__name__ for wrong, _ in REFUSED])
def test_one_clear_line(folder, tmp_path, wrong, says):
    command = start(given(folder, tmp_path, **wrong(folder, tmp_path)), tmp_path / "log")
    assert command.wait() == [1], command.output
    assert command.output.startswith(f"error: {says[0]}"), command.output
    assert command.output.count("\n") == 1, command.output
    for part in says[1:]:
        assert part in command.output
    assert not checkpoints(tmp_path / "run" / "checkpoints")


def test_missing_pixels_are_masked_and_the_run_goes_on(folder, tmp_path):
    command = start(given(folder, tmp_path), tmp_path / "log")
    assert command.wait() == [0], command.output
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2]
    for line in steps:
        assert all(value is not None and math.isfinite(value) for value in line.values()), line


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for two checkpoints, where a run that keeps two needs room for three."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1800k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("world", [1, 2])
def test_no_space_left(folder, small_disk, tmp_path, world):
    """The run ends, its last checkpoint opens, and with space it goes on."""
    out = small_disk / "run"
    command = start([*given(folder, tmp_path), "--out", out, "--steps", "6"], tmp_path / "log", world=world)
    assert command.wait() == [1] * world, command.output
    (line,) = [line for line in command.output.splitlines() if "cannot be written" in line]
    assert line.startswith(f"error: checkpoint {out / 'checkpoints'}/step-")
    assert "(No space left on device): free space, then --resume; the last one is step-" in line
    assert "Traceback" not in command.output
    found = checkpoints(out / "checkpoints")
    assert found
    assert not [path for path in (out / "checkpoints").iterdir() if path.name.startswith(".")]
    load_model(out)
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    command = start(
        [*given(folder, tmp_path), "--out", out, "--steps", "6", "--resume"], tmp_path / "again", world=world
    )
    assert command.wait() == [0] * world, command.output
    assert checkpoints(out / "checkpoints")[-1].name == "step-00000006"
