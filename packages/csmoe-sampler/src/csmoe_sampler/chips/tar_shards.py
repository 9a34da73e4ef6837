"""Chips as WebDataset: tar files of plain NumPy arrays, the same bytes for the same chips."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from csmoe_sampler.chips.rows import ChipRow
from csmoe_sampler.progress import Progress
from csmoe_sampler.storage import atomic_path
from csmoe_sampler.types import Int64

if TYPE_CHECKING:
    from csmoe_sampler.chips.export import Job


def write_shards(job: Job, out: Path, progress: Progress) -> tuple[str, ...]:
    """Names of the tar files of `job.shard_chips` tiles each; those that are there are complete, and stay."""
    names = []
    for first in range(0, len(job.wanted), job.shard_chips):
        rows = job.wanted[first : first + job.shard_chips]
        name = f"chips-{first // job.shard_chips:06}.tar"
        names.append(name)
        if (out / name).exists():
            progress.advance(len(rows))
        else:
            with atomic_path(out / name) as temporary:
                _write_shard(job, rows, temporary, progress)
    return tuple(names)


def _write_shard(job: Job, rows: Int64, path: Path, progress: Progress) -> None:
    last_season = job.rows.seasons[-1]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for chip in job.rows.read(rows):
            ending = f".{chip.season}" if chip.season else ""
            for name, array in chip.arrays.items():
                _add(tar, f"{chip.tile_id}{ending}.{name}.npy", _npy(array))
            _add(tar, f"{chip.tile_id}{ending}.json", _json(job, chip))
            if chip.season == last_season:
                progress.advance(1)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, owner and group 0
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _json(job: Job, chip: ChipRow) -> bytes:
    layers = {
        name: {key: attributes[key] for key in sorted(attributes)} for name, attributes in job.rows.layers.items()
    }
    about = {"row": chip.row, **job.about.get(chip.tile_id, {}), **chip.facts}
    text = json.dumps({**about, "bands": job.rows.bands, "layers": layers}, allow_nan=False, separators=(",", ":"))
    return text.encode()
