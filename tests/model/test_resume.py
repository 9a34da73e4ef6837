"""Whole commands that are killed, stopped and continued, in one process and in two: nothing is lost, nothing is new."""

import json
import random
import time
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from csmoe_model.train.checkpoint import checkpoints, load_model, resolve
from model.chip_stores import write_chips
from model.processes import start, used_samples
from model.run_inputs import CONFIG, options

STEPS = 14
RATE = 1e-3
TWO_PROCESSES = 2e-6
"""Largest difference in a tensor over its largest value, five of fourteen steps in two processes; 2.7e-7 was seen."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Options of a small run: 24 places to learn from, three steps an epoch."""
    folder = tmp_path_factory.mktemp("inputs")
    written = write_chips(folder, num=40, size=40, shard_chips=16)
    (folder / "run.toml").write_text(CONFIG)
    return options(written.manifest, folder / "run.toml")


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """The run that nothing has disturbed, and its samples."""
    folder = tmp_path_factory.mktemp("whole")
    done = start([*inputs, "--out", folder / "run"], folder / "log", samples=folder / "samples")
    assert done.wait() == [0], done.output
    return folder / "run", used_samples(folder / "samples")


def weights(run):
    return load_file(resolve(run) / "model.safetensors")


def steps_done(run):
    found = checkpoints(run / "checkpoints")
    return int(found[-1].name.removeprefix("step-")) if found else 0


def reached(run, goal):
    return steps_done(run) >= goal


def apart(one, other):
    """Largest difference in each tensor over its largest value, and the largest in the biases of keys by itself.

    All keys of a token move together with their bias, which the softmax does not see: its gradient is rounding noise,
    and AdamW makes steps of the learning rate of it.
    """
    assert one.keys() == other.keys()
    found = {}
    for name, value in other.items():
        away = (one[name] - value).abs()
        keys = torch.zeros(1)
        if name.endswith("qkv.bias"):
            queries, keys, values = away.chunk(3)
            away = torch.cat([queries, values])
        found[name] = float(away.max() / value.abs().max()), float(keys.max())
    return found


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key in ("step", "loss", "lr", "grad_norm")} for line in lines]


def test_a_run_uses_every_place_once_an_epoch(whole):
    run, samples = whole
    assert steps_done(run) == STEPS
    assert list(samples) == list(range(1, STEPS + 1))
    for first in (1, 4, 7, 10):
        epoch = [row for step in range(first, first + 3) for row in samples[step]]
        assert sorted(epoch) == list(range(24))
    assert samples[1] != samples[4]


def test_a_run_killed_again_and_again_ends_with_the_same_bits(inputs, whole, tmp_path):
    """SIGKILL at random moments: between steps, within one, while a checkpoint is written."""
    run, samples = whole
    chance = random.Random(0)
    out, log = tmp_path / "run", tmp_path / "samples"
    kills = 0
    for goal in (1, 5, 8, 12):
        resume = ["--resume"] if steps_done(out) else []
        command = start([*inputs, "--out", out, *resume], tmp_path / "log", samples=log)
        command.wait_for(partial(reached, out, goal))
        time.sleep(chance.uniform(0, 0.1))
        command.kill()
        kills += command.processes[0].exitcode == -9
        assert reached(out, goal), command.output
        load_model(out)
    assert kills == 4
    command = start([*inputs, "--out", out, "--resume"], tmp_path / "log", samples=log)
    assert command.wait() == [0], command.output
    assert used_samples(log) == samples
    assert not [path for path in (out / "checkpoints").iterdir() if path.name.startswith(".")]
    assert weights(out).keys() == weights(run).keys()
    for name, value in weights(run).items():
        assert torch.equal(weights(out)[name], value), name
    states = [load_file(resolve(folder) / "optimiser.safetensors") for folder in (out, run)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    assert metrics(out) == metrics(run)


def test_one_process_then_two_then_one(inputs, whole, tmp_path):
    """The same samples; weights differ by the order of sums alone, but for drop path, which is each process's own."""
    _, samples = whole
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.replace("drop_path = 0.1", "drop_path = 0.0"))
    inputs = [config if one == inputs[4] else one for one in inputs]
    run, out, log = tmp_path / "alone", tmp_path / "run", tmp_path / "samples"
    alone = start([*inputs, "--out", run], tmp_path / "alone.log")
    assert alone.wait() == [0], alone.output
    for world, goal in ((1, 4), (2, 9)):
        resume = ["--resume"] if steps_done(out) else []
        command = start([*inputs, "--out", out, *resume], tmp_path / "log", world=world, samples=log)
        command.wait_for(partial(reached, out, goal))
        command.kill()
        assert reached(out, goal), command.output
    command = start([*inputs, "--out", out, "--resume"], tmp_path / "log", samples=log)
    assert command.wait() == [0], command.output
    assert used_samples(log) == samples
    for name, (queries, keys) in apart(weights(out), weights(run)).items():
        assert queries < TWO_PROCESSES, name
        assert keys < STEPS * RATE, name
    for one, other in zip(metrics(out), metrics(run), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)


