"""Does it matter how tiles are chosen? Seven samples of one size, the same pre-training, the same probes."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from workflows.sampling_ablation.pool import FULL, HERE, SMALL, Pool, Size, bring_pool, keep_settings
from workflows.sampling_ablation.samples import draw_sample, measure_sample, write_sample
from workflows.sampling_ablation.table import draw_results, read_results, write_csv, write_table

STATISTICS, RANDOM_WEIGHTS = "image statistics", "random weights"


def main() -> None:
    """Runs what is not there yet, then writes the table."""
    parser = argparse.ArgumentParser(prog="python -m workflows.sampling_ablation", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a setting that takes about a minute")
    parser.add_argument("--out", type=Path, default=Path("out/ablation"), help="folder to write to")
    parser.add_argument("--earth", type=Path, help="a synthetic Earth with scenes that is there already")
    parser.add_argument("--seeds", type=int, help=f"runs of each arm; {FULL.seeds}")
    parser.add_argument("--steps", type=int, help=f"of a run; {FULL.steps}")
    asked = parser.parse_args()
    # As csmoe-train does: threads that wait by spinning take the cores from those that have work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    size = SMALL if asked.small else FULL
    size = replace(size, seeds=asked.seeds or size.seeds, steps=asked.steps or size.steps)
    keep_settings(asked.out, size)
    pool = bring_pool(asked.out, asked.earth, size)
    arms = tomllib.loads((HERE / "arms.toml").read_text(encoding="utf-8"))
    for seed in range(size.seeds):
        run_floors(pool, asked.out, size, seed)
        for name, arm in arms.items():
            run_arm(pool, asked.out, size, (name, arm), seed)
    write_all(asked.out, list(arms))


def run_arm(pool: Pool, out: Path, size: Size, arm: tuple[str, dict[str, Any]], seed: int) -> None:
    """Draws a sample, learns from it, and asks the probes; nothing where that is done."""
    name, settings = arm
    result = out / "results" / f"{name}-{seed}.json"
    if result.exists():
        return
    from workflows.sampling_ablation.runs import learn

    print(f"\n{name}, seed {seed}", flush=True)
    strata = {"strata": {"min_size": size.min_size}}
    tiles = draw_sample(pool, strata | settings, size.n, seed)
    sample, run = out / "samples" / f"{name}-{seed}.parquet", out / "runs" / f"{name}-{seed}"
    write_sample(pool, tiles, sample)
    learn(sample, out / "chips.zarr", _run_config(out, size, seed), run)
    measured = measure_sample(pool, tiles, strata)
    figures = _probes(out).of_run(run) | {f"sample/{key}": value for key, value in measured.items()}
    _write_result(result, name, seed, figures)


def run_floors(pool: Pool, out: Path, size: Size, seed: int) -> None:
    """Asks the probes about models that have learned nothing; nothing where that is done."""
    found = out / "results" / f"random-weights-{seed}.json"
    if not found.exists():
        figures = _probes(out).floor_of_random_weights(_run_config(out, size, seed), seed)
        _write_result(found, RANDOM_WEIGHTS, seed, figures)
    found = out / "results" / "statistics.json"
    if not found.exists():
        _write_result(found, STATISTICS, 0, _probes(out).floor_of_statistics())


def write_all(out: Path, arms: list[str]) -> None:
    """Writes table, figures and picture of all results."""
    results = read_results(out / "results")
    floors = [STATISTICS, RANDOM_WEIGHTS]
    write_csv(results, out / "results.csv")
    write_table(results, arms, floors, out / "table.md")
    draw_results(results, arms, floors, out / "results.png")
    print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}\n{out / 'table.md'}\n{out / 'results.png'}", flush=True)


def _probes(out: Path) -> Any:
    from workflows.sampling_ablation.runs import Probes

    return Probes(chips=out / "chips.zarr", held_out=out / "held_out.parquet")


def _run_config(out: Path, size: Size, seed: int) -> Any:
    """That of model.toml, with the statistics of all tiles there are to draw from, whatever the sample."""
    from csmoe_model.train.files import load_config

    own = {"max_steps": size.steps, "seed": seed, "batch": min(size.n, 32)}
    return load_config([HERE / "model.toml", out / "sensors.toml"], own)


def _write_result(path: Path, arm: str, seed: int, figures: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"arm": arm, "seed": seed, "figures": figures}, indent=1), encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main()
