"""Every Python and TOML block of the READMEs runs; every command they show exists."""

import importlib
import re
import shlex
import tomllib

import pytest

from csmoe_model.train.files import load_config as load_run
from csmoe_sampler.config import STAGES, BuildConfig
from pages import ROOT, run_python, texts

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md")), *sorted(ROOT.glob("docs/*.md"))]
ELSEWHERE = {"exports", "extending", "manifest"}
"""Pages whose Python runs in tests of their own: it needs files, or the readers of others."""


def name_of(page):
    return f"{page.parent.name}-{page.stem}"


def blocks(language):
    for page in PAGES:
        for number, text in enumerate(texts(language, page)):
            yield pytest.param(text, id=f"{name_of(page)}-{number}")


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in ELSEWHERE], ids=name_of)
def test_python_blocks_give_what_their_comments_say(page):
    run_python(page)


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
        options = {option for parameter in shown_command.params for option in parameter.opts + parameter.secondary_opts}
        for word in shlex.split(rest.split("   ")[0], comments=True):
            if word.startswith("--"):
                assert word in options, f"{name} has no {word}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([^)]+)\):", index))
    there = {page.name for page in (ROOT / "docs").iterdir() if page.suffix == ".md" or page.is_dir()}
    assert named == there - {"README.md", "__pycache__"}


@pytest.mark.parametrize("page", sorted(ROOT.glob("packages/*/README.md")), ids=name_of)
def test_what_goes_with_a_wheel_leans_on_no_file_beside_it(page):
    assert re.findall(r"\]\((?!https?://)[^)]+\)", page.read_text(encoding="utf-8")) == []
