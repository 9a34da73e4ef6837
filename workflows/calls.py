"""A step of a workflow: one of the two commands, shown as a person would type it, and run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

_MODULES = {"csmoe-sample": "csmoe_sampler", "csmoe-train": "csmoe_model"}


def call(command: str, *words: str | float | Path) -> None:
    """Run `csmoe-sample` or `csmoe-train` in this environment, after showing the line; its own messages follow.

    Raises:
        SystemExit: It failed; with its exit code.
    """
    line = [str(word) for word in words]
    print(f"\n$ {shlex.join([command, *line])}", flush=True)
    done = subprocess.run([sys.executable, "-m", _MODULES[command], *line], check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(done.returncode)


def once(result: Path, command: str, *words: str | float | Path) -> None:
    """`call`, unless its result is there already: for commands that write all or nothing and do not overwrite."""
    if result.exists():
        print(f"\n{result} is there: {command} {words[0]} is not run again", flush=True)
        return
    call(command, *words)
