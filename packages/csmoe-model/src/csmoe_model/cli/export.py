"""`csmoe-train export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    checkpoint: Annotated[Path, typer.Option(metavar="<path>", help="Checkpoint folder or run.")],
    to: Annotated[
        Literal["card", "huggingface", "timm", "terratorch", "torchgeo", "pangaea", "geobench", "onnx"],
        typer.Option(help="For whom."),
    ],
    out: Annotated[Path, typer.Option(metavar="<path>", help="Folder, or file of onnx and card; a new one.")],
    sensor: Annotated[
        list[str] | None,
        typer.Option(metavar="<name>", help="Sensor, repeatable; one for timm.", show_default="all that the model has"),
    ] = None,
    layer: Annotated[
        list[int] | None,
        typer.Option(
            metavar="<int>",
            help="Block whose features are given, repeatable, from 0 on; negative ones from the end.",
            show_default="four, evenly spread; onnx: the last",
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="Folder of `evaluate`, repeatable: its table goes on the model card."),
    ] = None,
) -> None:
    """Give a model to another project.

    A folder has config.json, model.safetensors, a model card and, for terratorch, torchgeo, pangaea and geobench, a
    file that loads it there. A card alone is Markdown. An ONNX file holds pooled and dense features and is checked with
    onnxruntime.
    """
    from csmoe_model.errors import ConfigError

    if to == "card":
        from csmoe_model.adapters.card import write_card

        if sensor or layer:
            raise ConfigError("--to card: tells of the whole model: leave --sensor and --layer out")
        typer.echo(f"model card -> {write_card(checkpoint, out, results or ())}")
        return
    if to == "onnx":
        if results:
            raise ConfigError("--to onnx: the file has no card for --results: write one with --to card")
        from csmoe_model.adapters.onnx import export_onnx

        found = export_onnx(checkpoint, out, sensor, layer)
        typer.echo(
            f"{out}: {found.size_bytes / 1e6:.1f} MB, opset {found.opset}, off by {found.difference:.1e} from torch; "
            f"{', '.join(found.inputs)} -> {', '.join(found.outputs)}"
        )
        return
    if to == "timm":
        from csmoe_model.adapters.timm_registry import export_timm

        if sensor is None or len(sensor) != 1:
            raise ConfigError("--to timm: give one --sensor, whose images come")
        export_timm(checkpoint, out, sensor[0], results or ())
    else:
        from csmoe_model.adapters.folder import export_folder

        export_folder(checkpoint, out, to, sensors=sensor, layers=layer, results=results or ())
    typer.echo(f"{', '.join(sorted(path.name for path in out.iterdir()))} -> {out}")
