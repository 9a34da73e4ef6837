"""Selection: time, memory and covering radius, beside exact farthest-first, fpsample, k-means and random.

    uv run --group bench benchmarks/bench_selection.py            everything, about 15 minutes on two cores
    uv run --group bench benchmarks/bench_selection.py --only target|radius|growth|fpsample

The descriptors are synthetic: 11 land-cover shares, 30 climate shares and the position of every tile of a Major TOM
grid, drawn from smooth random fields on the sphere plus noise, so that they are as continuous, as sparse and as
correlated in space as real ones. Each figure comes from a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from csmoe_sampler.allocation import allocate
from csmoe_sampler.chance import tile_keys
from csmoe_sampler.features import Features, Position, Shares, build_features
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.metrics import covering
from csmoe_sampler.objectives import get_objective
from csmoe_sampler.selection import select
from csmoe_sampler.strata import Strata, stratify

NUM_COVERS, NUM_CLIMATES = 11, 30


class Legend:
    """As many classes as a legend of that size has, in groups of about five."""

    def __init__(self, name: str, size: int) -> None:
        self.labels = tuple(f"{name}{k}" for k in range(size))
        self.groups = tuple(f"{name}_{k // 5}" for k in range(size))


def fields(rng: np.random.Generator, place: np.ndarray, num_fields: int) -> np.ndarray:
    """(n, num_fields) smooth random fields at points (n, 3) of the unit sphere: plane waves of 6000 to 30 km."""
    result = np.zeros((len(place), num_fields), np.float32)
    for wave in np.geomspace(3, 600, 10):
        direction = rng.normal(size=(3, num_fields))
        turn = (direction * wave / np.linalg.norm(direction, axis=0)).astype(np.float32)
        phase = place @ turn + rng.uniform(0, 2 * np.pi, num_fields).astype(np.float32)
        result += np.sin(phase) * np.float32(1.5 * wave**-0.35)
    return result


def shares_of(logits: np.ndarray, sharpness: float) -> np.ndarray:
    """Class shares, zero below 1 %."""
    shares = np.exp(sharpness * (logits - logits.max(axis=1, keepdims=True)))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[shares < 0.01] = 0
    return shares / shares.sum(axis=1, keepdims=True)


def population(num_tiles: int, seed: int = 0) -> tuple[Features, Strata]:
    """Features and strata of about `num_tiles` tiles that cover the globe."""
    grid = TileGrid(float(np.round(10 * np.sqrt(5_094_350 / num_tiles), 3)))
    tiles = np.arange(grid.size)
    lon, lat = grid.centre(tiles)
    x, y = np.radians(lon), np.radians(lat)
    place = np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=1).astype(np.float32)
    covers = np.empty((len(tiles), NUM_COVERS), np.float32)
    climates = np.empty((len(tiles), NUM_CLIMATES), np.float32)
    centres = np.linspace(-1.4, 1.4, NUM_CLIMATES)
    for first in range(0, len(tiles), 250_000):
        part = slice(first, first + 250_000)
        noise = np.random.default_rng([seed, first]).normal(0, 0.15, (len(place[part]), NUM_COVERS))
        covers[part] = shares_of(fields(np.random.default_rng(seed), place[part], NUM_COVERS) + noise, 4.0)
        warped = y[part, None] + 0.25 * fields(np.random.default_rng(seed + 1), place[part], NUM_CLIMATES)
        climates[part] = shares_of(-np.abs(warped - centres), 60.0)
    strata = stratify(
        climates.argmax(1).astype(np.int16), covers.argmax(1).astype(np.int16), Legend("k", 30), Legend("c", 11), 200
    )
    blocks = [
        Shares(columns=list(covers.T), weight=1.0),
        Shares(columns=list(climates.T), weight=0.5),
        Position(lon=lon, lat=lat, weight=0.5),
    ]
    return build_features(blocks, tile_keys(seed, tiles)), strata


def one_stratum(features: Features) -> Strata:
    """All tiles in one."""
    num = len(features)
    return Strata(labels=("all",), of_tile=np.zeros(num, np.int32), size=np.array([num]), level=np.zeros(1, np.int64))


def plain_farthest_first(values: np.ndarray, keys: np.ndarray, quota: int) -> np.ndarray:
    """Gonzalez 1985 as written: every point against every new one, exact, in numpy."""
    wide = values.astype(np.float32)
    norm = np.einsum("nd,nd->n", wide, wide, dtype=np.float64)
    nearest, order = np.full(len(wide), np.inf), [int(np.argmin(keys))]
    for _ in range(quota - 1):
        taken = order[-1]
        nearest = np.minimum(nearest, norm + norm[taken] - 2.0 * (wide @ wide[taken]))
        order.append(int(np.argmax(nearest)))
    return np.array(order)


def radius(features: Features, rows: np.ndarray) -> float:
    """Exact covering radius in units of D."""
    return covering(features, rows, max_probes=len(features)).radius


def run_target(num_tiles: int, n: int, objective: str, workers: int) -> dict[str, float]:
    """A whole selection as `csmoe-sample select` makes it."""
    started = time.perf_counter()
    features, strata = population(num_tiles)
    prepared = time.perf_counter()
    allocation = allocate(strata.size, n, alpha=0.5, floor=1, cap=None)
    before = time.process_time()
    chosen = select(strata, allocation, features, get_objective(objective), seed=0, workers=workers)
    return {
        "tiles": len(features),
        "n": chosen.rows.size,
        "strata": len(strata),
        "dims": features.values.shape[1],
        "prepare_s": prepared - started,
        "select_s": time.perf_counter() - prepared,
        "cpu_s": time.process_time() - before,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def run_radius(num_tiles: int, n: int) -> dict[str, float]:
    """Covering radius in one stratum, every method on the same tiles."""
    features, _ = population(num_tiles)
    strata, result = one_stratum(features), {"tiles": len(features), "n": n}
    allocation = allocate(strata.size, n, alpha=0.5, floor=1, cap=None)
    for name in ("diverse", "spread", "kmeans", "random"):
        get_objective(name).order(features.take(np.arange(2000)), 50, 0)  # compile
        started = time.perf_counter()
        rows = select(strata, allocation, features, get_objective(name), seed=0, workers=1).rows
        result[f"{name}_s"] = time.perf_counter() - started
        result[f"{name}_radius"] = radius(features, rows)
    started = time.perf_counter()
    rows = plain_farthest_first(features.values, features.keys, n)
    result["exact_s"] = time.perf_counter() - started
    result["exact_radius"] = radius(features, rows)
    result["radius_ratio"] = result["diverse_radius"] / result["exact_radius"]
    result["speed_ratio"] = result["exact_s"] / result["diverse_s"]
    return result


def run_fpsample(num_tiles: int, n: int) -> dict[str, float]:
    """Beside fpsample, whose fastest variant takes at most 8 dimensions: the 8 widest columns for both."""
    import fpsample

    features, _ = population(num_tiles)
    widest = np.argsort(-features.values.astype(np.float32).var(axis=0), kind="stable")[:8]
    narrow = Features(values=np.ascontiguousarray(features.values[:, widest]), keys=features.keys, scale=features.scale)
    diverse = get_objective("diverse")
    diverse.order(narrow.take(np.arange(2000)), 50, 0)  # compile
    started = time.perf_counter()
    ours = diverse.order(narrow, n, 0)
    middle = time.perf_counter()
    theirs = fpsample.bucket_fps_kdline_sampling(narrow.values.astype(np.float32), n, h=9, start_idx=int(ours[0]))
    ended = time.perf_counter()
    return {
        "tiles": len(features),
        "n": n,
        "diverse_s": middle - started,
        "fpsample_s": ended - middle,
        "speed_ratio": (ended - middle) / (middle - started),
        "diverse_radius": radius(narrow, ours),
        "fpsample_radius": radius(narrow, np.asarray(theirs, np.int64)),
    }


CASES = {
    "target": [("target", 5_094_350, 500_000, "diverse", 2)],
    "radius": [("radius", 100_000, 10_000)],
    "fpsample": [("fpsample", 1_000_000, 100_000)],
    "growth": [
        ("target", size, size // 10, "diverse", 2) for size in (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
    ],
    "objectives": [
        ("target", 1_000_000, 100_000, name, 2) for name in ("diverse", "spread", "random", "proportional", "kmeans")
    ],
}


def main() -> None:
    """Runs the cases, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(CASES), help="one group of cases")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        kind, *values = arguments.case
        print(json.dumps({"target": run_target, "radius": run_radius, "fpsample": run_fpsample}[kind](*values)))
        return
    for group in [arguments.only] if arguments.only else CASES:
        for case in CASES[group]:
            answer = subprocess.run(
                [sys.executable, __file__, "--case", json.dumps(case)], check=True, capture_output=True, text=True
            )
            figures = {key: round(value, 4) for key, value in json.loads(answer.stdout.splitlines()[-1]).items()}
            print(group, *case[1:], figures, flush=True)


if __name__ == "__main__":
    main()
