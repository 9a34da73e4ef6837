"""Exported chips in a plain PyTorch loop: tar files and NumPy, no package of this project.

python workflows/reuse_for_other_models/loader.py out/reuse/webdataset
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

MISSING_DN = -32768


class TarChips(IterableDataset[dict[str, Any]]):
    """The tiles of a split: `s2` as reflectance and `s1` in dB, NaN where missing, with what the manifest says."""

    def __init__(self, folder: Path, split: str) -> None:
        self.shards, self.split = sorted(folder.glob("chips-*.tar")), split

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Tile by tile; every loading process has shards of its own."""
        worker = get_worker_info()
        shards = self.shards[worker.id :: worker.num_workers] if worker else self.shards
        for shard in shards:
            for about, arrays in _tiles(shard):
                if about["split"] == self.split:
                    s2 = torch.from_numpy(np.where(arrays["s2"] == MISSING_DN, np.nan, arrays["s2"] * 1e-4))
                    yield {"s2": s2.float(), "s1": torch.from_numpy(arrays["s1"]), "landcover": about["landcover"]}


def main(folder: Path) -> None:
    """Goes once through the training split."""
    count, total = 0, torch.zeros(2)
    for batch in DataLoader(TarChips(folder, "train"), batch_size=8, num_workers=0):
        count += len(batch["landcover"])
        total += batch["s1"].nanmean((2, 3)).nansum(0)
    assert not any(name.startswith("csmoe") for name in sys.modules), "none of our packages is needed"
    print(f"{count} tiles for training, mean backscatter {', '.join(f'{value:.1f}' for value in total / count)} dB")


def _tiles(shard: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What is known of each tile, and its arrays: members of a tile follow one another."""
    with tarfile.open(shard) as tar:
        for _, members in itertools.groupby(tar, lambda member: member.name.split(".")[0]):
            about, arrays = {}, {}
            for member in members:
                file = tar.extractfile(member)
                assert file is not None
                name, _, kind = member.name.split(".", 1)[1].rpartition(".")
                if kind == "json":
                    about = json.load(file)
                else:
                    arrays[name] = np.load(io.BytesIO(file.read()), allow_pickle=False)
            yield about, arrays


if __name__ == "__main__":
    main(Path(sys.argv[1]))
