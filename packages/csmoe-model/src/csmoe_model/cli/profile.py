"""The command that says what models cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from csmoe_model.cli.options import Device


def profile(
    preset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<name>", help="Preset, repeatable.", show_default="csmoe-base-p14, where no --checkpoint is given"
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="Checkpoint folder or run in place of a preset, repeatable."),
    ] = None,
    batch: Annotated[
        int, typer.Option(metavar="<int>", min=2, help="Places encoded at once, and trained on in a step.")
    ] = 8,
    device: Device = "auto",
    precision: Annotated[Literal["32-true", "bf16-mixed"], typer.Option(help="Of the arithmetic.")] = "32-true",
    seconds: Annotated[
        float, typer.Option(metavar="<float>", min=0, help="About the time to measure each model beside its twins.")
    ] = 20,
    measure: Annotated[bool, typer.Option(help="Run the models; otherwise count only.")] = True,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all figures there too.")] = None,
) -> None:
    """Say what models cost, beside their dense twins.

    Parameters, multiply-adds from the configuration and by torch's counter, latency, throughput, peak memory and the
    cost of training. The slimmed control is the dense twin made narrower until it costs about as much as the model.
    """
    import json

    from rich.console import Console

    from csmoe_model.device import find_device
    from csmoe_model.errors import ConfigError, ModelError
    from csmoe_model.presets import preset as config_of
    from csmoe_model.profiling.compare import Settings, as_json, compare
    from csmoe_model.profiling.screen import machine_line, table, title
    from csmoe_model.train.checkpoint import model_config

    if json_path and not json_path.parent.is_dir():
        raise ConfigError(f"--json {json_path}: there is no folder {json_path.parent}; make it first")
    settings = Settings(
        device=find_device(device).type, precision=precision, batch=batch, seconds=seconds, measured=measure
    )
    models = {str(path): model_config(path) for path in checkpoint or ()}
    names = preset or ([] if models else ["csmoe-base-p14"])
    models |= {name: config_of(name) for name in names}
    screen, aside = Console(), Console(stderr=True)
    comparisons = []
    for name, config in models.items():
        with aside.status("") as status:
            found = compare(name, config, settings, status.update)
        comparisons.append(found)
        screen.print(title(found, settings), table(found, settings), "", sep="\n", highlight=False)
    screen.print(machine_line(settings), highlight=False)
    if json_path:
        json_path.write_text(json.dumps(as_json(comparisons, settings), indent=1) + "\n")
    problems = [problem for found in comparisons for problem in found.problems]
    if problems:
        raise ModelError("; ".join(problems))
