"""The report: one HTML page on what a manifest covers, how it was drawn, and how it compares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from csmoe_sampler.report.data import ReportData
from csmoe_sampler.report.page import render_page
from csmoe_sampler.report.section import Section
from csmoe_sampler.report.summary import summarise
from csmoe_sampler.storage import write_bytes

__all__ = ["ReportData", "Section", "render_page", "summarise", "write_report"]


def write_report(data: ReportData, path: Path, further: Sequence[Section] = ()) -> None:
    """Write the page with `further` sections, atomically; raises StorageError where that cannot be done."""
    write_bytes(path, render_page(data, further).encode())
