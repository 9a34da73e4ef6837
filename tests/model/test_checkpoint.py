"""Checkpoints: whole or not there, everything comes back to the bit, and one clear line for whatever else is given."""

import json
import pickle
import re
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from csmoe_model.config import EncoderConfig, LossConfig
from csmoe_model.data.order import Place
from csmoe_model.errors import CheckpointError
from csmoe_model.train import checkpoint
from csmoe_model.train.checkpoint import (
    State,
    checkpoints,
    load_model,
    load_state,
    load_weights,
    read_config,
    resolve,
    save_checkpoint,
    save_model,
)
from model.small_models import batch_of, built, model_config, take_step, train_config

STATE = State(step=7, place=Place(epoch=2, step=3), losses=[1.5, 1 / 3, 0.1], left_out=2, data="0123abcd")


@pytest.fixture
def saved(tmp_path):
    """A run's folder with one checkpoint after two steps; config, model and optimiser as they were."""
    config = train_config()
    model, optimiser = built(config)
    for seed in (1, 2):
        take_step(model, optimiser, seed)
    folder = tmp_path / "run" / "checkpoints"
    save_checkpoint(folder, model, optimiser, STATE, config, 3)
    return tmp_path / "run", config, model, optimiser


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_everything_comes_back_to_the_bit(saved):
    run, config, model, optimiser = saved
    folder = run / "checkpoints" / "step-00000007"
    assert names(folder) == sorted(["model.safetensors", "optimiser.safetensors", "state.json", "config.json"])
    assert read_config(folder) == config
    again, other = built(config, seed=5)
    load_weights(again, folder)
    assert load_state(folder, again, other) == STATE
    assert same(again.state_dict(), model.state_dict())
    assert [take_step(again, other, 3), take_step(again, other, 4)] == [
        take_step(model, optimiser, 3),
        take_step(model, optimiser, 4),
    ]
    assert same(again.state_dict(), model.state_dict())


def test_state_goes_by_name_whatever_the_order_of_parameters(saved):
    """The draft of every optimiser, by number, would mix parameters of equal shapes here without a word."""
    run, config, model, optimiser = saved
    again, _ = built(config, seed=5)
    other = torch.optim.AdamW(reversed(list(again.parameters())))
    load_state(resolve(run), again, other)
    wanted = {name: optimiser.state[parameter] for name, parameter in model.named_parameters()}
    for name, parameter in again.named_parameters():
        assert same(other.state[parameter], wanted[name])
    assert all(group["lr"] == 1e-3 and group["betas"] == (0.9, 0.999) for group in other.param_groups)  # its own


def test_parameters_without_gradients_have_no_state(tmp_path):
    """Without contrast, nothing reaches the norm of the pooled features."""
    config = train_config(model_config(loss=LossConfig(mim=0)))
    model, optimiser = built(config)
    take_step(model, optimiser)
    save_checkpoint(tmp_path, model, optimiser, STATE, config, 1)
    again, other = built(config, seed=5)
    load_state(resolve(tmp_path), again, other)
    assert again.encoder.pooled_norm.weight not in other.state
    assert len(other.state) == len(optimiser.state) < len(list(model.parameters()))


def test_a_run_that_has_taken_no_step_comes_back(tmp_path):
    config = train_config()
    model, optimiser = built(config)
    save_checkpoint(tmp_path, model, optimiser, State(), config, 1)
    again, other = built(config, seed=5)
    assert load_state(resolve(tmp_path), again, other) == State()
    assert not other.state


def test_the_last_ones_are_kept_in_the_order_of_numbers(saved):
    run, config, model, optimiser = saved
    folder = run / "checkpoints"
    for step in (9, 10, 123_456_789, 99_999_999):
        save_checkpoint(folder, model, optimiser, State(step=step), config, 3)
    assert [path.name for path in checkpoints(folder)] == ["step-00000010", "step-99999999", "step-123456789"]
    assert resolve(run) == resolve(folder) == folder / "step-123456789"
    assert names(folder) == sorted(path.name for path in checkpoints(folder))


