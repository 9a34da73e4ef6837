"""Exact search of the k nearest by cosine, beside plain FAISS (IndexFlatIP) and what the machine could do at best.

    python benchmarks/bench_retrieval.py [--num 1000000] [--dim 768] [--queries 1024] [--k 10] [--threads 2]

Both search the same seeded features in turn, and the best of the repeats counts. FAISS is given features that are of
unit length already and in its index, neither of which is timed; ours takes them as they are. Features that lie around a
common direction, as those of untrained models, are harder to tell apart: `--spread 0.1` draws such. Limits: the
products of all queries with all items at the pace of the machine's own matrix product, and one reading of the archive.
Results differ only where float32 does not tell cosines apart: in how many places, and cosines by how much at most.
"""

from __future__ import annotations

import argparse
import time

import faiss
import numpy as np
import torch

from csmoe_model.evaluation.search import Exclusion, quick_kinds, search


def draw(num, dim, spread, seed):
    chance = torch.Generator().manual_seed(seed)
    found = torch.empty(num, dim)
    for part in found.split(65_536):
        part.normal_(generator=chance)
    common = torch.randn(dim, generator=torch.Generator().manual_seed(99))
    return found.mul_(spread).add_(common) if np.isfinite(spread) else found


def seconds(work, repeats):
    taken, found = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        found = work()
        taken.append(time.perf_counter() - start)
    return min(taken), found


def pace_of_products(kind, queries, dim):
    """FLOP/s of a product of the size that a search would do."""
    one, other = torch.randn(queries, dim).to(kind), torch.randn(8192, dim).to(kind)
    return 2 * queries * 8192 * dim / seconds(lambda: one @ other.T, 10)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=1024)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spread", type=float, default=float("inf"), help="inf: no common direction")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    archive = draw(arguments.num, arguments.dim, arguments.spread, 0)
    queries = draw(arguments.queries, arguments.dim, arguments.spread, 1)
    index = faiss.IndexFlatIP(arguments.dim)
    for part in archive.split(65_536):
        index.add(torch.nn.functional.normalize(part, dim=1).numpy())
    unit = torch.nn.functional.normalize(queries, dim=1).numpy()
    itself = Exclusion(codes=((np.arange(arguments.queries), np.arange(arguments.num)),))

    plain_s, (values, wanted) = seconds(lambda: index.search(unit, arguments.k), arguments.repeats)
    own_s, (numbers, cosines) = seconds(lambda: search(queries, archive, arguments.k), arguments.repeats)
    excluding_s, _ = seconds(lambda: search(queries, archive, arguments.k, itself), 1)
    flop = 2 * arguments.num * arguments.dim * arguments.queries
    paces = {kind: pace_of_products(kind, min(arguments.queries, 1024), arguments.dim) for kind in quick_kinds()}
    reading_s, _ = seconds(lambda: archive.sum(), 2)

    print(f"{arguments.queries:,} queries, {arguments.num:,} x {arguments.dim}, {arguments.threads} threads")
    print(f"{'FAISS IndexFlatIP':34}{plain_s:9.2f} s {flop / plain_s / 1e9:8.0f} GFLOP/s")
    print(f"{'search':34}{own_s:9.2f} s {flop / own_s / 1e9:8.0f} GFLOP/s   {plain_s / own_s:.2f}x FAISS")
    print(f"{'search without a number each':34}{excluding_s:9.2f} s {'':17}  {plain_s / excluding_s:.2f}x FAISS")
    for kind, pace in paces.items():
        print(f"{f'limit: products in {kind}'[:33]:34}{flop / pace:9.2f} s {pace / 1e9:8.0f} GFLOP/s")
    print(f"{'limit: archive read once':34}{reading_s:9.2f} s {archive.nbytes / reading_s / 1e9:8.1f} GB/s")
    print(
        f"same item in {np.mean(numbers == wanted):.6%} of places; cosines differ by {abs(cosines - values).max():.1e}"
    )


if __name__ == "__main__":
    main()