def test_a_run_ends_cleanly_when_asked_to(inputs, whole, tmp_path):
    """SIGTERM: the step in hand, a checkpoint, exit code 0; then on to the same end."""
    run, _ = whole
    out = tmp_path / "run"
    config = tmp_path / "run.toml"
    config.write_text(
        CONFIG.replace("save_minutes = 1e-6", "save_minutes = 1000").replace("workers = 0", "workers = 1")
    )
    given = [config if str(one).endswith("run.toml") else one for one in inputs]
    command = start([*given, "--out", out], tmp_path / "log")
    command.wait_for(lambda: (out / "metrics.jsonl").exists() and len(metrics(out)) >= 3)
    command.terminate()
    assert command.wait() == [0], command.output
    assert "Traceback" not in command.output
    stopped = steps_done(out)
    assert 3 <= stopped < STEPS
    assert [path.name for path in checkpoints(out / "checkpoints")] == ["step-00000000", f"step-{stopped:08d}"]
    command = start([*given, "--out", out, "--resume"], tmp_path / "log")
    assert command.wait() == [0], command.output
    assert all(torch.equal(weights(out)[name], value) for name, value in weights(run).items())


def test_runs_are_continued_or_begun_and_never_overwritten(inputs, whole, tmp_path):
    run, _ = whole
    before = weights(run)
    wider = tmp_path / "wider.toml"
    wider.write_text(CONFIG.replace("dim = 32", "dim = 48"))
    other = [wider if str(one).endswith("run.toml") else one for one in inputs]
    cases = [
        ([*inputs, "--out", run], f"error: run {run}: is there already"),
        ([*other, "--out", run, "--resume"], f"error: run {run}: was begun with another model"),
        ([*inputs, "--out", run, "--resume", "--init-from", run], "error: --resume continues a run"),
        ([*inputs, "--out", tmp_path / "none", "--resume"], f"error: run {tmp_path / 'none'}: has no checkpoint"),
    ]
    commands = [start(given, tmp_path / f"{k}.log") for k, (given, _) in enumerate(cases)]
    for command, (_, says) in zip(commands, cases, strict=True):
        assert command.wait() == [1], command.output
        assert command.output.startswith(says), command.output
        assert command.output.count("\n") == 1
    assert all(torch.equal(before[name], value) for name, value in weights(run).items())
    assert not (tmp_path / "none").exists()


def test_a_run_may_begin_with_the_weights_of_another(inputs, whole, tmp_path):
    """--init-from: step 0, the first samples, a fresh optimiser; with a rate of next to nothing, the same weights."""
    run, samples = whole
    out, log = tmp_path / "run", tmp_path / "samples"
    given = [*inputs, "--out", out, "--init-from", run, "--steps", "2", "--lr", "1e-30"]
    command = start(given, tmp_path / "log", samples=log)
    assert command.wait() == [0], command.output
    assert used_samples(log) == {step: samples[step] for step in (1, 2)}
    assert all(torch.equal(weights(out)[name], value) for name, value in weights(run).items())
    state = load_file(resolve(out) / "optimiser.safetensors")
    assert {float(value) for name, value in state.items() if name.endswith("/step")} == {2.0}
