"""GeoTIFFs, a folder a tile; see `chips.geotiff`."""

from __future__ import annotations

from pathlib import Path

from csmoe_sampler.exports.chip_files import write_chips
from csmoe_sampler.exports.task import Task


def write(task: Task, out: Path) -> str:
    """Writes the folder."""
    return write_chips(task, out, "geotiff")
