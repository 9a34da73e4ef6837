"""Whole commands of the evaluation, from a folder to tables and pictures."""

import csv
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from csmoe_model.cli import app, comparing
from csmoe_model.cost import dense_twin
from csmoe_model.errors import ConfigError, ModelError
from csmoe_model.evaluation.candidates import candidates
from csmoe_model.evaluation.extractors.own import untrained
from csmoe_model.evaluation.gallery import draw_gallery
from csmoe_model.evaluation.records import read_records
from csmoe_model.train.checkpoint import load_model, save_model
from model.chip_stores import write_chips
from model.evaluation_sets import write_picture, write_tiff
from model.evaluation_toys import labelled_set, segmentation_set
from model.small_models import model_config, train_config

PNG = b"\x89PNG"
FLOORS = ["label prior", "image statistics", "random weights", "random weights, dense"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A CSMoE and its dense twin, one training step from random."""
    folder = tmp_path_factory.mktemp("runs")
    for name, model in (("moe", model_config()), ("twin", dense_twin(model_config()))):
        save_model(folder / name, untrained(model, seed=7).module, train_config(model))
    return folder


@pytest.fixture(scope="module")
def radar(tmp_path_factory):
    """Class folders of VV and VH; the classes differ in how bright they are."""
    folder = tmp_path_factory.mktemp("radar")
    return write_radar(folder / "right"), write_radar(folder / "swapped", swapped=True)


def write_radar(folder, *, swapped=False):
    chance = np.random.default_rng(0)
    for part, count in (("train", 9), ("validation", 4), ("test", 5)):
        for level, label in enumerate(("field", "town", "wood")):
            for k in range(count + level):
                pixels = np.stack([chance.normal(mean + 2 * level, 0.7, (12, 14)) for mean in (-19, -12)])
                names = ("VV", "VH") if swapped else ("VH", "VV")
                path = folder / part / label / f"{part}_{label}_{k}.tif"
                write_tiff(path, pixels.astype(np.float32), bands=names)
    return folder


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Images in the bands of the model's s2, in another order, with masks of two classes."""
    folder = tmp_path_factory.mktemp("masks")
    chance = np.random.default_rng(1)
    for part, count in (("train", 3), ("validation", 2), ("test", 2)):
        for k in range(count):
            right = np.arange(40) >= chance.integers(10, 30)
            image = chance.normal(1500, 50, (3, 32, 40)) + 900 * right
            write_tiff(folder / part / "images" / f"{k}.tif", image.astype(np.uint16), bands=("B11", "B03", "B8A"))
            write_picture(folder / part / "masks" / f"{k}.png", np.broadcast_to(right, (1, 32, 40)).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("chips"), num=24, size=24)


def run(*arguments, fails=False):
    result = CliRunner().invoke(app, [*map(str, arguments), "--quiet"])
    if fails:
        assert isinstance(result.exception, ModelError), result.output
        assert "\n" not in str(result.exception)
        return str(result.exception)
    if result.exception:
        raise result.exception
    return result.output


def classify(data, out, *more, **options):
    return run("evaluate", "classification", "--data", data, "--out", out, "--set", "unit=dB", *more, **options)


@pytest.fixture(scope="module")
def classified(runs, radar, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "classified"
    models = ["--checkpoint", runs / "moe", "--checkpoint", runs / "twin", "--slots", 1]
    return out, classify(radar[0], out, *models, "--resamples", 20)


def test_classification_compares_with_floors_and_the_twin(classified):
    out, said = classified
    assert sorted(path.name for path in out.iterdir()) == ["costs.png", "figures.csv", "results.json", "table.md"]
    records = read_records(out / "results.json")
    names = [*FLOORS, "moe", "moe, 1 slots", "twin"]
    assert [one.model.name for one in records] == names
    table = (out / "table.md").read_text()
    assert said.startswith(table.splitlines()[0])
    assert "- Not better than" in said
    assert str(out / "results.json") in said
    assert all(f"| {name} |" in table for name in names)
    assert "linear/s1/accuracy/micro" in table
    assert (out / "costs.png").read_bytes()[:4] == PNG
    moe, fewer, twin = records[4:]
    assert (moe.model.kind, moe.model.curve, twin.model.kind, twin.model.curve) == ("csmoe", "moe", "csmae", "")
    assert fewer.model.macs["s1"] < moe.model.macs["s1"] < twin.model.macs["s1"]
    assert fewer.model.weights == moe.model.weights
    for one in records[1:]:
        assert one.data.samples == {"train": 30, "validation": 15, "test": 18}
        assert one.figures["linear/s1/accuracy/micro"][0] > 0.8
        assert one.figures["linear/s1/accuracy/micro"][1] is not None
    assert [one.normalise for one in records[1:]] == ["data", *["model"] * 5]
    with (out / "figures.csv").open() as file:
        assert {row["model"] for row in csv.DictReader(file)} == set(names)


def test_equal_runs_give_equal_results(classified, runs, radar, tmp_path):
    models = ["--checkpoint", runs / "moe", "--checkpoint", runs / "twin", "--slots", 1]
    classify(radar[0], tmp_path / "again", *models, "--resamples", 20, "--workers", 0)
    for name in ("results.json", "table.md", "figures.csv", "costs.png"):
        assert (tmp_path / "again" / name).read_bytes() == (classified[0] / name).read_bytes()


def test_fine_tuning_of_two_seeds_beside_neighbours(runs, radar, tmp_path):
    methods = ["--method", "knn", "--method", "finetune", "--epochs", 1, "--batch", 10, "--lr", 3e-3]
    out = tmp_path / "out"
    classify(radar[0], out, "--checkpoint", runs / "moe", *methods, "--seed", 3, "--seed", 4, "--resamples", 0)
    records = read_records(out / "results.json")
    tuned = [one for one in records if any(name.startswith("finetune/") for name in one.figures)]
    assert [(one.model.name, one.seed) for one in tuned] == [
        (name, seed) for seed in (3, 4) for name in ("random weights", "random weights, dense", "moe")
    ]
    settings = tuned[0].settings
    assert (settings["epochs"], settings["batch"], settings["optimiser"]["lr"]) == (1, 10, 3e-3)
    assert {one.data.split_hash for one in records} == {records[0].data.split_hash}
    lines = [line.strip("| ").split(" | ") for line in (out / "table.md").read_text().splitlines() if line[:1] == "|"]
    place = lines[0].index("runs") + 1  # the corner is empty
    assert [line[place] for line in lines[2:]] == ["1", "1", "2", "2", "2"]


def test_swapped_polarisations_are_refused_with_the_mend_unless_asked(runs, radar, tmp_path):
    options = ["--checkpoint", runs / "moe", "--method", "knn", "--no-floors", "--resamples", 0]
    message = classify(radar[1], tmp_path / "out", *options, fails=True)
    assert "VV is 7.0 dB below VH" in message
    assert "exchange the names of VV and VH" in message
    assert not (tmp_path / "out" / "results.json").exists()
    classify(radar[1], tmp_path / "out", *options, "--unsound")  # the folder can be used
    assert "exchange the names of VV and VH" in (tmp_path / "out" / "table.md").read_text()
    mended = ["--set", "bands=VH,VV"]
    classify(radar[1], tmp_path / "mended", *options, *mended)
    right = read_records(tmp_path / "mended" / "results.json")[-1]
    assert "exchange" not in (tmp_path / "mended" / "table.md").read_text()
    assert right.inputs["s1"].bands == ("VV", "VH")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--format", "tiles"], "format 'tiles': it is one of geobench,"),
        (["--method", "guess"], "--method guess: give knn, linear or finetune"),
        (["--peer", "keras:resnet"], "--peer keras:resnet: give timm:NAME or torchgeo:NAME"),
        (["--peer", "timm:resnet5000"], "timm has no model 'resnet5000'"),
        (["--normalise", "test"], "--normalise test: give auto, model or data"),
        (["--lr", "-1"], "options: optimiser.lr"),
        (["--set", "bands"], "--set bands: give key=value"),
        (["--slots", "9"], "moe: 9 slots an expert: it has 3"),
        (["--image-px", "30"], "--image-px 30: is no multiple of the model's patches of 8 px"),
        (["--checkpoint", "nowhere"], "checkpoint nowhere: there is none"),
    ],
)
def test_what_cannot_be_meant_is_told_in_a_line_before_any_work(runs, radar, tmp_path, more, message):
    text = classify(radar[0], tmp_path / "out", "--checkpoint", runs / "moe", "--no-floors", *more, fails=True)
    assert message in text
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_comparison_that_is_cut_short_keeps_what_it_has_and_may_be_begun_again(classified, tmp_path):
    def cut_short():
        yield from records[:2]
        raise KeyboardInterrupt

    records, out = read_records(classified[0] / "results.json"), tmp_path / "out"
    comparing.new(out)
    with pytest.raises(KeyboardInterrupt):
        comparing.gathered(out, cut_short())
    assert read_records(out / comparing.UNFINISHED) == records[:2]
    comparing.new(out)
    comparing.finish(out, comparing.gathered(out, records))
    assert sorted(path.name for path in out.iterdir()) == ["costs.png", "figures.csv", "results.json", "table.md"]
    with pytest.raises(ConfigError, match="has results already"):
        comparing.new(out)


