"""The workspace as a user's tools see it."""

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def requirements(package: str) -> str:
    command = ["uv", "export", "--package", package, "--locked", "--no-hashes", "--no-dev", "--quiet"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_sampler_brings_no_torch():
    names = {line.split("==")[0].strip() for line in requirements("csmoe-sampler").splitlines() if "==" in line}
    assert "rasterio" in names
    assert not {name for name in names if name.startswith(("torch", "nvidia", "timm"))}


def test_versions_agree():
    versions = {
        tomllib.loads(path.read_text())["project"]["version"]
        for path in [ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml")]
    }
    assert len(versions) == 1
