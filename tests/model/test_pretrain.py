"""Whole runs, in this process."""

import json

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from csmoe_model.config import LossConfig
from csmoe_model.errors import CheckpointError, ConfigError, DataError, TrainingError
from csmoe_model.sensors import Sensor
from csmoe_model.train.checkpoint import load_model
from csmoe_model.train.config import DataConfig, GuardConfig, OptimiserConfig
from csmoe_model.train.inputs import Inputs
from csmoe_model.train.logs import read_metrics
from csmoe_model.train.run import pretrain
from model.chip_stores import S1, S2, write_chips
from model.small_models import model_config, train_config

SENSORS = {
    "s1": Sensor(bands=S1[::-1], unit="dB", mean=(-12.0, -19.0), std=(1.0, 1.0)),
    "s2": Sensor(bands=S2[:3], unit="DN", mean=(1700.0,) * 3, std=(800.0,) * 3),
}
KEYS = ("loss", "grad_norm", "umr/s1", "cmr/s2>s1")
PLAIN = DataConfig(workers=0, crop_scale=None)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("chips"), num=40, size=40, holes=False)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(**changes):
    return train_config(model_config(sensors=SENSORS), **changes)


def run(written, out, config, **inputs):
    return pretrain(
        config,
        Inputs(manifest=written.manifest, chips=written.store, out=out, **inputs),
        Fabric(accelerator="cpu", devices=1),
        quiet=True,
    )


def weights_of(path):
    return load_model(path).state_dict()


