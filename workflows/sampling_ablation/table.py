"""Results of all runs -> results.csv, table.md and a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from csmoe_model.evaluation.figures import Figure, Figures
from csmoe_model.evaluation.metrics.intervals import over_seeds

SHOWN = {
    "landcover/knn5-cosine/joint/accuracy/micro": "land cover, k-NN",
    "landcover/linear/joint/accuracy/micro": "land cover, linear",
    "landcover/linear/joint/accuracy/macro": "land cover, linear, by class",
    "climate/knn5-cosine/joint/accuracy/micro": "climate, k-NN",
    "climate/linear/joint/accuracy/micro": "climate, linear",
    "climate/linear/joint/accuracy/macro": "climate, linear, by class",
    "pairs/s1>s2/pair/recall@1": "s1 finds s2",
    "pairs/s2>s1/pair/recall@1": "s2 finds s1",
}
MEASURED = {
    "sample/coverage radius": "coverage radius",
    "sample/mean distance": "mean distance",
    "sample/entropy of strata": "entropy of strata",
    "sample/entropy of climates": "of climates",
    "sample/entropy of land covers": "of land covers",
}
BASELINE = "random"
Results = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Arm or floor -> seed -> figures."""


def read_results(folder: Path) -> dict[str, dict[int, dict[str, float]]]:
    """What the runs of a folder have found, by arm or floor and seed."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(result["arm"], {})[result["seed"]] = result["figures"]
    return found


def write_csv(results: Results, path: Path) -> None:
    """Writes every figure of every run as a line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["arm", "seed", "figure", "value"])
        for arm, runs in results.items():
            for seed, figures in sorted(runs.items()):
                lines.writerows([arm, seed, name, f"{value:.6g}"] for name, value in sorted(figures.items()))


def write_table(results: Results, arms: Sequence[str], floors: Sequence[str], path: Path) -> None:
    """Writes means with 95 % intervals over seeds, and the differences to the random sample seed by seed."""
    against = {arm: over_seeds(_differences(results, arm)) for arm in arms if arm != BASELINE}
    path.write_text(
        "\n".join(
            [
                "Tiles held out, mean and 95 % t-interval over seeds:\n",
                *_rows("sample", {name: _means(results, name) for name in (*floors, *arms)}, SHOWN),
                f"\nDifference to `{BASELINE}` of the same seed:\n",
                *_rows("sample", against, SHOWN),
                "\nThe samples themselves (entropies in bits; distances in the units of the selection):\n",
                *_rows("sample", {name: _means(results, name) for name in arms}, MEASURED),
                "",
            ]
        ),
        encoding="utf-8",
    )


def draw_results(results: Results, arms: Sequence[str], floors: Sequence[str], path: Path) -> None:
    """Draws means with intervals, a panel a figure; floors are lines."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(14, 6), layout="constrained")
    panels = canvas.subplots(2, 4, sharey=True)
    for panel, (name, title) in zip(panels.flat, SHOWN.items(), strict=True):
        found = [_means(results, arm)[name] for arm in arms]
        half = [max(0.0, one.high - one.value) if one.high == one.high else 0.0 for one in found]
        panel.errorbar([one.value for one in found], range(len(arms)), xerr=half, fmt="o", capsize=3)
        for style, floor in zip((":", "--"), floors, strict=True):
            panel.axvline(_means(results, floor)[name].value, linestyle=style, color="grey", label=floor)
        panel.set(title=title, yticks=range(len(arms)), yticklabels=arms)
    panels.flat[0].invert_yaxis()
    canvas.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    canvas.suptitle("Share right on the tiles held out; bars: 95 % over seeds")
    canvas.savefig(path, dpi=120)


def _means(results: Results, name: str) -> Figures:
    return over_seeds([{key: Figure(value) for key, value in one.items()} for one in results[name].values()])


def _differences(results: Results, arm: str) -> list[Figures]:
    base = results[BASELINE]
    return [
        {name: Figure(value - base[seed][name]) for name, value in own.items() if name in base[seed]}
        for seed, own in results[arm].items()
        if seed in base
    ]


def _rows(first: str, found: Mapping[str, Figures], titles: Mapping[str, str]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [[first, *titles.values()], ["---"] * (len(titles) + 1)]
    lines += [[name, *(_cell(figures.get(key)) for key in titles)] for name, figures in found.items()]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    half = figure.high - figure.value
    return f"{figure.value:.3f}" + (f" ± {half:.3f}" if half == half else "")
