"""The report: one HTML page on what a manifest covers, how it was drawn, and how it compares."""

from __future__ import annotations

from pathlib import Path

from csmoe_sampler.manifest import Manifest
from csmoe_sampler.population import Population
from csmoe_sampler.report.data import ReportData
from csmoe_sampler.report.page import render_page
from csmoe_sampler.report.summary import summarise
from csmoe_sampler.storage import write_bytes

__all__ = ["ReportData", "render_page", "summarise", "write_report"]


def write_report(manifest: Manifest, population: Population, path: Path) -> ReportData:
    """Write the report of a manifest, atomically; returns the numbers on it.

    Args:
        manifest: A valid manifest.
        population: The candidates that it was drawn from.
        path: The HTML file; replaced when it exists.

    Raises:
        ManifestError: A tile of the manifest is not a candidate of that population.
        StorageError: The file cannot be written.
    """
    data = summarise(manifest, population)
    write_bytes(path, render_page(data).encode())
    return data
