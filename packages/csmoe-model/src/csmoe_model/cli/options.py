"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from csmoe_model.evaluation.layouts import LayoutOptions

Manifest = Annotated[Path, typer.Option(metavar="<path>", help="The sampler's manifest, with chips.")]
Chips = Annotated[
    Path | None,
    typer.Option(metavar="<path>", help="The chip store.", show_default="chips.zarr beside the manifest"),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto: the GPU if there is one.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="<key=value>", help="What the files of a data set leave open, as part=both; repeatable."
    ),
]


def layout_options(*, option: list[str] | None, **named: Any) -> LayoutOptions:
    """Layout options from those of the command line."""
    from pydantic import ValidationError

    from csmoe_model.errors import ConfigError
    from csmoe_model.evaluation.layouts import LayoutOptions
    from csmoe_model.train.files import problems

    values = {key: value for key, value in named.items() if value is not None}
    for one in option or ():
        key, equals, value = one.partition("=")
        if not equals:
            raise ConfigError(f"--set {one}: give key=value")
        values[key] = value.split(",") if key in ("bands", "classes", "shares") else value
    try:
        return LayoutOptions.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"data set: {problems(error)}") from error
