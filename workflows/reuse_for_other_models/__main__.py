"""The sampler for another model: own classes, descriptor and objective, a coarser grid, chips in others' formats."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from workflows.calls import call, once

HERE = Path(__file__).parent
TABLES = {"majortom": "majortom.parquet", "stac-geoparquet": "items.parquet", "rslearn": "rslearn"}
CHIPS = ("torchgeo", "webdataset")
Words = tuple[str | float | Path, ...]


def main() -> None:
    """Runs every stage that is not done."""
    parser = argparse.ArgumentParser(prog="python -m workflows.reuse_for_other_models", description=__doc__)
    parser.add_argument("--small", action="store_true", help="on a synthetic Earth, in about a minute")
    parser.add_argument("--out", type=Path, default=Path("out/reuse"), help="folder to write to")
    parser.add_argument("--earth", type=Path, help="with --small: a synthetic Earth with scenes that is there already")
    parser.add_argument("--places", type=Path, help="CSV of the places that you have, with columns lon and lat")
    parser.add_argument("--region", default="global", help="see csmoe-sample build; global")
    parser.add_argument("--n", type=int, help="tiles to draw; 10,000")
    parser.add_argument("--landcover", action="append", help="rasters of land cover, repeatable; WorldCover by STAC")
    parser.add_argument("--climate", help="map of climates; Beck et al. (2023)")
    asked = parser.parse_args()
    out: Path = asked.out
    out.mkdir(parents=True, exist_ok=True)
    sources: Words
    scenes: Words
    chips: Words
    if asked.small:
        earth = asked.earth or _write_earth(out)
        sources, scenes, chips = small_sources(earth), small_scenes(earth), ("--size-px", 64, "--pixel-m", 100)
        places = asked.places or _write_places(out / "places.csv", earth / "scenes.geojson")
    elif asked.places is None:
        parser.error("--places: name the list of places that you have")
    else:
        sources, scenes, chips, places = real_sources(asked), ("--items", "bulk"), (), asked.places
    manifest = build(out, places, sources)
    fetch(manifest, scenes, chips)
    export(manifest)
    audit(out, manifest, places)
    load(out / "webdataset")


def real_sources(asked: argparse.Namespace) -> Words:
    """Options of `build` for rasters and region of one's own."""
    words: list[str | float | Path] = ["--region", asked.region]
    words += [word for path in asked.landcover or () for word in ("--landcover", path)]
    words += ["--climate", asked.climate] if asked.climate else []
    return (*words, *(("--n", asked.n) if asked.n else ()))


def small_sources(earth: Path) -> Words:
    """Options of `build` for the rasters of a synthetic Earth, as files."""
    maps = earth / "esa-worldcover" / "map" / "*.tif"
    climate = earth / "koppen_geiger_0p1.tif"
    return ("--region", earth / "scenes.geojson", "--n", 40, "--landcover", maps, "--climate", climate)


def small_scenes(earth: Path) -> Words:
    """Options of `pair` for the scenes of a synthetic Earth."""
    return ("--scenes", earth / "catalog.json", "--seasons", "summer")


def build(out: Path, places: Path, sources: Words) -> Path:
    """The manifest: drawn by our own objective, over our own descriptor and classes."""
    manifest, config = out / "sample.parquet", out / "run.toml"
    text = (HERE / "run.toml").read_text(encoding="utf-8")
    config.write_text(text.replace("$PLACES", str(places)), encoding="utf-8")
    once(manifest, "csmoe-sample", "build", "--config", config, *sources, "--out", manifest)
    return manifest


def fetch(manifest: Path, scenes: Words, chips: Words) -> None:
    """Scenes and pixels of every tile; both commands continue by themselves."""
    store = manifest.with_name("chips.zarr")
    if not manifest.with_name("webdataset").exists():
        call("csmoe-sample", "pair", manifest, *scenes)
        call("csmoe-sample", "fetch", manifest, "--out", store, *chips)


def export(manifest: Path) -> None:
    """The sample as tables for three tools, its chips as folders for two."""
    for to, name in TABLES.items():
        out = manifest.with_name(name)
        once(out, "csmoe-sample", "export", manifest, "--to", to, "--out", out)
    for to in CHIPS:
        out = manifest.with_name(to)
        chips = ("--chips", manifest.with_name("chips.zarr"))
        # A folder of chips continues where it was; its summary comes last.
        once(out / "export.json", "csmoe-sample", "export", manifest, "--to", to, *chips, "--out", out)


def audit(out: Path, manifest: Path, places: Path) -> None:
    """What the places that we had cover of the population, and what the new sample covers of it."""
    atlas = manifest.with_name("sample.atlas.parquet")
    for name, points in (("places", places), ("sample", manifest)):
        found = out / f"audit_{name}.json"
        config = ("--atlas", atlas, "--config", out / "run.toml")
        once(found, "csmoe-sample", "audit", points, *config, "--out", found)


def load(folder: Path) -> None:
    """The loop of somebody who has none of our packages."""
    print(f"\n$ python {HERE / 'loader.py'} {folder}", flush=True)
    subprocess.run([sys.executable, HERE / "loader.py", folder], check=True)  # noqa: S603


def _write_earth(out: Path) -> Path:
    earth = out / "earth"
    once(earth / "scenes.geojson", "csmoe-sample", "demo", "earth", "--out", earth, "--scene-set", "small")
    return earth


def _write_places(path: Path, region: Path) -> Path:
    """Places of somebody who has worked in the northernmost part of a region alone."""
    if not path.exists():
        parts = json.loads(region.read_text(encoding="utf-8"))["features"]
        corners = max((part["geometry"]["coordinates"][0] for part in parts), key=lambda ring: ring[0][1])
        (west, east), (south, north) = ((min(edge), max(edge)) for edge in zip(*corners, strict=True))
        steps = [(k + 0.5) / 6 for k in range(6)]
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(["lon", "lat"])
            lines.writerows([west + x * (east - west), south + y * (north - south)] for x in steps for y in steps)
    return path


if __name__ == "__main__":
    main()
