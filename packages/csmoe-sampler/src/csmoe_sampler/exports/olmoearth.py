"""OlmoEarth: the list of places from which its pre-training data set is built.

`olmoearth_pretrain.dataset_creation.create_windows.from_lon_lat_list --fname` reads a JSON list of [longitude,
latitude]; it makes of each place the window of 256 pixels of 10 m that holds it, and chooses times by itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from csmoe_sampler.exports.task import Task
from csmoe_sampler.storage import write_bytes


def write(task: Task, out: Path) -> str:
    """Writes the centres of the footprints, in the order of the rank."""
    places = np.column_stack([task.manifest.column("lon"), task.manifest.column("lat")]).tolist()
    lines = ",\n".join(json.dumps(place) for place in places)
    write_bytes(out, f"[\n{lines}\n]\n".encode())
    return f"{len(places):,} places"
