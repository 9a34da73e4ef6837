"""Folders of chips, which all continue where an earlier run was stopped."""

from __future__ import annotations

from pathlib import Path

from csmoe_sampler.chips.export import Writer, export_chips
from csmoe_sampler.exports.task import Task


def write_chips(task: Task, out: Path, to: str, writer: Writer | None = None) -> str:
    """Writes the folder `out` in the format `to`; returns what was written in a few words."""
    assert task.chips is not None, "checked by the table of formats"
    exported = export_chips(task.chips, task.path, out, to, writer=writer, progress=task.progress)
    left_out = f", {len(exported.failed):,} tiles without pixels left out" if exported.failed else ""
    return f"{exported.num_chips:,} chips{left_out}"
