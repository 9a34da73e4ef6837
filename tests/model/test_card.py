"""The model card: only what a checkpoint and results hold, and what they do not hold by name."""

import re

import pytest
import typer
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from csmoe_model.adapters.card import write_card
from csmoe_model.adapters.card_results import NO_RESULTS, evaluation
from csmoe_model.cli.export import export
from csmoe_model.config import HeadsConfig, LossConfig, MaskConfig
from csmoe_model.cost import dense_twin, encoder_cost, training_macs
from csmoe_model.errors import CheckpointError, ConfigError, DataError
from csmoe_model.evaluation.extractors.own import trained
from csmoe_model.evaluation.records import about_model, write_records
from csmoe_model.presets import preset
from csmoe_model.train.checkpoint import save_model
from csmoe_model.train.config import DataConfig, OptimiserConfig
from model.adapter_stands import checkpoint_of
from model.evaluation_records import STATISTICS, record, value
from model.small_models import built, model_config, train_config

TO_BE_WRITTEN = "<!-- to be written -->"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return checkpoint_of(tmp_path_factory.mktemp("run") / "checkpoints")[0]


@pytest.fixture(scope="module")
def weights(checkpoint):
    return about_model(trained(checkpoint), ()).weights


@pytest.fixture(scope="module")
def card(checkpoint, tmp_path_factory):
    return write_card(checkpoint, tmp_path_factory.mktemp("card") / "MODEL_CARD.md").read_text()


