"""Stores with places, a model with random weights, and embedding in a process that can be killed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from csmoe_model.embedding import write
from csmoe_model.embedding.embedder import EmbedConfig, Embedder
from csmoe_model.train.checkpoint import save_model

ZONES = ("EPSG:32633", "EPSG:32733", "EPSG:32660")
CHIP_PX = 40
"""Of which a model of 32 px sees the middle."""


def write_inputs(folder: Path, *, num: int = 11) -> tuple[Path, Path, Path]:
    """Checkpoint, manifest and chips in three zones, one over the antimeridian; row 4 lacks s1, row 2 has no chip."""
    # Not for processes that are started only to be killed
    import zarr

    from model.chip_stores import write_chips
    from model.small_models import built, model_config, train_config

    chips = write_chips(folder, num=num, size=CHIP_PX, failed=(2,))
    group = zarr.open_group(chips.store, mode="r+")
    # The antimeridian is 3 degrees east of the middle of zone 60.
    west = np.array([450_000.0, 300_000.0, 833_778.0])[np.arange(num) % 3] + np.arange(num)
    south = np.array([5_300_000.0, 7_000_000.0, 90_000.0])[np.arange(num) % 3] + 7 * np.arange(num)
    group["bounds"][...] = np.stack([west, south, west + 400, south + 400], 1)
    group["crs"][...] = np.array(ZONES, object)[np.arange(num) % 3]
    group["s2_time"][...] = 1_600_000_000_000_000 + 86_400_000_000 * np.arange(num)
    group["s1_time"][...] = 1_700_000_000_000_000 + np.arange(num)
    for name in ("s1", "s2"):
        group[f"{name}_item"][...] = np.array([f"{name}-{k}" for k in range(num)], object)
    group["s1"][4] = np.nan
    valid = group["s1_valid"][...]
    valid[4] = 0
    group["s1_valid"][...] = valid
    config = train_config(model_config())
    checkpoint = save_model(folder / "model", built(config)[0], config)
    return checkpoint, chips.manifest, chips.store


def run(inputs: tuple[Path, Path, Path], out: Path, pause_s: float = 0.0, **changes: object) -> write.Embedded:
    """Embeds in batches of two tiles, a part each."""
    write._PART_ROWS = 1
    config = EmbedConfig(**{"batch": 2, "workers": 0, **changes})
    return write.write_embeddings(Embedder(*inputs, config), out, lambda _: time.sleep(pause_s))


def one_thread_run(inputs: tuple[Path, Path, Path], out: Path, pause_s: float) -> None:
    """In a process of its own."""
    import torch

    torch.set_num_threads(1)
    run(inputs, out, pause_s)


def content(path: Path) -> dict[str, list[object]]:
    """Columns."""
    return pq.read_table(path).to_pydict()
