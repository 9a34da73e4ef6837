"""The command that removes experts a task does not need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from csmoe_model.cli.comparing import checked, finish, gathered, new, opened
from csmoe_model.cli.evaluate import (
    Batch,
    Data,
    Format,
    ImagePx,
    Label,
    Manifest,
    Metadata,
    Normalised,
    Out,
    Resamples,
    Unsound,
    Workers,
)
from csmoe_model.cli.options import Device, Quiet, Setting, layout_options

if TYPE_CHECKING:
    from csmoe_model.evaluation.pruning import Criterion


def prune(
    checkpoint: Annotated[Path, typer.Option(metavar="<path>", help="Checkpoint folder or run.")],
    data: Data,
    out: Out,
    keep: Annotated[
        float, typer.Option(metavar="<float>", min=0, max=1, help="Share of the experts of every layer that stays.")
    ] = 0.5,
    by: Annotated[
        Literal["gradient", "dispatch"], typer.Option(help="Gradient of the task's loss, or share of what tokens get.")
    ] = "gradient",
    format: Format = None,
    label: Label = None,
    manifest: Manifest = None,
    metadata: Metadata = None,
    option: Setting = None,
    normalise: Normalised = "auto",
    image_px: ImagePx = None,
    seed: Annotated[int, typer.Option(metavar="<int>", min=0, help="Of head, control and intervals.")] = 0,
    batch: Batch = 64,
    workers: Workers = 0,
    resamples: Resamples = 1000,
    unsound: Unsound = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Remove the experts that matter least to a task.

    The pruned model goes to OUT/model; beside it a table and a plot of what every number of experts costs and reaches,
    by both criteria and by chance.
    """
    import math
    from itertools import chain

    from csmoe_model.evaluation.candidates import candidates
    from csmoe_model.evaluation.classification import ClassifyConfig
    from csmoe_model.evaluation.extractors.own import trained
    from csmoe_model.evaluation.protocols import classification
    from csmoe_model.evaluation.pruning import mixtures, pruned
    from csmoe_model.evaluation.pruning_curve import importance_of, pruning_curve
    from csmoe_model.train.checkpoint import read_config, resolve, save_model

    new(out)
    whole = trained(checkpoint, image_px=image_px)
    num = next(iter(mixtures(whole.module).values())).num_experts
    experts = max(1, math.ceil(num * keep - 1e-9))
    layout = layout_options(label=label, manifest=manifest, metadata=metadata, option=option)
    loading = {"batch": batch, "workers": workers, "resamples": resamples}
    compared = opened(data, format, layout, normalise=normalise, device=device, unsound=unsound, quiet=quiet, **loading)
    criteria: tuple[Criterion, ...] = ("gradient", "dispatch", "chance")
    ranked = {criterion: importance_of(compared, whole, criterion, seed) for criterion in criteria}
    config = checked(ClassifyConfig, seed=seed, resamples=resamples)
    backbones = candidates(compared.data, [checkpoint], image_px=image_px)
    curve = pruning_curve(compared, whole.module, ranked, config)
    records = gathered(out, chain(classification(compared, backbones, config), curve))
    original = read_config(resolve(checkpoint))
    small = pruned(trained(checkpoint).module, ranked[by], experts)
    save_model(out / "model", small, original.model_copy(update={"model": small.config}))
    finish(out, records)
    typer.echo(f"{experts} of {num} experts a layer -> {out / 'model'}")
