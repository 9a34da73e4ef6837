"""What travels with a release: change log, citation, licence, and that they agree with the packages."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from csmoe_model.cli import app as train
from csmoe_sampler.cli import app as sample

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md")), *sorted(ROOT.glob("docs/*.md"))]
LICENCE = "Apache-2.0"


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def changes():
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def project(package):
    return tomllib.loads((package / "pyproject.toml").read_text())["project"]


def test_the_version_is_one(citation, changes):
    newest = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changes, re.MULTILINE)[0]
    assert {newest, citation["version"]} | {project(package)["version"] for package in PACKAGES} == {newest}


def test_the_citation_has_what_it_must(citation):
    assert citation["cff-version"] == "1.2.0"
    assert (citation["title"], citation["license"]) == ("csmoe", LICENCE)
    assert {"message", "authors"} <= set(citation)
    assert [set(author) for author in citation["authors"]] == [{"name"}]


def test_references_can_be_found(citation):
    for one in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(one), one
        assert all({"family-names", "given-names"} <= set(author) for author in one["authors"])
        assert ("doi" in one) != ("url" in one), f"{one['title']}: one address"
        assert re.fullmatch(r"10\.\d{4,}/\S+", one["doi"]) if "doi" in one else one["url"].startswith("https://arxiv")
        assert isinstance(one["year"], int)


def test_what_the_report_page_cites_is_cited(citation):
    """The methods section of the report has references of its own."""
    from csmoe_sampler.report.methods import _REFERENCES

    addresses = {one.get("url") or f"https://doi.org/{one['doi']}" for one in citation["references"]}
    assert {address for _, address in _REFERENCES} <= addresses


def commands(command, prefix=""):
    for name, one in command.commands.items():
        parts = getattr(one, "commands", None)
        yield from commands(one, f"{prefix}{name} ") if parts else [f"{prefix}{name}"]


@pytest.mark.parametrize("page", ["change log", "documentation"])
@pytest.mark.parametrize(
    ("program", "command"),
    [
        *(("csmoe-sample", command) for command in commands(get_command(sample))),
        *(("csmoe-train", command) for command in commands(get_command(train))),
    ],
)
def test_every_command_is_named(changes, program, command, page):
    if page == "change log":
        # Once with its program, then alone: `csmoe-sample build`, `select`.
        assert re.search(rf"`({program} )?{command}`", changes)
    else:
        shown = "\n".join(one.read_text(encoding="utf-8") for one in PAGES)
        words = r" +(?:\w+ \| )?".join(map(re.escape, command.split()))  # `demo quickstart | earth` shows two
        assert re.search(rf"{program} +{words}\b", shown)


def test_the_licence_is_apache_and_every_package_has_it():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.lstrip().startswith("Apache License\n")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    for package in PACKAGES:
        assert project(package)["license"] == LICENCE
        assert (package / "LICENSE").read_text(encoding="utf-8") == text, f"{package.name}: ln -s ../../LICENSE"


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
        assert "://" in target or (ROOT / target).exists(), target


def test_paths_of_the_contribution_guide_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|csmoe_\w+|cli|\.ci)/[^` ]+)`", text)
    assert len(named) > 12
    sources = [package / "src" for package in PACKAGES]
    below = [ROOT, *sources, *(source / source.parent.name.replace("-", "_") for source in sources)]
    for path in named:
        place = path.rsplit("/", 1)[0] if "NAME" in path else path
        assert any((folder / place).exists() for folder in below), path
