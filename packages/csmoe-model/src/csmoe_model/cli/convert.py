"""`csmoe-train convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def convert(
    weights: Annotated[Path, typer.Argument(metavar="<weights.safetensors>", help="State dict of the official CSMAE.")],
    variant: Annotated[
        Literal["cecd", "cesd", "secd", "sesd"], typer.Option(help="Common or separate encoder and decoder.")
    ],
    out: Annotated[Path, typer.Option(metavar="<path>", help="Folder of the checkpoint, a new one.")],
    image_px: Annotated[int, typer.Option(metavar="<int>", help="Edge of the images.")] = 120,
    patch_px: Annotated[int, typer.Option(metavar="<int>", help="Edge of the patches.")] = 15,
) -> None:
    """Turn weights of the official CSMAE into a checkpoint.

    Pickles (.ckpt, .pt) are not read here. Where they come from, some lines of Python turn one into safetensors:

    \b
    state = torch.load("weights.ckpt", weights_only=True, map_location="cpu")
    state = {k: v.contiguous() for k, v in state["state_dict"].items()}
    safetensors.torch.save_file(state, "weights.safetensors")
    """  # noqa: D301 - Typer wants the character
    from csmoe_model.official import convert_weights

    typer.echo(f"checkpoint -> {convert_weights(weights, out, variant, image_px=image_px, patch_px=patch_px)}")
