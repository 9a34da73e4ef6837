"""Wheels and source archives hold what they should and nothing else, and say what they are."""

import email
import re
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["csmoe-sampler", "csmoe-model"]
KINDS = {".py", ".toml", ".html", ".typed"}
PROGRAMS = {
    "csmoe-sampler": "csmoe-sample = csmoe_sampler.cli:main",
    "csmoe-model": "csmoe-train = csmoe_model.cli:main",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with a source archive of each package, and the wheel that was made from it."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the path")
    out = tmp_path_factory.mktemp("wheels")
    command = ["uv", "build", "--all-packages", "--offline", "--quiet", "--out-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and "uv_build" in done.stderr:
        pytest.skip("this release of uv has no fitting uv_build in it, and there is no network to fetch it")
    assert done.returncode == 0, done.stderr
    return out


def wheel(built, name):
    return zipfile.ZipFile(next(built.glob(f"{name.replace('-', '_')}-*.whl")))


def told(built, name):
    """The head of the metadata, and the text below it."""
    with wheel(built, name) as archive:
        (path,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        head = email.message_from_bytes(archive.read(path))
        return head, archive.read(path).decode().partition("\n\n")[2]


def sources(name):
    """What stands below `src`, but for what Python and numba leave there."""
    folder = ROOT / "packages" / name / "src"
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path for path in files}


@pytest.mark.parametrize("name", NAMES)
def test_a_wheel_is_the_sources_and_its_papers(built, name):
    with wheel(built, name) as archive:
        files = {one for one in archive.namelist() if not one.endswith("/")}
        papers = {one for one in files if ".dist-info/" in one}
        assert {PurePosixPath(one).name for one in papers} == {
            *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE")
        }
        wanted = sources(name)
        assert files - papers == set(wanted)
        assert {PurePosixPath(one).suffix for one in wanted} <= KINDS
        assert f"{name.replace('-', '_')}/py.typed" in wanted
        assert all(archive.read(one) == path.read_bytes() for one, path in wanted.items())


def test_the_sampler_brings_its_data(built):
    with wheel(built, "csmoe-sampler") as archive:
        found = [one for one in archive.namelist() if one.endswith((".toml", ".html"))]
    counts = {
        folder: sum(folder in one for one in found) for folder in ("legends/", "scenes/providers/", "report/page")
    }
    assert counts == {"legends/": 9, "scenes/providers/": 3, "report/page": 1}
    assert len(found) == 13


@pytest.mark.parametrize("name", NAMES)
def test_the_licence_travels(built, name):
    text = (ROOT / "LICENSE").read_bytes()
    with wheel(built, name) as archive:
        (path,) = [one for one in archive.namelist() if one.endswith("/LICENSE")]
        assert archive.read(path) == text
    with tarfile.open(next(built.glob(f"{name.replace('-', '_')}-*.tar.gz"))) as archive:
        found = {PurePosixPath(one.name).relative_to(one.name.split("/")[0]).as_posix(): one for one in archive}
        assert found["LICENSE"].isfile(), "a file, not a link out of the archive"
        assert archive.extractfile(found["LICENSE"]).read() == text
        assert "README.md" in found
        assert not any(re.search(r"__pycache__|\.nb[ci]$|\.pyc$", one) for one in found)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_say_what_it_is(built, name):
    head, text = told(built, name)
    project = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
    assert (head["Name"], head["Version"], head["Summary"]) == (name, project["version"], project["description"])
    assert (head["License-Expression"], head.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert head["Requires-Python"] == ">=3.11"
    assert head["Description-Content-Type"] == "text/markdown"
    assert text.strip() == (ROOT / "packages" / name / "README.md").read_text(encoding="utf-8").strip()
    assert "earth observation" in head["Keywords"].split(",")
    assert "Typing :: Typed" in head.get_all("Classifier")
    assert not [one for one in head.get_all("Classifier") if one.startswith("License ::")], "the expression says it"
    assert {one.partition(">")[0] for one in head.get_all("Requires-Dist") if "extra ==" not in one} == {
        one.partition(">")[0] for one in project["dependencies"]
    }
    with wheel(built, name) as archive:
        (path,) = [one for one in archive.namelist() if one.endswith("entry_points.txt")]
        assert PROGRAMS[name] in archive.read(path).decode()
