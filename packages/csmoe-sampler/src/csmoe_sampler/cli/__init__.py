"""The commands. Thin: options become a configuration, the work is in `pipeline`; modules are imported late."""

from __future__ import annotations

import sys

import typer

from csmoe_sampler.cli import demo
from csmoe_sampler.cli.pages import audit, report, validate
from csmoe_sampler.cli.pixels import export, fetch, pair
from csmoe_sampler.cli.sample import build, describe, plan, select
from csmoe_sampler.errors import SamplerError

app = typer.Typer(
    name="csmoe-sample",
    help="Representative, diverse Earth-observation tiles from land cover and climate.",
    epilog="Add --debug to any command for the full traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
demo_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Try everything offline, on a synthetic Earth."
)
for command in (build, describe, select, pair, fetch, report, plan, validate, audit, export):
    app.command()(command)
demo_app.command()(demo.earth)
demo_app.command()(demo.quickstart)
app.add_typer(demo_app, name="demo")


def main() -> None:
    """Runs a command; our own errors become one line and exit code 1."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except SamplerError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues where it was", err=True)
        raise SystemExit(130) from None
