"""What models cost: counted twice, measured in turns, shown beside their twins."""

import json
from io import StringIO
from itertools import count as numbers
from pathlib import Path

import pytest
import torch
import typer
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from csmoe_model.config import DecoderConfig, EncoderConfig, LossConfig, MaskConfig, ModelConfig, MoEConfig
from csmoe_model.cost import dense_twin, training_macs
from csmoe_model.device import find_device
from csmoe_model.errors import ConfigError, ModelError
from csmoe_model.nn.masking import draw_masks
from csmoe_model.nn.model import CSMoE
from csmoe_model.profiling import compare as compare_module
from csmoe_model.profiling.compare import Settings, as_json, compare
from csmoe_model.profiling.count import Work, count, count_parameters
from csmoe_model.profiling.measure import Timing, interleave
from csmoe_model.profiling.memory import Memory, peak_memory
from csmoe_model.profiling.screen import machine_line, table, title
from csmoe_model.profiling.table import presets_page
from csmoe_model.profiling.trial import Trial
from csmoe_model.sensors import SENTINELS, Sensor

ROOT = Path(__file__).resolve().parents[2]
ELEVATION = Sensor(bands=("height",), unit="m", mean=(300.0,), std=(500.0,))
MIXTURE = MoEConfig(blocks=(0, 2), experts=2, slots_per_expert=3, width=0.5)


def small(**changes):
    values = {
        "image_px": 40,
        "patch_px": 8,
        "encoder": EncoderConfig(dim=24, heads=3, specific_depth=2, shared_depth=1, moe=MIXTURE),
        "decoder": DecoderConfig(dim=16, heads=2, depth=1),
        **changes,
    }
    return ModelConfig(**values)


CONFIGS = {
    "mixture": small(),
    "dense": dense_twin(small()),
    "three sensors, ratios of their own, no class token": small(
        sensors={**SENTINELS, "dem": ELEVATION},
        cls_token=False,
        mask=MaskConfig(ratios={"s2": 0.8}),
        decoder=DecoderConfig(dim=16, heads=2, depth=2, separate=False),
    ),
    "fewer terms": small(loss=LossConfig(umr=0.0, cmr=2.0, mim=0.0, mde=1.0)),
}


