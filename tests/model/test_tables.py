"""Results side by side."""

import csv
import io
import math

import pytest

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.figures import Figure
from csmoe_model.evaluation.metrics.intervals import over_seeds
from csmoe_model.evaluation.plots import draw_costs
from csmoe_model.evaluation.tables import headlines, long_csv, markdown, rows, verdicts
from model.evaluation_records import STATISTICS, record, value

MICRO, MACRO = "accuracy/micro", "accuracy/macro"


def classified(name, linear, knn=0.25, **changes):
    figures = {
        f"knn5-cosine/s2/{MICRO}": 0.1,
        f"knn20-cosine/s2/{MACRO}": knn,
        f"knn20-cosine/s2/{MICRO}": value(knn, 0.05),
        f"knn20-l2/s2/{MICRO}": 0.1,
        f"linear/s2/{MICRO}": linear,
        f"linear/s2/{MACRO}": linear,
        "linear/s2/accuracy/class/a": 1.0,
    }
    return record(name, figures, **changes)


PRIOR = record(
    "label prior", {f"prior/{MICRO}": 0.5, f"prior/{MACRO}": 0.5}, kind="prior", weights=None, macs={}, image_px=0
)


def cells(text):
    """Rows of a table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_the_table_of_classification():
    floor = classified(
        "image statistics", 0.5, 0.5, **STATISTICS, num_parameters=0, normalise="data", macs={"s2": 1000}
    )
    text = markdown([PRIOR, classified("ours", 0.75), floor])
    assert text.splitlines()[0] == "Scenes: 1,200 train, 30 validation, 40 test."
    assert cells(text) == [
        ["", "label prior", "image statistics", "ours"],
        ["---"] * 4,
        ["parameters of the encoder, million", "2.50", "0.00", "2.50"],
        ["edge of the images, px", "", "64", "64"],
        ["GFLOP, one image of each sensor", "", "2e-06", "6"],
        ["standardised by the statistics of", "model", "data", "model"],
        ["runs", "1", "1", "1"],
        ["knn20-cosine/s2/accuracy/micro", "0.500", "0.500 [0.450, 0.550]", "0.250 [0.200, 0.300]"],
        ["knn20-cosine/s2/accuracy/macro", "0.500", "0.500", "0.250"],
        ["linear/s2/accuracy/micro", "0.500", "0.500", "0.750"],
        ["linear/s2/accuracy/macro", "0.500", "0.500", "0.750"],
    ]
    assert text.endswith(
        "- Not better than label prior: ours (2 of 4 headlines); largest gap: ours, knn20-cosine/s2/accuracy/micro, "
        "0.250 against 0.500.\n"
        "- Not better than image statistics: ours (2 of 4 headlines); largest gap: ours, "
        "knn20-cosine/s2/accuracy/micro, 0.250 against 0.500.\n"
        "- made by us\n"
    )


def test_many_backbones_are_rows():
    text = markdown([classified(f"m{k}", k / 8) for k in range(6)])
    table = cells(text)
    assert [row[0] for row in table] == ["", "---", *(f"m{k}" for k in range(6))]
    assert table[0][6:] == [f"{method}/s2/{name}" for method in ("knn20-cosine", "linear") for name in (MICRO, MACRO)]
    assert table[5][8:] == ["0.375", "0.375"]


@pytest.mark.parametrize(
    ("one", "floor", "lost"),
    [(0.75, 0.5, False), (0.5, 0.75, True), (0.5, 0.5, True), (None, 0.5, False), (0.5, None, False)],
)
def test_who_does_not_beat_a_floor_is_named(one, floor, lost):
    table = rows(
        [record("ours", {f"linear/s2/{MICRO}": one}), record("noise", {f"linear/s2/{MICRO}": floor}, kind="random")]
    )
    found = verdicts(table)
    if lost:
        assert found == [
            f"Not better than noise: ours (1 of 1 headlines); largest gap: ours, linear/s2/{MICRO}, "
            f"{one:.3f} against {floor:.3f}."
        ]
    else:
        assert found == []


def test_a_floor_need_not_beat_another():
    table = rows([classified("noise", 0.1, kind="random"), classified("statistics", 0.9, **STATISTICS)])
    assert verdicts(table) == []


def test_the_deepest_of_a_search_and_only_what_leaves_something_out():
    def searched(name, shift, **changes):
        figures = {}
        for kind in ("all", "other groups"):
            for view, lower in (("s1>s1", 0), ("s1>s2", 0.125 if kind != "all" else 0)):
                for k in (2, 7):
                    figures |= {f"{kind}/{view}/{part}": shift - lower for part in (f"f1@{k}/A", f"map@{k}/possible")}
        return record(name, figures | {"pairs/s1>s2/pair/mrr": 0.5}, task="retrieval", **changes)

    table = rows([searched("ours", 0.75), searched("noise", 0.5, kind="random")])
    assert [line.name for line in headlines(table)] == [
        "all/s1>s1/f1@7/A",
        "all/s1>s1/map@7/possible",
        "all/s1>s2/f1@7/A",
        "all/s1>s2/map@7/possible",
        "other groups/s1>s2/f1@7/A",
        "other groups/s1>s2/map@7/possible",
        "pairs/s1>s2/pair/mrr",
    ]


def test_without_twenty_neighbours_the_first_k_nn_stands():
    one = record("ours", {f"{name}/s2/{MICRO}": 0.5 for name in ("knn3-cosine", "knn3-l2", "finetune")})
    assert [line.method for line in headlines(rows([one]))] == ["knn3-cosine", "finetune"]


def test_seeds_are_averaged_with_the_interval_of_their_mean():
    runs = [record("ours", {f"finetune/s2/{MICRO}": value(x, 0.01)}, seed=k) for k, x in enumerate((0.5, 0.6, 0.8))]
    frozen = record("ours", {f"linear/s2/{MICRO}": value(0.7, 0.1)})
    (row,) = rows([*runs, frozen])
    expected = over_seeds([{"x": Figure(x)} for x in (0.5, 0.6, 0.8)])["x"]
    assert row.num_runs == 3
    assert row.figures[f"finetune/s2/{MICRO}"] == pytest.approx(expected)
    assert row.figures[f"linear/s2/{MICRO}"] == pytest.approx((0.7, 0.6, 0.8))  # one run keeps its own
    assert "or over runs" in markdown([*runs, frozen])


def test_what_chance_has_no_part_in_keeps_its_interval():
    runs = [record("statistics", {f"linear/s2/{MICRO}": value(0.5, 0.1)}, seed=seed, **STATISTICS) for seed in (0, 1)]
    assert rows(runs)[0].figures[f"linear/s2/{MICRO}"] == pytest.approx((0.5, 0.4, 0.6))


def test_trainings_under_one_name_are_averaged_and_it_is_said():
    runs = [record("ours", {f"linear/s2/{MICRO}": x}, weights=f"w{x}") for x in (0.25, 0.75)]
    (row,) = rows(runs)
    assert row.num_runs == row.num_weights == 2
    assert row.figures[f"linear/s2/{MICRO}"].value == 0.5
    assert "- ours: 2 trainings\n" in markdown(runs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_px": 32}, r"differ in edge of the images \(64 and 32\)"),
        ({"normalise": "data"}, r"differ in standardisation \(model and data\)"),
        ({"num_parameters": 7}, r"differ in parameters \(2500000 and 7\)"),
        ({"kind": "csmae"}, r"differ in kind \(csmoe and csmae\)"),
        ({}, rf"has linear/s2/{MICRO} twice with seed 0, 0\.25 and 0\.75"),
    ],
)
def test_one_name_for_different_backbones_is_refused(changes, message):
    one, other = record("ours", {f"linear/s2/{MICRO}": 0.25}), record("ours", {f"linear/s2/{MICRO}": 0.75}, **changes)
    with pytest.raises(ConfigError, match=message):
        rows([one, other])
    assert rows([one, one])[0].num_runs == 1  # the same from two files


def test_notes_stand_once_with_the_names_of_those_they_are_about():
    text = markdown([record(f"m{k}", {f"linear/s2/{MICRO}": 0.5}, notes=("dark", f"note {k // 5}")) for k in range(6)])
    assert "- all backbones: dark\n- 5 of 6 backbones: note 0\n- m5: note 1\n" in text


def test_the_long_table_has_every_figure():
    records = [classified("ours, large", 0.75), PRIOR, record("none", {"linear/s2/f1": None}, seed=4)]
    found = list(csv.DictReader(io.StringIO(long_csv(records))))
    assert len(found) == 7 + 2 + 1
    assert [(row["model"], row["figure"], row["value"], row["low"], row["high"]) for row in found[2:4]] == [
        ("ours, large", f"knn20-cosine/s2/{MICRO}", "0.25", "0.2", "0.3"),
        ("ours, large", f"knn20-l2/s2/{MICRO}", "0.1", "", ""),
    ]
    assert (found[-1]["seed"], found[-1]["value"], found[-1]["fingerprint"]) == ("4", "", "f1")


def test_the_plot_has_a_panel_for_each_method_and_view(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("csmoe_model.train.pictures.save_figure", lambda figure, path: drawn.append(figure))
    slots = [classified(f"ours, {k} slots", 0.6 - k / 50, curve="ours", macs={"s2": k * 10**8}) for k in (1, 2, 4)]
    floor = classified("image statistics", 0.5, **STATISTICS)
    twins = [classified(name, 0.55, macs={"s2": 10**9}) for name in ("other", "twin")]
    draw_costs([PRIOR, floor, *slots, *twins], tmp_path / "costs.png")
    (figure,) = drawn
    assert [axis.get_title() for axis in figure.axes] == ["knn20-cosine, s2", "linear, s2"]
    linear = figure.axes[1]
    curve = next(line for line in linear.lines if line.get_label() == "ours")
    assert curve.get_xdata() == pytest.approx([0.2, 0.4, 0.8])
    assert curve.get_ydata() == pytest.approx([0.58, 0.56, 0.52])
    level = {
        line.get_label(): line.get_ydata()[0]
        for line in linear.lines
        if line.get_label() in ("label prior", floor.model.name)
    }
    assert level == {"label prior": 0.5, "image statistics": 0.5}
    places = [container.lines[0].get_xdata()[0] for container in linear.containers]
    assert len(places) == 2
    assert places[0] != places[1]  # they cost the same, and are both seen
    assert places == pytest.approx([2.0, 2.0], rel=0.05)
    low, high = linear.get_xlim()
    assert low < 0.2 < places[1] < high
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["label prior", "image statistics"]


def test_no_plot_where_nobody_knows_a_cost(tmp_path):
    draw_costs(
        [classified("ours", 0.5, macs={"s2": None}), classified("noise", 0.5, kind="random")], tmp_path / "costs.png"
    )
    assert not list(tmp_path.iterdir())
    draw_costs([classified("ours", 0.5)], tmp_path / "costs.png")
    assert (tmp_path / "costs.png").read_bytes()[:4] == b"\x89PNG"
    assert math.isnan(rows([record("x", {"a/b/c": None})])[0].figures["a/b/c"].value)