def test_a_step_keeps_the_checkpoint_it_has(saved):
    """To replace it would need a moment in which there is none."""
    run, config, model, optimiser = saved
    before = (resolve(run) / "model.safetensors").stat()
    save_checkpoint(run / "checkpoints", model, optimiser, STATE, config, 1)
    after = (resolve(run) / "model.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("fails", ["save_file", "_flush", "rename", "rmtree"])
def test_a_kill_at_any_moment_leaves_whole_checkpoints(saved, fails, monkeypatch):
    run, config, model, optimiser = saved
    folder = run / "checkpoints"

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # rmtree clears up after a failure, with `ignore_errors`, which a kill would not let it
        patch.setattr(checkpoint.shutil, "rmtree", lambda path, **tidy: None if tidy else killed())
        if fails == "rename":
            patch.setattr(Path, "rename", killed)
        elif fails != "rmtree":
            patch.setattr(checkpoint, fails, killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(folder, model, optimiser, State(step=8), config, 1)
    left = [name for name in names(folder) if name.startswith(".")]
    assert left
    whole = 8 if fails == "rmtree" else 7
    assert [path.name for path in checkpoints(folder)] == [f"step-{whole:08d}"]
    load_model(run)
    save_checkpoint(folder, model, optimiser, State(step=9), config, 5)
    assert [path.name for path in checkpoints(folder)] == [f"step-{whole:08d}", "step-00000009"]
    assert not [name for name in names(folder) if name.startswith(".")]


def test_a_model_for_inference_is_weights_and_configuration(saved, tmp_path):
    _, config, model, _ = saved
    published = save_model(tmp_path / "published", model, config)
    assert names(published) == ["config.json", "model.safetensors"]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    found = load_model(published)
    assert torch.equal(torch.rand(2), expected)  # opening a model draws no numbers of the caller's
    assert not found.training
    images, _ = batch_of(config.model)
    with torch.no_grad():
        wanted = model.eval().encode(images)
        for name, features in load_model(published / "model.safetensors").encode(images).items():
            assert torch.equal(features.pooled, wanted[name].pooled)
    with pytest.raises(CheckpointError, match=r"has no state.json: it is a model and not a run; begin .* --init-from"):
        load_state(published, *built(config))
    with pytest.raises(CheckpointError, match="published: exists; choose another --out"):
        save_model(published, model, config)


def other_architecture(folder, config):
    values = json.loads((folder / "config.json").read_text())
    values["model"]["encoder"]["moe"]["experts"] = 3
    values["model"]["sensors"].pop("s1")
    (folder / "config.json").write_text(json.dumps(values))


def unknown_keys(folder, config):
    values = json.loads((folder / "config.json").read_text())
    values["model"]["encoder"]["depht"] = 3
    values["speed"] = "fast"
    (folder / "config.json").write_text(json.dumps(values))


def truncated(folder, config):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def half_precision(folder, config):
    weights = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors")


def pickled(folder, config):
    torch.save({}, folder / "model.safetensors")


DAMAGES = [
    (
        other_architecture,
        r"is of another architecture \(has .*, which the model has not; has .*; has .* and \d+ more\)",
    ),
    (unknown_keys, "its config.json cannot be used: .*encoder.depht: no such key; speed: no such key"),
    (lambda folder, config: (folder / "config.json").write_text("{"), "its config.json cannot be used: .*JSON"),
    (lambda folder, config: (folder / "config.json").write_bytes(b"\xff\xfe"), "its config.json cannot be used"),
    (lambda folder, config: (folder / "config.json").unlink(), "has no config.json: weights open only through"),
    (truncated, r"model.safetensors: is damaged \(.*\): take an earlier one"),
    (lambda folder, config: (folder / "model.safetensors").write_bytes(b""), "model.safetensors: is damaged"),
    (half_precision, "is of another architecture .* is float16 .*, the model's is float32"),
    (pickled, "model.safetensors: is a pickle, which can run any code"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES, ids=[str(k) for k in range(len(DAMAGES))])
def test_what_is_wrong_with_a_checkpoint_is_said_in_one_line(saved, damage, says):
    run, config, *_ = saved
    damage(resolve(run), config)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_model(run)
    assert "\n" not in str(caught.value)
    assert "step-00000007" in str(caught.value)


def drop(name):
    def damage(folder):
        (folder / name).unlink()

    return damage


def rewrite_state(**changes):
    def damage(folder):
        values = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**values, **changes}))

    return damage


def rewrite_optimiser(change):
    def damage(folder):
        path = folder / "optimiser.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return damage


NORM = "encoder.shared_norm.weight"
STATES = [
    (drop("state.json"), "has no state.json"),
    (drop("optimiser.safetensors"), "has no optimiser.safetensors"),
    (rewrite_state(step="many"), "its state.json cannot be used: step"),
    (rewrite_state(place={"epoch": 1.5}), "its state.json cannot be used: place.epoch"),
    (
        rewrite_optimiser(lambda x: x.update({f"{NORM}/exp_avg": torch.zeros(31)})),
        rf"of another architecture \({NORM}/exp_avg is float32 \(31,\), the model's is float32 \(32,\)\)",
    ),
    (
        rewrite_optimiser(lambda x: x.update({f"{NORM}/exp_avg": torch.zeros(32, dtype=torch.float64)})),
        rf"{NORM}/exp_avg is float64 \(32,\)",
    ),
    (rewrite_optimiser(lambda x: x.pop(f"{NORM}/exp_avg_sq")), rf"\(lacks {NORM}/exp_avg_sq\)"),
    (
        rewrite_optimiser(lambda x: x.update({"head/exp_avg": torch.zeros(3)})),
        "has head/exp_avg, which the model has not",
    ),
]


