"""TorchGeo: GeoTIFFs in a folder a sensor and UTM zone, which its stock `RasterDataset` reads.

    s2/32631/543U_17R_20210601.tif

A `RasterDataset` has one CRS; a folder a zone means that none of its pixels are warped.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from csmoe_sampler.chips.export import Job
from csmoe_sampler.chips.geotiff import write_layer
from csmoe_sampler.chips.rows import ChipRow
from csmoe_sampler.exports.chip_files import write_chips
from csmoe_sampler.exports.task import Task, record_name
from csmoe_sampler.progress import Progress
from csmoe_sampler.storage import write_bytes

SAMPLES = "samples.csv"


def write(task: Task, out: Path) -> str:
    """Writes the folders, and `samples.csv` with the split of every file."""
    return write_chips(task, out, "torchgeo", _write_zones)


def _write_zones(job: Job, out: Path, progress: Progress) -> tuple[str, ...]:
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(["tile_id", "season", "split", "crs", *job.rows.layers])
    folders: set[str] = set()
    for chip in job.rows.read(job.wanted):
        names = {layer: _place(chip, layer) for layer in chip.arrays}
        for layer, name in names.items():
            if not (out / name).exists():
                write_layer(chip, layer, job.rows, out / name)
            folders.add(str(Path(name).parent))
        split = job.about.get(chip.tile_id, {}).get("split", "")
        table.writerow([chip.tile_id, chip.season, split, chip.facts["crs"], *names.values()])
        if chip.season == job.rows.seasons[-1]:
            progress.advance(1)
    write_bytes(out / SAMPLES, lines.getvalue().encode())
    return tuple(sorted(folders))


def _place(chip: ChipRow, layer: str) -> str:
    """`s2/32631/543U_17R_20210601.tif`; the season where the day is not known."""
    time = chip.facts.get(f"{'s1' if layer == 's1' else 's2'}_time")
    day = time[:10].replace("-", "") if time else None
    name = f"{chip.tile_id}_{day}" if day else record_name(chip.tile_id, chip.season)
    return f"{layer}/{str(chip.facts['crs']).rpartition(':')[2]}/{name}.tif"
