"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Manifest = Annotated[Path, typer.Option(metavar="<path>", help="The sampler's manifest, with chips.")]
Chips = Annotated[
    Path | None,
    typer.Option(metavar="<path>", help="The chip store.", show_default="chips.zarr beside the manifest"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
