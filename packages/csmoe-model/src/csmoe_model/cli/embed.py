"""`csmoe-train embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from csmoe_model.cli.options import Chips, Device, Manifest, Quiet


def embed(
    checkpoint: Annotated[Path, typer.Option(metavar="<path>", help="A checkpoint or run.")],
    manifest: Manifest,
    out: Annotated[Path, typer.Option(metavar="<path>", help="GeoParquet file to write.")],
    chips: Chips = None,
    sensor: Annotated[
        list[str] | None,
        typer.Option(metavar="<name>", help="Sensor, repeatable.", show_default="all of the model"),
    ] = None,
    per_patch: Annotated[
        bool, typer.Option("--per-patch", help="A row for each patch in place of one for each tile.")
    ] = False,
    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="Of the numbers that are kept.")] = "float32",
    batch: Annotated[int, typer.Option(metavar="<int>", min=1, help="Tiles at once.")] = 64,
    workers: Annotated[int, typer.Option(metavar="<int>", min=0, help="Loading processes.")] = 2,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Embed the chips of a manifest, in Major TOM's layout.

    GeoParquet with a row for each tile and sensor. A run that was stopped goes on where it was. A picture is drawn
    beside the file: where the embeddings are, and how they lie by their principal components.
    """
    from csmoe_model.cli.progress import counting
    from csmoe_model.device import find_device
    from csmoe_model.embedding.embedder import EmbedConfig, Embedder
    from csmoe_model.embedding.quicklook import draw_quicklook
    from csmoe_model.embedding.write import write_embeddings
    from csmoe_model.errors import ConfigError

    if out.suffix != ".parquet":
        raise ConfigError(f"--out {out}: name a file that ends in .parquet")
    config = EmbedConfig(
        sensors=tuple(sensor or ()),
        per_patch=per_patch,
        dtype=dtype,
        batch=batch,
        workers=workers,
        device=find_device(device).type,
    )
    embedder = Embedder(checkpoint, manifest, chips or manifest.with_name("chips.zarr"), config)
    with counting("embed", embedder.num_tiles, "tiles", quiet=quiet) as advance:
        found = write_embeddings(embedder, out, advance)
    lacking = [f"{count:,} tiles have no {name}" for name, count in found.missing.items() if count]
    typer.echo(f"{found.rows:,} embeddings of {embedder.num_tiles:,} tiles -> {out}")
    if lacking:
        typer.echo(f"no rows: {'; '.join(lacking)}")
    picture = out.with_suffix(".png")
    draw_quicklook(out, picture)
    typer.echo(f"quick look -> {picture}")
