"""The commands. Thin: options become a configuration, the work is in the packages beside; modules are imported late."""

from __future__ import annotations

import os
import sys

import typer
from typer.core import TyperGroup

from csmoe_model.cli.convert import convert
from csmoe_model.cli.embed import embed
from csmoe_model.cli.evaluate import app as evaluate
from csmoe_model.cli.export import export
from csmoe_model.cli.pack import pack
from csmoe_model.cli.pretrain import pretrain
from csmoe_model.cli.profile import profile
from csmoe_model.cli.prune import prune
from csmoe_model.cli.results import results
from csmoe_model.cli.stats import stats
from csmoe_model.errors import ModelError


class _InOrderOfUse(TyperGroup):
    def list_commands(self, ctx: object) -> list[str]:
        first = ["stats", "pretrain", "evaluate", "embed", "profile", "prune", "export", "results"]
        return sorted(self.commands, key=lambda name: first.index(name) if name in first else len(first))


app = typer.Typer(
    name="csmoe-train",
    cls=_InOrderOfUse,
    help="Compact cross-sensor models: pre-training, evaluation, and what they cost.",
    epilog="Add --debug to any command for the full traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(evaluate)
for command in (pretrain, embed, results, prune, profile, export, stats, pack, convert):
    app.command()(command)


def main() -> None:
    """Runs a command; our own errors become one line and exit code 1."""
    # Threads that wait by spinning take the cores from those that have work, wherever something else runs besides.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except ModelError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise SystemExit(130) from None
