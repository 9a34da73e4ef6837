"""What the commands say when they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from csmoe_sampler.audit import Audit
    from csmoe_sampler.chips import FetchResult
    from csmoe_sampler.manifest import Manifest
    from csmoe_sampler.pipeline import Outputs
    from csmoe_sampler.plan import Plan
    from csmoe_sampler.scenes import RequestPlan


_FAILURES = 10
"""Reasons that are told; all are in the list beside the store."""


def say_plan(plan: Plan) -> None:
    """What a build will take."""
    typer.echo(f"region {plan.region}: {plan.num_tiles:,} tiles, {plan.num_missing:,} of them still to describe")
    for name, cost in plan.reads.items():
        typer.echo(
            f"  {name:<12} {cost.files:>6,} files  {cost.requests:>9,} reads  {_size(cost.bytes):>9}"
            f"  {cost.pixels / 1e9:>9,.2f} Gpx"
        )
    typer.echo(f"time   about {_duration(plan.wall_s)} ({_duration(plan.download_s)} to bring, ", nl=False)
    typer.echo(f"{_duration(plan.decode_s)} to decode and count, side by side)")
    typer.echo(
        f"disk   about {_size(plan.atlas_bytes)} for the atlas, {_size(plan.manifest_bytes)} for {plan.n:,} rows"
    )


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def say_manifest(manifest: Manifest, outputs: Outputs) -> None:
    """What was drawn, and where it is."""
    for note in manifest.metadata["notes"]:
        typer.echo(f"note: {note}")
    if redrawn := manifest.metadata.get("scenes", {}).get("redrawn"):
        typer.echo(f"note: {redrawn:,} tiles without scenes gave way to the next of their strata")
    typer.echo(f"{len(manifest):,} tiles in {len(manifest.metadata['strata'])} strata -> {outputs.manifest}")
    if outputs.report:
        typer.echo(f"report -> {outputs.report}")


def say_requests(plan: RequestPlan) -> None:
    """What a pairing will ask for."""
    size = f", about {_size(plan.bytes)}" if plan.bytes else ""
    typer.echo(f"{plan.requests:,} requests for items{size}")


def say_chips(result: FetchResult, out: Path) -> None:
    """What was brought, and what was not."""
    from csmoe_sampler.chips.fetch import failures_of

    for text in result.warnings:
        typer.echo(f"warning: {text}")
    alike: dict[tuple[str, str], list[str]] = {}
    for failure in result.failed:
        alike.setdefault((failure.sensor, failure.reason), []).append(failure.tile_id)
    for (sensor, reason), tiles in list(alike.items())[:_FAILURES]:
        more = f" and {len(tiles) - 1:,} more" if len(tiles) > 1 else ""
        typer.echo(f"failed: tile {tiles[0]}{more}, {sensor}: {reason}")
    if result.failed:
        typer.echo(f"failed: {len(result.failed):,} in all, listed in {failures_of(out)}; for others in their place:")
        typer.echo(f"  pair --exclude {failures_of(out)} --overwrite, then fetch --reuse {out} --out ANOTHER")
    typer.echo(f"{int((result.chip >= 0).sum()):,} of {len(result.chip):,} chips -> {out}")


def say_audit(audit: Audit) -> None:
    """The figures of an audit, and its strata at both ends."""
    for name, value in audit.facts():
        typer.echo(f"{name:<34} {value}")
    typer.echo("\nstrata held least and most, beside a proportional sample and the targets:")
    lines = audit.rows(limit=8)
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    for first, *others in lines:
        numbers = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        typer.echo("  ".join([f"{first:<{widths[0]}}", *numbers]))
