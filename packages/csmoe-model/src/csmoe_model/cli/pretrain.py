"""`csmoe-train pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from csmoe_model.cli.options import Chips, Device, Manifest, Quiet

if TYPE_CHECKING:
    from csmoe_model.train.config import TrainConfig


def pretrain(
    manifest: Manifest,
    chips: Chips = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="<name>", help="csmoe-SIZE-pPATCH or csmae-SIZE-pPATCH, see docs/presets.md."),
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="<path>",
            help="TOML with anything that decides a run, repeatable; later files go before, options before all.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="<path>", help="Folder of the run.", show_default="runs/<preset>")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, as it was begun.")] = False,
    init_from: Annotated[
        Path | None, typer.Option(metavar="<path>", help="Begin with the weights of this checkpoint or run.")
    ] = None,
    image_px: Annotated[int | None, typer.Option(metavar="<int>", help="Edge of the images.")] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="<int>", help="Passes over the chips.", show_default="150")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="<int>", help="In place of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(metavar="<int>", help="Places in a step, over all processes.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="<float>", help="Highest learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="<int>", help="Of all chance.", show_default="0")] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="<int>", help="Loading processes for each training process.", show_default="2")
    ] = None,
    precision: Annotated[
        Literal["32-true", "bf16-mixed"] | None, typer.Option(help="Of the arithmetic.", show_default="32-true")
    ] = None,
    compile: Annotated[bool | None, typer.Option("--compile/--no-compile", help="torch.compile the model.")] = None,
    device: Device = "auto",
    processes: Annotated[
        int, typer.Option(metavar="<int>", help="On this machine, one a GPU; torchrun's own number goes before.")
    ] = 1,
    wandb: Annotated[
        str | None, typer.Option(metavar="<project>", help="Log to Weights & Biases too (extra `wandb`).")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Pre-train a model on a manifest's chips, new or continued."""
    from csmoe_model.errors import ConfigError
    from csmoe_model.train.fabric import open_fabric
    from csmoe_model.train.files import load_config
    from csmoe_model.train.inputs import Inputs
    from csmoe_model.train.run import pretrain as run

    if resume and not out:
        raise ConfigError("--resume: name the run to go on with by --out")
    overrides: dict[str, Any] = {
        "model.image_px": image_px,
        "epochs": epochs,
        "max_steps": steps,
        "batch": batch,
        "optimiser.lr": lr,
        "seed": seed,
        "data.workers": workers,
        "precision": precision,
        "compile": compile,
    }
    base = _begun(out) if resume and out else None
    resolved = load_config(config, overrides, preset_name=preset, base=base)
    folder = out or Path("runs") / (preset or (config[0].stem if config else "csmoe"))
    inputs = Inputs(
        manifest=manifest,
        chips=chips or manifest.with_name("chips.zarr"),
        out=folder,
        resume=resume,
        init_from=init_from,
        wandb=wandb,
    )
    fabric = open_fabric(resolved, device, processes)
    last = run(resolved, inputs, fabric, quiet=quiet)
    if fabric.is_global_zero:
        typer.echo(f"checkpoint -> {last}")


def _begun(out: Path) -> TrainConfig | None:
    """The configuration that a run was begun with; None where there is no checkpoint."""
    from csmoe_model.train.checkpoint import CHECKPOINTS, checkpoints, read_config

    found = checkpoints(out / CHECKPOINTS)
    return read_config(found[-1]) if found else None