@pytest.fixture(scope="module")
def counts():
    return {name: count(config) for name, config in CONFIGS.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_torch_counts_the_same_work(name, counts):
    found = counts[name]
    assert [work.agreement for work in found.encode.values()] == pytest.approx([1.0] * len(found.encode), rel=1e-3)
    assert found.train.agreement == pytest.approx(1.0, rel=2e-3)
    assert found.problems(name) == []


def test_a_step_that_runs_costs_what_was_counted_without_running():
    config = small(loss=LossConfig(mim=0.0))
    model, chance = CSMoE(config), torch.Generator().manual_seed(3)
    images = {name: torch.randn(3, s.num_bands, 40, 40, generator=chance) for name, s in config.sensors.items()}
    noise = {name: torch.rand(3, 25, generator=chance) for name in images}
    with FlopCounterMode(display=False) as counter:
        model(images, draw_masks(noise, config.ratios, "independent")).total.backward()
    assert counter.get_total_flops() == pytest.approx(3 * 2 * training_macs(config), rel=2e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_active_parameters_are_those_that_an_image_moves(name, counts):
    config, found = CONFIGS[name], counts[name].parameters
    model = CSMoE(config)
    assert found.total == sum(parameter.numel() for parameter in model.parameters())
    assert found.encoder == sum(parameter.numel() for parameter in model.encoder.parameters())
    for sensor in config.sensors:
        model.zero_grad(set_to_none=True)
        features = model.encoder(sensor, torch.randn(2, config.sensors[sensor].num_bands, 40, 40))
        features.pooled.square().sum().backward()
        moved = sum(parameter.numel() for parameter in model.parameters() if parameter.grad is not None)
        assert found.active[sensor] == moved


def test_counting_takes_no_memory():
    """The largest preset has 4 GB of weights."""
    from csmoe_model.presets import preset

    assert count_parameters(preset("csmoe-large-p8")).total > 900e6
    assert torch.empty(0).device.type == "cpu"  # no device or mode is left behind


def test_counts_that_disagree_are_named(counts):
    wrong = counts["mixture"].__class__(
        parameters=counts["mixture"].parameters,
        encode={
            "s1": Work(macs=1_000_000_000, flops=2_019_000_000),
            "s2": Work(macs=1_000_000_000, flops=2_021_000_000),
        },
        train=Work(macs=3_000_000_000, flops=5_000_000_000),
    )
    assert wrong.problems("one") == [
        "one: torch counts 1.01 GMAC for encoding an image of s2, the configuration says 1: "
        "one of the two counts is wrong, please report it",
        "one: torch counts 2.5 GMAC for a training step, the configuration says 3: "
        "one of the two counts is wrong, please report it",
    ]


def test_tasks_take_turns():
    order = []
    times = interleave({name: lambda name=name: order.append(name) for name in "abc"}, 0.0, device="cpu")
    assert order == list("abc") * 4  # once to warm up, three rounds
    assert {name: len(found.rounds_s) for name, found in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_more_time_means_more_rounds(monkeypatch):
    clock = numbers()
    monkeypatch.setattr("csmoe_model.profiling.measure.time.perf_counter", lambda: float(next(clock)))
    (found,) = interleave({"a": lambda: None}, 30.0, device="cpu").values()
    assert found.rounds_s == (1.0,) * 11  # three rounds in any case; from then on a look and a round take three ticks


def test_ratios_do_not_see_drift():
    slowing = Timing(rounds_s=(1.0, 2.0, 4.0, 8.0, 3.0)), Timing(rounds_s=(2.0, 4.0, 8.0, 16.0, 9.0))
    assert slowing[0].ratio(slowing[1]) == 0.5
    assert slowing[0].median_s == 3.0
    assert slowing[0].spread == pytest.approx((4.0 - 2.0) / 3.0)


def test_peak_memory_is_that_of_the_model_alone():
    """Weights, gradients and two moments are 16 bytes a parameter; the parent's own memory does not count."""
    encoder = EncoderConfig(dim=256, heads=4, specific_depth=2, shared_depth=1, moe=None)
    config = small(encoder=encoder, decoder=DecoderConfig(dim=256, heads=4, depth=2))
    weights = 4 * count_parameters(config).total
    ballast = torch.ones(100_000_000)
    found = peak_memory(config, 2, "cpu", "32-true")
    assert ballast.numel()
    assert found is not None
    assert weights * 0.8 < found.encode_bytes < weights * 2 + 60e6
    assert weights * 3.5 < found.train_bytes < weights * 6 + 100e6


def test_a_process_that_dies_measures_nothing(monkeypatch):
    monkeypatch.setattr("csmoe_model.profiling.memory.sys.executable", "/bin/false")
    assert peak_memory(small(), 2, "cpu", "32-true") is None


def test_trials_encode_and_learn():
    torch.manual_seed(0)
    trial = Trial(small(), 4, "cpu", "32-true")
    assert trial.encode().shape == (4, 24)
    assert trial.encode(1).shape == (1, 24)
    torch.testing.assert_close(trial.encode(1), trial.encode()[:1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(trial.encode_visible(), trial.encode())
    losses = [float(trial.step()) for _ in range(8)]
    assert losses[-1] < losses[0]  # at the rate of training: slowly
    trial.precision = "bf16-mixed"
    assert trial.step().isfinite()


@pytest.fixture(scope="module")
def measured():
    """A comparison with made-up memory, so that no further process is started."""
    said = []
    with pytest.MonkeyPatch.context() as patch:
        sizes = iter(
            [Memory(encode_bytes=3_000_000, train_bytes=12_000_000), None, Memory(encode_bytes=1, train_bytes=2)]
        )
        patch.setattr(compare_module, "peak_memory", lambda *_: next(sizes))
        settings = Settings(batch=3, seconds=0.0)
        found = compare("mine", small(), settings, said.append)
    return found, settings, said


def test_a_mixture_stands_beside_its_twin_and_its_control(measured):
    found, settings, said = measured
    assert [one.role for one in found.profiles] == ["model", "dense twin", "slimmed"]
    model, twin, control = (one.config for one in found.profiles)
    assert twin == dense_twin(model)
    assert control.encoder.moe is None
    assert control.encoder.dim < model.encoder.dim
    assert said[0] == "mine: counting"
    facts = as_json([found], settings)
    json.dumps(facts)
    (comparison,) = facts["comparisons"]
    own, other, _ = comparison["models"]
    assert own["step_s"]["by_model"] == 1.0
    assert own["train_places_per_s"] == pytest.approx(3 / own["step_s"]["median"])
    assert other["encode_s"]["by_model"] > 0
    assert (own["memory"], other["memory"]) == ({"encode_bytes": 3_000_000, "train_bytes": 12_000_000}, None)
    assert own["parameters"]["active"].keys() == {"s1", "s2"}
    assert facts["machine"]["threads"] == torch.get_num_threads()


def test_the_table_fits_a_terminal(measured):
    found, settings, _ = measured
    console = Console(width=80, record=True, file=StringIO())
    console.print(title(found, settings), table(found, settings), machine_line(settings), sep="\n")
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "2 experts x 3 slots, width 0.5, in 2 blocks" in text
    assert "…" not in text
    (row,) = (line.split() for line in lines if line.startswith("train a place, GMAC"))
    model, twin = (one.counts.train.macs for one in found.profiles[:2])
    assert row[-2] == f"{model / twin:.2f}"
    (row,) = (line.split() for line in lines if line.startswith("peak to train, MB"))
    assert row[4:6] == ["12.0", "-"]


def test_a_dense_model_stands_alone():
    found = compare("dense", dense_twin(small()), Settings(measured=False))
    assert [one.role for one in found.profiles] == ["model"]
    assert found.profiles[0].speed is None


def run(*arguments):
    from csmoe_model.cli.profile import profile

    app = typer.Typer()
    app.command()(profile)
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "80"})


def test_the_command(tmp_path):
    done = run("--preset", "csmae-tiny-p28", "--no-measure", "--json", tmp_path / "p.json")
    assert done.exit_code == 0, done.output
    assert "csmae-tiny-p28: 64 patches of 28 px a sensor" in done.output
    assert "GFLOP by torch" in done.output
    assert "places/s" not in done.output
    facts = json.loads((tmp_path / "p.json").read_text())
    assert facts["settings"]["measured"] is False
    (comparison,) = facts["comparisons"]
    assert comparison["name"] == "csmae-tiny-p28"
    assert comparison["models"][0]["train"]["macs"] > 1e9


def test_counts_that_disagree_end_the_command(monkeypatch):
    monkeypatch.setattr("csmoe_model.profiling.count.encoder_cost", lambda *_: Work(macs=10**9, flops=0))
    done = run("--preset", "csmae-tiny-p28", "--no-measure")
    assert "GFLOP by torch" in done.output
    assert isinstance(done.exception, ModelError)
    assert "csmae-tiny-p28, model: torch counts" in str(done.exception)


BAD = {
    "preset": (["--preset", "csmoe-huge-p14"], "preset 'csmoe-huge-p14'"),
    "folder": (["--json", "/nowhere/p.json"], "there is no folder /nowhere"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(name):
    arguments, message = BAD[name]
    done = run(*arguments)
    assert isinstance(done.exception, ConfigError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize("option", [["--precision", "16"], ["--device", "tpu"]], ids=" ".join)
def test_choices_that_are_none(option):
    done = run(*option)
    assert done.exit_code == 2
    assert f"Invalid value for '{option[0]}'" in done.stderr


@pytest.mark.parametrize(
    ("name", "there", "found"), [("cpu", True, "cpu"), ("auto", True, "cuda"), ("auto", False, "cpu")]
)
def test_the_gpu_is_taken_where_there_is_one(monkeypatch, name, there, found):
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert find_device(name).type == found


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cuda: torch finds none on this machine; give cpu"):
        find_device("cuda")


def test_the_page_of_presets_is_the_one_in_the_docs():
    page = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    assert page == presets_page(), "run: python -m csmoe_model.profiling.table > docs/presets.md"
