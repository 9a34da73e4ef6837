"""Results on a terminal: nothing wider than it, nothing lost that it has room for."""

from io import StringIO

import pytest
from rich.console import Console

from csmoe_model.evaluation.screen import show
from model.evaluation_records import STATISTICS, record, value

FIGURES = {
    "knn20-cosine/s2/accuracy/micro": value(0.61, 0.05),
    "knn20-cosine/s2/accuracy/macro": value(0.52, 0.06),
    "linear/joint/accuracy/micro": value(0.71, 0.04),
}


def shown(records, width, *, colour=False):
    text = StringIO()
    show(records, Console(file=text, width=width, highlight=False, force_terminal=colour))
    return text.getvalue()


def backbones(number):
    floor = record("image statistics", {**FIGURES, "linear/joint/accuracy/micro": value(0.8, 0.01)}, **STATISTICS)
    return [floor, *(record(f"model {k}", FIGURES, notes=("a note on the model",)) for k in range(number))]


@pytest.mark.parametrize(
    ("number", "width", "there", "absent"),
    [
        (1, 80, ["0.610 [0.560, 0.660]", "  accuracy/macro"], []),
        (1, 50, ["linear, joint", "  accuracy/macro"], ["["]),
        (4, 80, ["linear, joint", "  accuracy/macro"], ["["]),
        (9, 80, ["GFLOP", "model 8", "0.710", "0.610"], ["macro", "["]),
        (9, 46, ["model 8", "0.710"], ["0.610", "knn20"]),
    ],
)
def test_as_much_as_there_is_room_for(number, width, there, absent):
    text = shown(backbones(number), width)
    assert max(map(len, text.splitlines())) <= width
    table = text.partition("\n- ")[0]
    assert [part for part in there if part not in table] == []
    assert [part for part in absent if part in table] == []


def test_what_has_to_be_said_follows():
    text = " ".join(shown(backbones(2), 80).split())
    assert "Scenes: 1,200 train, 30 validation, 40 test." in text
    assert "- Not better than image statistics: model 0 (3 of 3 headlines), model 1" in text
    assert "- made by us" in text
    assert "- model 0; model 1: a note on the model" in text
    assert "- Not better than image statistics: 5 of 5 backbones; largest gap: model 4" in " ".join(
        shown(backbones(5), 80).split()
    )
    assert text.endswith("- All figures and intervals: table.md, figures.csv.")


def test_the_best_of_a_line_is_bold():
    text = shown(backbones(1), 80, colour=True)
    line = next(line for line in text.splitlines() if "[0.790, 0.810]" in line)
    assert "\x1b[1m0.800 [0.790, 0.810]\x1b[0m" in line
    assert "\x1b[1m0.710" not in line


def test_a_figure_that_one_does_not_have_leaves_its_place_empty():
    alone = record("alone", {"linear/joint/accuracy/micro": value(0.5)})
    line = next(line for line in shown([*backbones(1), alone], 70).splitlines() if "macro" in line)
    assert line.split() == ["accuracy/macro", "0.520", "0.520"]