def test_nothing_to_compare_and_results_that_are_there_already(classified, runs, radar, tmp_path):
    assert "nothing to compare: give --checkpoint or --peer" in classify(radar[0], tmp_path / "a", fails=True)
    dense = classify(radar[0], tmp_path / "b", "--checkpoint", runs / "twin", "--slots", 1, fails=True)
    assert "--slots: no checkpoint has experts" in dense
    before = (classified[0] / "results.json").read_bytes()
    again = classify(radar[0], classified[0], "--checkpoint", runs / "moe", fails=True)
    assert "has results already" in again
    assert (classified[0] / "results.json").read_bytes() == before


def test_what_was_done_before_a_failure_is_kept(runs, radar, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((runs / "twin" / "config.json").read_bytes())
    (broken / "model.safetensors").write_bytes((runs / "moe" / "model.safetensors").read_bytes())
    options = ["--checkpoint", runs / "moe", "--checkpoint", broken, "--no-floors", "--method", "knn", "--resamples", 0]
    assert "is of another architecture" in classify(radar[0], tmp_path / "out", *options, fails=True)
    assert [one.model.name for one in read_records(tmp_path / "out" / comparing.UNFINISHED)] == ["label prior", "moe"]


def test_segmentation_writes_masks_of_every_backbone(runs, masks, tmp_path):
    out = tmp_path / "out"
    options = ["--layer", 1, "--epochs", 2, "--lr", 0.02, "--batch", 4, "--workers", 0, "--resamples", 10]
    models = ["--checkpoint", runs / "moe", "--checkpoint", runs / "twin"]
    data = ["--data", masks, "--set", "unit=DN", "--unsound"]
    run("evaluate", "segmentation", *data, "--out", out, *models, *options, "--no-floors", "--seed", 1, "--seed", 2)
    records = read_records(out / "results.json")
    assert [(one.model.name, one.seed) for one in records] == [
        (name, seed) for seed in (1, 2) for name in ("moe", "twin")
    ]
    assert records[0].settings["optimiser"]["lr"] == 0.02
    assert (records[0].settings["workers"], records[0].settings["layers"]) == (0, [1])
    assert "linear/s2/miou/dataset" in records[0].figures
    assert "linear/s2/miou/dataset" in (out / "table.md").read_text()
    for name in ("moe", "twin"):
        assert (out / f"masks_{name}_2.png").read_bytes()[:4] == PNG
    message = run("evaluate", "segmentation", *data, "--out", tmp_path / "x", *models, "--head", "mlp", fails=True)
    assert "options: head" in message


def test_the_floor_of_segmentation_sees_as_many_windows_as_the_model(runs):
    sizes = [
        [build(0).image_px for build in candidates(data, [runs / "moe"], image_px=image_px)]
        for data in (segmentation_set((2, 1, 1)), labelled_set((2, 1, 1)))
        for image_px in (None, 24)
    ]
    assert sizes == [[32] * 4, [24] * 4, [16, 32, 32, 32], [24] * 4]


def test_floors_are_of_the_first_model_with_mixtures(runs):
    found = [build(0) for build in candidates(labelled_set((2, 1, 1)), [runs / "twin", runs / "moe"])]
    assert [one.name for one in found] == [*FLOORS[1:], "twin", "moe"]
    assert [one.module.config.encoder.moe is None for one in found[1:]] == [False, True, True, False]
    dense = [build(0).name for build in candidates(labelled_set((2, 1, 1)), [runs / "twin"])]
    assert dense == ["image statistics", "random weights, dense", "twin"]


def test_segmentation_tells_fine_tuned_from_frozen(runs, masks, tmp_path):
    options = ["--data", masks, "--set", "unit=DN", "--unsound", "--checkpoint", runs / "moe", "--no-floors"]
    short = ["--epochs", 1, "--batch", 4, "--workers", 0, "--resamples", 0]
    run("evaluate", "segmentation", *options, *short, "--out", tmp_path / "out", "--finetune")
    (record,) = read_records(tmp_path / "out" / "results.json")
    assert "linear-finetuned/s2/miou/dataset" in record.figures
    assert (record.settings["frozen"], record.settings["augment"]) == (False, True)


def test_retrieval_searches_in_every_direction(runs, chips, tmp_path, monkeypatch):
    def draw(data, direction, path, **options):
        drawn.append(path.name)
        if path.name == "gallery_twin_s1_to_s2.png":
            draw_gallery(data, direction, path, **options)

    drawn = []
    monkeypatch.setattr("csmoe_model.evaluation.gallery.draw_gallery", draw)
    out = tmp_path / "out"
    options = ["--manifest", chips.manifest, "--label", "climate", "-k", 3, "--resamples", 10, "--beyond-km", 50]
    models = ["--checkpoint", runs / "moe", "--checkpoint", runs / "twin"]
    splits = ["--query-split", "train", "--archive-split", "train"]
    run("evaluate", "retrieval", "--data", chips.store, "--out", out, *options, *models, *splits, "--unsound")
    records = {one.model.name: one for one in read_records(out / "results.json")}
    assert list(records) == [*FLOORS[1:], "moe", "twin"]
    directions = {name.split("/")[1] for name in records["moe"].figures}
    assert directions == {"s1>s1", "s1>s2", "s2>s1", "s2>s2", "joint>joint"}
    table = (out / "table.md").read_text()
    for headline in ("all/s1>s2/f1@3/A", "all/joint>joint/map@3/possible", "pairs/s2>s1/pair/mrr"):
        assert headline in table
    assert records["moe"].settings["depths"] == [3]
    views = ("s1_to_s1", "s1_to_s2", "s2_to_s1", "s2_to_s2", "joint_to_joint")
    assert sorted(drawn) == sorted(f"gallery_{model}_{view}.png" for model in ("moe", "twin") for view in views)
    assert (out / "gallery_twin_s1_to_s2.png").read_bytes()[:4] == PNG
    assert (out / "costs.png").read_bytes()[:4] == PNG
    text = run("evaluate", "retrieval", "--data", chips.store, "--out", tmp_path / "x", *models, fails=True)
    assert "the labels are in its manifest: give --manifest too" in text


def test_prune_writes_a_smaller_model_and_the_curve(runs, radar, tmp_path):
    out = tmp_path / "out"
    arguments = ["--checkpoint", runs / "moe", "--data", radar[0], "--set", "unit=dB", "--resamples", 0]
    said = run("prune", *arguments, "--out", out, "--keep", 0.5, "--by", "dispatch")
    assert f"1 of 2 experts a layer -> {out / 'model'}" in said
    records = read_records(out / "results.json")
    expected = [*FLOORS, "moe", "1 by gradient", "1 by dispatch", "1 by chance"]
    assert [one.model.name for one in records] == expected
    small = load_model(out / "model")
    assert small.config.encoder.moe.experts == 1
    by_dispatch = records[expected.index("1 by dispatch")]
    assert by_dispatch.model.num_parameters == sum(one.numel() for one in small.encoder.parameters())
    assert by_dispatch.model.macs["s1"] < records[4].model.macs["s1"]
    assert json.loads((out / "model" / "config.json").read_text())["model"]["encoder"]["moe"]["experts"] == 1
    assert "has results already" in run("prune", *arguments, "--out", out, fails=True)
    dense = run("prune", "--checkpoint", runs / "twin", "--data", radar[0], "--out", tmp_path / "x", fails=True)
    assert "the model is dense" in dense