@pytest.mark.parametrize(("damage", "says"), STATES, ids=[str(k) for k in range(len(STATES))])
def test_what_is_wrong_with_a_state_is_said_before_anything_is_filled(saved, damage, says):
    run, config, *_ = saved
    damage(resolve(run))
    model, optimiser = built(config)
    with pytest.raises(CheckpointError, match=says):
        load_state(resolve(run), model, optimiser)
    assert not optimiser.state


@pytest.mark.parametrize("name", ["model.pt", "weights.ckpt", "pytorch_model.bin", "model.pth", "renamed.safetensors"])
def test_pickles_are_not_read(tmp_path, name):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    path = tmp_path / "folder" / name
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(Harmful()))
    advice = re.escape(f"checkpoint {path}: is a pickle, which can run any code when it is opened and is not read: ")
    for given in (path, path.parent):
        with pytest.raises(CheckpointError, match=f"^{advice}`csmoe-train convert --help` says how") as caught:
            load_model(given)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_what_is_no_checkpoint_is_said(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"nowhere: there is none: name a run, or a folder with model.safetensors"
    ):
        load_model(tmp_path / "nowhere")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="run: there is none"):
        load_model(tmp_path / "run")
    (tmp_path / "notes.txt").write_text("to do")
    with pytest.raises(CheckpointError, match=r"notes.txt: is a file: name a run"):
        load_model(tmp_path / "notes.txt")


@pytest.fixture
def full_disk(tmp_path):
    """A folder in a file system with room for two checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2560k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_checkpoint_before_as_it_was(full_disk):
    config = train_config(
        model_config(encoder=EncoderConfig(dim=32, heads=2, specific_depth=1, shared_depth=1, moe=None))
    )
    model, optimiser = built(config)
    take_step(model, optimiser)
    run = full_disk / "run"
    save_checkpoint(run / "checkpoints", model, optimiser, State(step=1), config, 3)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    take_step(model, optimiser)
    free = shutil.disk_usage(full_disk).free
    weights = (run / "checkpoints" / "step-00000001" / "model.safetensors").stat().st_size
    assert free > 3 * weights
    for spare in (0, weights // 2, 2 * weights):  # none at all, in the middle of the weights, in the optimiser's state
        (full_disk / "other").write_bytes(bytes(max(0, free - spare)))
        with pytest.raises(CheckpointError) as caught:
            save_checkpoint(run / "checkpoints", model, optimiser, State(step=2), config, 3)
        assert str(caught.value) == (
            f"checkpoint {run / 'checkpoints' / 'step-00000002'}: cannot be written (No space left on device): free "
            "space, then --resume; the last one is step-00000001"
        )
        assert names(run / "checkpoints") == ["step-00000001"]
        assert same(load_model(run).state_dict(), first)
    (full_disk / "other").unlink()
    save_checkpoint(run / "checkpoints", model, optimiser, State(step=2), config, 1)
    assert same(load_model(run).state_dict(), model.state_dict())


def test_a_file_that_may_not_grow_is_said_too(saved):
    """As a quota does, without the right to mount."""
    run, config, model, optimiser = saved
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(
            CheckpointError, match=r"\(File too large\): free space, then --resume; the last one is .*07$"
        ):
            save_checkpoint(run / "checkpoints", model, optimiser, State(step=8), config, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(run / "checkpoints") == ["step-00000007"]
    load_model(run)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    config = train_config()
    with pytest.raises(CheckpointError, match=r"\(Not a directory\): see to the folder, then --resume; there is none"):
        save_checkpoint(tmp_path / "file" / "checkpoints", *built(config), State(), config, 1)


def test_any_module_with_any_parameters(tmp_path):
    """Half-precision weights and tensors that are not contiguous are kept as they are."""
    model = nn.Sequential(nn.Linear(5, 3).bfloat16(), nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last))
    optimiser = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.step()
    save_checkpoint(tmp_path, model, optimiser, STATE, train_config(), 1)
    again = nn.Sequential(nn.Linear(5, 3).bfloat16(), nn.Conv2d(3, 4, 3))
    load_weights(again, resolve(tmp_path))
    assert same(again.state_dict(), model.state_dict())
