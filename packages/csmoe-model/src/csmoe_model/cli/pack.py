"""The command `pack`: a data set as chips to pre-train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csmoe_model.cli.options import Quiet, Setting, layout_options


def pack(
    data: Annotated[Path, typer.Option(metavar="<path>", help="Folder of the data set.")],
    out: Annotated[Path, typer.Option(metavar="<path>", help="New folder for chips.zarr and sample.parquet.")],
    format: Annotated[
        str | None, typer.Option(metavar="<name>", help="Layout of the data set.", show_default="found")
    ] = None,
    option: Setting = None,
    size_px: Annotated[
        int | None, typer.Option(metavar="<int>", min=1, help="Edge of the chips.", show_default="as the images are")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="The test split too, which a model should not see.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make chips and a manifest of a data set, to pre-train on.

    Its training and validation samples, as `pretrain` takes them. Pixels are looked at before.
    """
    from csmoe_model.cli.progress import counting
    from csmoe_model.evaluation.checks import require_sound
    from csmoe_model.evaluation.dataset import SPLITS
    from csmoe_model.evaluation.layouts import open_set
    from csmoe_model.evaluation.pack import pack as write

    found = require_sound(open_set(data, format, layout_options(option=option)))
    splits = [split for split in SPLITS if (test or split != "test") and (found.split == split).any()]
    num = sum(len(found.of_split(split)) for split in splits)
    with counting("pack", num, "samples", quiet=quiet) as advance:
        chips, manifest = write(found, out, size_px=size_px, splits=splits, advance=advance)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{num:,} samples of {found.name} -> {manifest} with {chips.name}")
