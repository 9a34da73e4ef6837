"""The command `stats`: what standardises the chips of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csmoe_model.cli.options import Chips, Manifest, Quiet


def stats(
    manifest: Manifest,
    chips: Chips = None,
    split: Annotated[str, typer.Option(help="The split to measure.")] = "train",
    every_band: Annotated[
        bool, typer.Option("--every-band", help="Bands too that a model leaves out by default, those of 60 m.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="TOML file to write.", show_default="standard output")] = None,
    quiet: Quiet = False,
) -> None:
    """Measure mean and standard deviation of every band.

    Over the valid pixels of a split's chips. What comes back is the `[model.sensors]` of a training configuration.
    """
    from csmoe_model.cli.progress import counting
    from csmoe_model.data.manifest import read_rows
    from csmoe_model.data.statistics import as_toml, measure_chips, sensors_of, standard_bands, write_text
    from csmoe_model.data.store import ChipStore

    store = ChipStore(chips or manifest.with_name("chips.zarr"))
    rows = read_rows(manifest, store).of_split(split, least=1)
    bands = standard_bands(store, every=every_band)
    with counting("stats", len(rows), "chips", quiet=quiet) as advance:
        moments = measure_chips(store, rows.chip.tolist(), bands, advance)
    text = as_toml(sensors_of(store, moments, bands))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
        typer.echo(f"{len(rows):,} chips of split '{split}' -> {out}")