def facts(text):
    """First cell -> the others, of all tables."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in lines}


def results(folder, *records):
    folder.mkdir()
    write_records(folder / "results.json", records)
    return folder


def scored(name, score, **about):
    return record(name, {"linear/s2/accuracy/micro": value(score, 0.01)}, **about)


# What a checkpoint tells -------------------------------------------------------------------------------------------


def test_the_card_is_one_of_the_hub(checkpoint, card, tmp_path):
    (tmp_path / "README.md").write_text(card)
    found = ModelCard.load(tmp_path / "README.md")
    assert found.data.library_name == "csmoe-model"
    assert found.data.license is None, "nobody has said it"
    assert re.findall(r"^## (.*)", found.content, re.MULTILINE) == [
        *("Input", "Model", "Cost", "Training data", "Training", "Evaluation", "Use", "Limits", "Licence")
    ]
    assert card.count(TO_BE_WRITTEN) == 2


def test_cost_stands_beside_that_of_the_dense_twin(card):
    found, own, twin = facts(card), model_config(), dense_twin(model_config())
    for sensor in ("s1", "s2"):
        macs = [encoder_cost(one, sensor).macs for one in (own, twin)]
        assert found[f"multiply-adds, an image of {sensor}"] == [*map("{:,}".format, macs), f"{macs[0] / macs[1]:.2f}"]
        sizes = [
            sum(p.numel() for name, p in built(train_config(one))[0].encoder.named_parameters() if other not in name)
            for one in (own, twin)
            for other in [f".{'s2' if sensor == 's1' else 's1'}."]
        ]
        assert found[f"parameters on the path of {sensor}"][:2] == [f"{size:,}" for size in sizes]
    assert f"took {2 * training_macs(own) * 8 * 7:.3g} FLOP" in card


def test_parameters_are_those_of_the_weights(card):
    model, _ = built(train_config())
    found = facts(card)
    assert found["Parameters in the folder"] == [f"{sum(p.numel() for p in model.parameters()):,}"]
    assert found["parameters of the encoder"][0] == f"{sum(p.numel() for p in model.encoder.parameters()):,}"


def test_training_is_that_of_the_run(card):
    found = facts(card)
    assert found["Steps done"] == ["7"]
    assert found["Steps planned"] == ["12"]
    assert found["Batch"] == ["8 places"]
    assert found["Seed"] == ["0"]
    assert found["Fingerprint of rows and chips"] == ["d1935t"]
    assert (found["Region"], found["Rows"]) == (["6,0,9,3"], ["1,234"])
    assert found["Seed of the sample"] == found["Hardware and hours"] == ["not recorded"]


@pytest.mark.parametrize(
    ("changes", "line", "told"),
    [
        ({"max_steps": None, "epochs": 9}, "Steps planned", "9 epochs"),
        ({"batch": 24, "accumulate": 3}, "Batch", "24 places in 3 parts"),
        ({"precision": "bf16-mixed"}, "Precision", "bf16-mixed"),
        ({"seed": 41}, "Seed", "41"),
        ({"data": DataConfig(crop_scale=None)}, "Crops", "none"),
        ({"data": DataConfig(crop_scale=(0.5, 1.25))}, "Crops", "edges of 0.5 to 1.25 image edges"),
        ({"data": DataConfig(split="test")}, "Split", "test"),
        ({"data": DataConfig(weighted=True)}, "Rows drawn by their weights", "yes"),
        (
            {"optimiser": OptimiserConfig(lr=3e-4, min_lr=1e-6, warmup=0.1, weight_decay=0.2, clip_norm=None)},
            "Optimiser",
            "AdamW, lr 0.0003 to 1e-06 by a cosine, warm-up 10 % of the steps, betas 0.9, 0.95, weight decay 0.2, "
            "largest norm of the gradient any",
        ),
        ({"model": model_config(loss=LossConfig(cmr=0.5, mim=0.0))}, "Terms of the loss", "umr 1, cmr 0.5"),
        (
            {"model": model_config(mask=MaskConfig(ratio=0.75, ratios={"s1": 0.25}, correspondence="identical"))},
            "Hidden patches",
            "25 % of s1, 75 % of s2, identical",
        ),
        ({"model": model_config(retrieval=HeadsConfig(dim=24))}, "Retrieval heads", "two, of width 24"),
    ],
)
def test_settings_are_told(tmp_path, changes, line, told):
    path, _ = checkpoint_of(tmp_path / "run", train_config(**changes))
    assert facts(write_card(path, tmp_path / "card.md").read_text())[line] == [told]


def test_a_model_without_a_run_claims_none(tmp_path):
    config = train_config()
    folder = save_model(tmp_path / "model", built(config)[0], config)
    text = write_card(folder, tmp_path / "card.md").read_text()
    assert facts(text)["Steps done"] == ["not recorded"]
    assert "nothing shows whether they were trained with them" in " ".join(text.split())
    assert "Not recorded: the weights come without the state of a run" in text
    assert "The steps done" not in text
    assert "d1935t" not in text


def test_a_dense_model_has_no_twin_and_no_mixtures(tmp_path):
    config = train_config(dense_twin(model_config()))
    text = write_card(checkpoint_of(tmp_path / "run", config)[0], tmp_path / "card.md").read_text()
    assert "twin" not in text
    assert "Mixtures" not in text
    assert "- vit" in text
    assert len(facts(text)["multiply-adds, an image of s1"]) == 1


def test_a_preset_gives_the_title(tmp_path):
    config = train_config(preset("csmoe-tiny-p28"))
    folder = save_model(tmp_path / "model", built(config)[0], config)
    assert "\n# csmoe-tiny-p28\n" in write_card(folder, tmp_path / "card.md").read_text()


def test_the_code_on_the_card_runs_beside_the_run(checkpoint, card, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {}
    exec(code, names)
    assert names["features"]["s2"].pooled.shape == (1, 32)


def test_equal_inputs_give_equal_cards_without_paths(checkpoint, card, tmp_path):
    assert write_card(checkpoint, tmp_path / "again.md").read_text() == card
    assert str(checkpoint.parents[2]) not in card


# Results -----------------------------------------------------------------------------------------------------------


def test_without_results_nothing_is_said_of_quality(card):
    part = card.split("## Evaluation")[1].split("## Use")[0]
    assert part.strip() == NO_RESULTS


def test_a_table_of_results_has_what_it_hangs_on(checkpoint, weights, tmp_path):
    settings = {"seed": 3, "methods": ["knn", "linear"], "protocol": "pairs", "confusion": [[1, 2]], "beyond": None}
    floor = scored("image statistics", 0.5, settings={"seed": 0, "protocol": "pairs"}, **STATISTICS)
    own = scored("ours", 0.75, weights=weights, settings=settings, seed=3)
    text = evaluation(checkpoint, [results(tmp_path / "a", floor, own)])
    found = facts(text)
    assert "### Classification, Scenes" in text
    assert f"This model is ours in the table; weights {weights}." in text
    assert "0.750 [0.740, 0.760]" in text
    assert found["Fingerprint of the data"] == ["f1"]
    assert found["Hash of the splits"] == ["s1"]
    assert found["Seeds"] == ["3"]
    assert found["Setting methods"] == ["knn, linear"]
    assert found["Setting protocol"] == ["pairs"]
    assert found["Measured with"] == ["csmoe-model 9.9"]
    assert not {"Setting confusion", "Setting beyond", "Setting seed"} & set(found)


@pytest.mark.parametrize(
    ("score", "floors", "said"),
    [
        (0.75, [0.5, 0.7], "It is better than every floor (floor 0, floor 1) in every headline that both have."),
        (0.6, [0.5, 0.7], "**It does not beat every floor.** Not better than floor 1: ours (1 of 1 headlines)"),
        (0.75, [], "**No floor was measured beside it**"),
    ],
)
def test_floors_are_told_as_they_are(checkpoint, weights, tmp_path, score, floors, said):
    """Another backbone of the table that loses to a floor is not ours."""
    beside = [scored(f"floor {k}", one, **STATISTICS) for k, one in enumerate(floors)]
    records = [*beside, scored("ours", score, weights=weights), scored("other", 0.1)]
    assert said in evaluation(checkpoint, [results(tmp_path / "a", *records)])


def test_every_name_of_the_weights_is_ours(checkpoint, weights, tmp_path):
    records = [scored("ours", 0.75, weights=weights), scored("ours, 1 slot", 0.5, weights=weights), scored("b", 0.9)]
    assert "This model is ours and ours, 1 slot in the table" in evaluation(
        checkpoint, [results(tmp_path / "a", *records)]
    )


def test_results_of_several_folders_stand_one_after_the_other(checkpoint, weights, tmp_path):
    one = results(tmp_path / "a", scored("ours", 0.75, weights=weights))
    search = record("ours", {"all/s1>s2/pair/mrr": value(0.5)}, task="retrieval", weights=weights)
    text = evaluation(checkpoint, [one, results(tmp_path / "b", search) / "results.json"])
    assert re.findall("^### (.*)", text, re.MULTILINE) == ["Classification, Scenes", "Retrieval, Scenes"]


def test_results_of_other_weights_are_refused(checkpoint, weights, tmp_path):
    folder = results(tmp_path / "a", scored("b", 0.75), scored("c", 0.8))
    with pytest.raises(ConfigError, match=rf"none of b, c has the weights of .*{weights}.*: evaluate it first"):
        write_card(checkpoint, tmp_path / "card.md", [folder])
    assert not (tmp_path / "card.md").exists()


def test_results_that_are_none_are_refused(checkpoint, tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        write_card(checkpoint, tmp_path / "card.md", [tmp_path])


# The command -------------------------------------------------------------------------------------------------------


def run_export(*words):
    app = typer.Typer()
    app.command()(export)
    return CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)


@pytest.mark.parametrize("kind", ["card", "huggingface", "timm"])
def test_results_reach_every_card(checkpoint, weights, tmp_path, kind):
    folder, out = results(tmp_path / "a", scored("ours", 0.75, weights=weights)), tmp_path / "out"
    sensor = ["--sensor", "s2"] if kind == "timm" else []
    found = run_export("--to", kind, "--checkpoint", checkpoint, "--results", folder, "--out", out, *sensor)
    assert found.exit_code == 0
    text = (out if kind == "card" else out / "README.md").read_text()
    assert "### Classification, Scenes" in text
    assert NO_RESULTS not in text


@pytest.mark.parametrize("kind", ["huggingface", "timm"])
def test_wrong_results_leave_no_folder(checkpoint, tmp_path, kind):
    folder = results(tmp_path / "a", scored("b", 0.75))
    words = ["--to", kind, "--checkpoint", checkpoint, "--sensor", "s2", "--out", tmp_path / "out"]
    with pytest.raises(ConfigError, match="evaluate it first"):
        run_export(*words, "--results", folder)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--to", "card", "--sensor", "s2"), "--to card: tells of the whole model"),
        (("--to", "card", "--layer", "0"), "--to card: tells of the whole model"),
        (("--to", "onnx", "--results", "x"), "--to onnx: the file has no card"),
    ],
)
def test_what_does_not_go_together_is_refused(checkpoint, tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        run_export("--checkpoint", checkpoint, "--out", tmp_path / "out", *words)


def test_a_card_that_is_there_stays(checkpoint, tmp_path):
    (tmp_path / "card.md").write_text("mine")
    with pytest.raises(CheckpointError, match="exists; choose another --out"):
        run_export("--to", "card", "--checkpoint", checkpoint, "--out", tmp_path / "card.md")
    assert (tmp_path / "card.md").read_text() == "mine"
