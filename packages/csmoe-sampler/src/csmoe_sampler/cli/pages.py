"""Commands that look at what there is: report, validate, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csmoe_sampler.cli.options import Config, Quiet
from csmoe_sampler.cli.settings import runtime_of
from csmoe_sampler.cli.speech import say_audit
from csmoe_sampler.errors import SamplerError


def report(
    manifest: Annotated[Path, typer.Argument(help="A manifest.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    atlas: Annotated[
        Path | None, typer.Option(help="The atlas it was drawn from.", show_default="beside the manifest")
    ] = None,
    chips: Annotated[Path | None, typer.Option(help="Chip store to show pictures of.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write the report page of a manifest.

    Map, balance, coverage, comparison with random sampling, scenes, pictures of chips, methods, provenance: one HTML
    file that works offline.
    """
    from csmoe_sampler import pipeline

    described = pipeline.Outputs.beside(manifest, atlas=atlas).atlas
    pipeline.report(manifest, described, out, runtime_of(None, None, quiet), chips=chips)
    typer.echo(f"report in {out}")


def validate(manifest: Annotated[Path, typer.Argument(help="A manifest, or a chip store.")]) -> None:
    """Check a manifest or a chip store; name every violation."""
    if manifest.is_dir():
        from csmoe_sampler.chips.guards import check_store

        findings = check_store(manifest)
        for finding in findings:
            typer.echo(finding.message)
        if findings:
            raise SamplerError(f"{manifest}: {len(findings)} findings; the first is: {findings[0].message}")
        typer.echo(f"{manifest}: nothing looks wrong")
        return
    from csmoe_sampler.manifest import validate as violations_of

    violations = violations_of(manifest)
    for violation in violations:
        typer.echo(str(violation))
    if violations:
        raise SamplerError(f"{manifest}: {len(violations)} kinds of violation; the first is: {violations[0]}")
    typer.echo(f"{manifest}: sound")


def audit(
    points: Annotated[
        Path, typer.Argument(help="CSV with lon and lat or tile_id, a vector file, GeoParquet, or a manifest.")
    ],
    atlas: Annotated[Path, typer.Option(help="The atlas to hold it against.")],
    config: Config = None,
    out: Annotated[Path | None, typer.Option(help="Write all figures as JSON too.")] = None,
) -> None:
    """Say what a list of places covers.

    Climates, land covers and strata that it reaches, misses, or holds too much of, whoever has made it.
    """
    from csmoe_sampler import pipeline

    found = pipeline.audit(points, atlas, config, out)
    say_audit(found)
