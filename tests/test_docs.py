"""Every Python and TOML block of the READMEs runs; every command they show exists."""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from csmoe_model.train.files import load_config as load_run
from csmoe_sampler.config import STAGES, BuildConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md")), *sorted(ROOT.glob("docs/*.md"))]
ELSEWHERE = {"exports", "extending"}
"""Guides whose Python runs in tests of the same name in `sampler`: it needs files, or the readers of others."""


def blocks(language):
    for page in PAGES:
        if language == "python" and page.stem in ELSEWHERE:
            continue
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            yield pytest.param(text, id=f"{page.parent.name}-{page.stem}-{number}")


@pytest.mark.parametrize("text", list(blocks("python")))
def test_python_blocks_give_what_their_comments_say(text):
    names = {}
    for line in text.splitlines():
        code, _, said = line.partition("  # ")
        if said:
            assert repr(eval(code, names)) == said
        else:
            exec(code, names)


@pytest.mark.parametrize("text", list(blocks("toml")))
def test_toml_blocks_are_configurations(text, tmp_path):
    values = tomllib.loads(text)
    if "preset" in values:
        (tmp_path / "run.toml").write_text(text)
        load_run(tmp_path / "run.toml", {})
        return
    for name, stage in STAGES.items():
        stage.model_validate(values.pop(name, {}))
    BuildConfig.model_validate(values)


@pytest.mark.parametrize(("command", "package", "least"), [("sample", "sampler", 9), ("train", "model", 5)])
def test_commands_exist(command, package, least):
    from typer.main import get_command

    known = get_command(importlib.import_module(f"csmoe_{package}.cli").app).commands
    shown = re.findall(rf"csmoe-{command} +(\w+)([^\n`]*)", "\n".join(page.read_text() for page in PAGES))
    assert len(shown) >= least
    for name, rest in shown:
        assert name in known
        shown_command = known[name]
        if parts := getattr(shown_command, "commands", {}):
            name, _, rest = rest.strip().partition(" ")
            assert name in parts
            shown_command = parts[name]
        options = {option for parameter in shown_command.params for option in parameter.opts}
        for word in shlex.split(rest.split("   ")[0], comments=True):
            if word.startswith("--"):
                assert word in options, f"{name} has no {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target
