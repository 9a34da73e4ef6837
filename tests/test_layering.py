"""Imports point one way, and the heavy worlds stay where they belong."""

import ast
from pathlib import Path

import pytest

PACKAGES = Path(__file__).resolve().parents[1] / "packages"
SAMPLER = PACKAGES / "csmoe-sampler" / "src" / "csmoe_sampler"
MODEL = PACKAGES / "csmoe-model" / "src" / "csmoe_model"

LAYERS = [
    ["errors"],
    ["types", "storage", "progress", "chance", "extensions"],
    ["config", "legend", "grid_rows", "grid_kernels", "footprints"],
    ["runs", "grid"],
    ["scanlines", "vectors", "regions"],
    ["placement", "zonal", "rasters", "descriptors"],
    ["remote", "stac", "scenes", "spectral", "koppen_kernels", "koppen", "normals", "climate", "sources"],
    ["engine", "atlas"],
    ["features", "strata", "allocation", "objectives", "interleave", "selection", "splits", "population", "metrics"],
    ["manifest", "sampling", "redraw", "chips", "audit", "report", "synthetic"],
    ["exports"],
    ["plan", "pipeline"],
    ["demo"],
    ["cli"],
    ["__main__"],
]
"""From the bottom up; a module may import from its own line and from those above it."""
MODEL_LAYERS = [
    ["errors"],
    ["device", "sensors"],
    ["config"],
    ["presets", "cost", "nn"],
    ["data"],
    ["train"],
    ["official", "profiling", "embedding", "evaluation"],
    ["adapters"],
    ["cli"],
    ["__main__"],
]
OWNERS = {
    "rasterio": {"rasters", "normals", "synthetic", "spectral", "chips"},
    "rioxarray": {"normals"},
    "pyogrio": {"regions", "vectors"},
    "typer": {"cli"},
    "requests": {"remote", "stac", "scenes", "climate"},
    "zarr": {"chips", "normals"},
    "pystac_client": {"stac"},
    "planetary_computer": {"remote"},
    "distributed": {"engine"},
}
MODEL_OWNERS = {
    "zarr": {"data", "evaluation"},
    "pyarrow": {"data", "embedding", "evaluation"},
    "lightning_fabric": {"train"},
    "safetensors": {"train", "cli", "evaluation", "adapters"},
    "matplotlib": {"train", "embedding", "evaluation"},
    "tensorboard": {"train"},
    "wandb": {"train"},
    "typer": {"cli"},
}


def imports(path: Path, *, at_top: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    # What stands under `if TYPE_CHECKING` is not imported at all.
    typed = {child for node in ast.walk(tree) if _is_type_checking(node) for child in ast.walk(node)}
    for node in tree.body if at_top else ast.walk(tree):
        if node in typed:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def unit(path: Path, package: Path) -> str:
    """The module or sub-package of a package that a file belongs to."""
    return path.relative_to(package).parts[0].removesuffix(".py")


FILES = [
    (path, package, layers, owners)
    for package, layers, owners in ((SAMPLER, LAYERS, OWNERS), (MODEL, MODEL_LAYERS, MODEL_OWNERS))
    for path in sorted(package.rglob("*.py"))
    if unit(path, package) != "__init__"
]


@pytest.mark.parametrize(
    ("path", "package", "layers", "owners"), FILES, ids=[str(path.relative_to(package)) for path, package, *_ in FILES]
)
def test_imports_point_down(path, package, layers, owners):
    level = {name: number for number, names in enumerate(layers) for name in names}
    own = unit(path, package)
    for name in imports(path):
        if name.startswith(f"{package.name}."):
            target = name.split(".")[1]
            assert level[target] <= level[own], f"{own} imports {target}, which stands above it"
        owner = owners.get(name.split(".")[0])
        assert owner is None or own in owner, f"{own} imports {name}, which belongs to {owner}"


def test_the_packages_never_import_each_other():
    for path in SAMPLER.rglob("*.py"):
        assert not any(name.split(".")[0] in {"csmoe_model", "torch"} for name in imports(path)), path
    for path in MODEL.rglob("*.py"):
        assert not any(name.split(".")[0] in {"csmoe_sampler", "rasterio"} for name in imports(path)), path


@pytest.mark.parametrize(
    "path",
    [path for package in (SAMPLER, MODEL) for path in sorted((package / "cli").glob("*.py"))],
    ids=lambda path: f"{path.parts[-3]}-{path.name}",
)
def test_the_command_line_imports_nothing_heavy(path):
    package = path.parts[-3]
    allowed = {
        "__future__",
        "sys",
        "os",
        "time",
        "collections.abc",
        "contextlib",
        "pathlib",
        "typing",
        "typer",
        "typer.core",
    }
    found = {name for name in imports(path, at_top=True) if not name.startswith(f"{package}.cli")}
    assert found <= allowed | {f"{package}.errors"}