def test_a_run_learns_and_writes_what_it_says(written, tmp_path):
    out = tmp_path / "run"
    config = config_of(max_steps=60, optimiser=OptimiserConfig(lr=1e-2), probe_every=40)
    last = run(written, out, config)
    assert last == out / "checkpoints" / "step-00000060"
    lines = read_metrics(out / "metrics.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 60
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    terms = {"umr/s1", "umr/s2", "cmr/s1>s2", "cmr/s2>s1", "mim/s1,s2"}
    last_line = [line for line in lines if "loss" in line][-1]
    assert terms <= set(last_line)
    assert sum(last_line[name] for name in terms) == pytest.approx(last_line["loss"], rel=1e-5)
    assert [line["step"] for line in lines if "probe/knn/s1" in line] == [0, 40, 60]
    assert [line["step"] for line in lines if "floor/knn/s1" in line] == [0]
    for name in ("reconstructions.png", "curves.png", "config.json"):
        assert (out / name).stat().st_size > 0
    assert list((out / "tensorboard").iterdir())
    features = load_model(out).encode({"s2": torch.zeros(1, 3, 32, 32)})["s2"]
    assert features.tokens.shape == (1, 16, 32)


def test_checkpoints_are_written_on_time_and_the_last_ones_kept(written, tmp_path):
    run(written, tmp_path, config_of(max_steps=4, keep=2, save_minutes=1e-9))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000003", "step-00000004"]


def test_parts_of_a_step_add_up_to_it(written, tmp_path):
    """Without a contrast, whose places are those of a part."""
    model = model_config(sensors=SENSORS, loss=LossConfig(mim=0.0))
    lines = []
    for parts in (1, 4):
        out = tmp_path / str(parts)
        run(written, out, train_config(model, data=PLAIN, max_steps=3, accumulate=parts))
        lines.append(read_metrics(out / "metrics.jsonl"))
    for one, other in zip(*lines, strict=True):
        assert {key: one[key] for key in KEYS} == pytest.approx({key: other[key] for key in KEYS}, rel=1e-4)


def test_an_epoch_is_every_row_once_whatever_the_parts(written, tmp_path):
    config = config_of(max_steps=None, epochs=3, batch=8, accumulate=2)
    last = run(written, tmp_path / "run", config)
    assert last.name == "step-00000009"  # 24 rows are for training
    assert json.loads((last / "state.json").read_text())["place"] in ({"epoch": 2, "step": 6}, {"epoch": 3, "step": 0})


def test_equal_runs_end_in_equal_weights_and_another_seed_elsewhere(written, tmp_path):
    one, same, other = (
        weights_of(run(written, tmp_path / name, config_of(max_steps=3, seed=seed)))
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["encoder.shared.0.attn.qkv.weight"], other["encoder.shared.0.attn.qkv.weight"])


def test_a_chip_that_is_out_of_the_way_is_named_and_costs_its_steps(tmp_path, capsys):
    written = _poisoned(tmp_path, row=3, value=1e25)
    out = tmp_path / "run"
    config = config_of(max_steps=6, batch=4, data=PLAIN, guard=GuardConfig(patience=6))
    last = pretrain(config, Inputs(manifest=written.manifest, chips=written.store, out=out), _fabric(), quiet=False)
    said = capsys.readouterr().err
    assert "left out; the largest errors of its places are 3U_3R" in said
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl") if "loss" in line]
    assert None in losses
    assert all(torch.isfinite(value).all() for value in weights_of(last).values())


def test_a_run_that_sees_nothing_sound_gives_up(tmp_path):
    written = _poisoned(tmp_path, row=slice(None), value=1e25)
    with pytest.raises(TrainingError, match=r"step 2: .* step 2 in a row to be left out"):
        run(written, tmp_path / "run", config_of(batch=4, guard=GuardConfig(patience=2)))


def _poisoned(folder, row, value):
    """Backscatter that no radar measures; a float32 in the store."""
    import zarr

    written = write_chips(folder, num=25, size=40, holes=False)
    array = zarr.open_group(written.store, mode="r+")["s1"]
    array[row] = np.full_like(array[row], value)
    return written


def _fabric():
    return Fabric(accelerator="cpu", devices=1)


def test_notes_tell_of_wrong_statistics_and_of_small_chips(written, tmp_path, capsys):
    sensors = {**SENSORS, "s1": Sensor(bands=("VV",), unit="dB", mean=(500.0,), std=(0.01,))}
    config = train_config(model_config(sensors=sensors, image_px=64), max_steps=1, guard=GuardConfig(patience=9))
    pretrain(config, Inputs(manifest=written.manifest, chips=written.store, out=tmp_path / "r"), _fabric())
    said = " ".join(capsys.readouterr().err.split())
    assert "chips of 40 px are enlarged to images of 64 px: --image-px 40 would not" in said
    assert "VV of s1 has mean" in said
    assert "csmoe-train stats" in said


def test_a_run_is_never_overwritten(written, tmp_path):
    out = tmp_path / "run"
    run(written, out, config_of(max_steps=2))
    with pytest.raises(ConfigError, match=r"is there already: add --resume .* or choose another --out"):
        run(written, out, config_of(max_steps=2))
    with pytest.raises(ConfigError, match=r"was begun with another optimiser\.lr, batch: leave them as they were"):
        run(written, out, config_of(max_steps=2, batch=4, optimiser=OptimiserConfig(lr=1.0)), resume=True)
    with pytest.raises(ConfigError, match=r"--resume continues a run and --init-from begins one"):
        run(written, out, config_of(max_steps=2), resume=True, init_from=out)
    with pytest.raises(ConfigError, match=r"has no checkpoint to go on from"):
        run(written, tmp_path / "new", config_of(), resume=True)


def test_a_run_goes_on_with_its_own_data_alone(written, tmp_path):
    out = tmp_path / "run"
    run(written, out, config_of(max_steps=2))
    other = write_chips(tmp_path, num=41, size=40, holes=False)
    with pytest.raises(CheckpointError, match="was begun with other data"):
        run(other, out, config_of(max_steps=2), resume=True)


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"batch": 25}, DataError, r"24 rows of split 'train' have a chip, 25 are needed"),
        ({"data": DataConfig(split="north", workers=0)}, DataError, r"0 rows of split 'north' have a chip"),
        ({"data": DataConfig(held_out="north", workers=0), "probe_every": 1, "max_steps": 1}, None, ""),
    ],
)
def test_splits(written, tmp_path, changes, kind, told):
    if kind is None:
        run(written, tmp_path / "run", config_of(**changes))
        assert not any("probe" in key for line in read_metrics(tmp_path / "run" / "metrics.jsonl") for key in line)
        return
    with pytest.raises(kind, match=told):
        run(written, tmp_path / "run", config_of(**changes))


def test_a_new_run_begins_with_the_weights_of_another(written, tmp_path):
    first = run(written, tmp_path / "first", config_of(max_steps=3))
    config = config_of(max_steps=1, seed=9, optimiser=OptimiserConfig(lr=1e-12, weight_decay=0.0))
    last = run(written, tmp_path / "second", config, init_from=tmp_path / "first")
    assert last.name == "step-00000001"
    before, after = weights_of(first), weights_of(last)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-8)
