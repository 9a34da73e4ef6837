"""Help on a terminal of 80 columns: every command, nothing cut short."""

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from csmoe_model.cli import app as train
from csmoe_sampler.cli import app as sample

APPS = {"csmoe-sample": sample, "csmoe-train": train}


def commands(command, *path):
    """Words of every command below."""
    found = [path]
    for name, below in getattr(command, "commands", {}).items():
        found += commands(below, *path, name)
    return found


EVERY = [(name, *path) for name, app in APPS.items() for path in commands(get_command(app))]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_help_fits_and_says_all(words):
    name, *path = words
    shown = CliRunner().invoke(APPS[name], [*path, "--help"], prog_name=name, env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(f"Usage: {' '.join(words)} ")
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith("  ") and line.endswith("...")] == []
    assert re.findall(r"  --\S+ <(?:list|Path|int range|float range).*", shown.stdout) == []
