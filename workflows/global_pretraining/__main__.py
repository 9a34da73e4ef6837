"""Global pre-training: 500,000 places from the Planetary Computer, csmoe-base-p14 on eight GPUs."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from workflows.calls import call, once

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What differs between the real run and the small one."""

    configs: Path
    """Folder of `sample.toml` and `model.toml`."""
    processes: int
    """Training processes on this machine: as many as it has GPUs."""
    device: str
    first: int
    """Rows of the manifest that the evaluation looks at: a prefix is a smaller sample."""


REAL = Setting(configs=HERE, processes=8, device="cuda", first=50_000)
SMALL = Setting(configs=HERE / "small", processes=2, device="cpu", first=1_000)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where everything is."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """The sample; its atlas, report and scenes are beside it."""
        return self.folder / "sample.parquet"

    @property
    def chips(self) -> Path:
        """The pixels."""
        return self.folder / "chips.zarr"

    @property
    def run(self) -> Path:
        """The training."""
        return self.folder / "run"

    @property
    def pixels(self) -> tuple[str | Path, ...]:
        """Options of `csmoe-train` that name manifest and chips."""
        return ("--manifest", self.manifest, "--chips", self.chips)


def main() -> None:
    """Runs every stage that is not done; killed at any moment, the same command goes on."""
    parser = argparse.ArgumentParser(prog="python -m workflows.global_pretraining", description=__doc__)
    parser.add_argument("--small", action="store_true", help="the same stages on a synthetic Earth, in about a minute")
    parser.add_argument("--out", type=Path, default=Path("out/global"), help="folder to write to")
    parser.add_argument("--earth", type=Path, help="with --small: a synthetic Earth with scenes that is there already")
    parser.add_argument("--processes", type=int, help=f"training processes; {REAL.processes}, or {SMALL.processes}")
    asked = parser.parse_args()
    setting, out = SMALL if asked.small else REAL, Outputs(folder=asked.out)
    out.folder.mkdir(parents=True, exist_ok=True)
    config = sample_config(setting, out, asked.earth) if asked.small else setting.configs / "sample.toml"
    choose(config, out)
    fetch(config, out)
    pretrain(setting, out, asked.processes or setting.processes)
    evaluate(setting, out)
    give(setting, out)


def sample_config(setting: Setting, out: Outputs, earth: Path | None) -> Path:
    """The configuration of the small sample, with a synthetic Earth in it."""
    if earth is None:
        earth = out.folder / "earth"
        once(earth / "scenes.geojson", "csmoe-sample", "demo", "earth", "--out", earth, "--scene-set", "small")
    path = out.folder / "config.toml"
    text = (setting.configs / "sample.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("$EARTH", str(earth)), encoding="utf-8")
    return path


def choose(config: Path, out: Outputs) -> None:
    """Stages `plan` and `build`: what it will take, then the manifest."""
    once(out.manifest, "csmoe-sample", "plan", "--config", config)
    once(out.manifest, "csmoe-sample", "build", "--config", config, "--out", out.manifest)


def fetch(config: Path, out: Outputs) -> None:
    """Stages `pair`, `fetch` and `validate`: scenes and pixels for every tile."""
    sensors = out.folder / "sensors.toml"
    if not sensors.exists():  # the first two continue by themselves
        call("csmoe-sample", "pair", out.manifest, "--config", config)
        call("csmoe-sample", "fetch", out.manifest, "--config", config, "--out", out.chips)
        call("csmoe-sample", "validate", out.manifest)
        call("csmoe-sample", "validate", out.chips)
    once(sensors, "csmoe-train", "stats", *out.pixels, "--out", sensors)


def pretrain(setting: Setting, out: Outputs, processes: int) -> None:
    """Stage `pretrain`: begun, or continued in mid-epoch.

    Raises:
        SystemExit: It failed, or was asked to stop before its end.
    """
    config = setting.configs / "model.toml"
    steps = tomllib.loads(config.read_text(encoding="utf-8"))["max_steps"]
    last = out.run / "checkpoints" / f"step-{steps:08d}"
    if last.exists():
        print(f"\n{last} is there: the training is done", flush=True)
        return
    words = ["pretrain", *map(str, out.pixels), "--config", str(config)]
    words += ["--config", str(out.folder / "sensors.toml"), "--out", str(out.run)]
    words += ["--resume"] if any(out.run.glob("checkpoints/step-*")) else []
    torchrun = ["--standalone", "--nproc-per-node", str(processes), "-m", "csmoe_model", *words]
    print(f"\n$ torchrun {shlex.join(torchrun)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", *torchrun], check=False)  # noqa: S603
    if done.returncode or not last.exists():
        raise SystemExit(done.returncode or f"{out.run} was stopped; the same command goes on")


def evaluate(setting: Setting, out: Outputs) -> None:
    """Stage `evaluate`: land cover, and search between the sensors, on places held out, beside floors."""
    few = out.folder / "first.parquet"
    write_first(out.manifest, few, setting.first)
    data = ("--checkpoint", out.run, "--data", out.chips, "--manifest", few, "--device", setting.device)
    for name, *task in (
        ("landcover", "classification", "--label", "landcover"),
        ("search", "retrieval", "--label", "landcover", "--beyond-km", 20),
    ):
        results = out.folder / "results" / name
        once(results / "results.json", "csmoe-train", "evaluate", *task, *data, "--out", results)


def give(setting: Setting, out: Outputs) -> None:
    """Stages `embed` and `export`: an embedding of every tile, and the model with its card for others."""
    embeddings, hub = out.folder / "embeddings.parquet", out.folder / "hub"
    how = ("--dtype", "float16", "--device", setting.device)
    words = ("embed", "--checkpoint", out.run, *out.pixels, "--out", embeddings, *how)
    once(embeddings.with_suffix(".png"), "csmoe-train", *words)
    once(hub, "csmoe-train", "export", "--checkpoint", out.run, "--to", "huggingface", "--out", hub)


def write_first(manifest: Path, path: Path, rows: int) -> None:
    """Writes the first rows of a manifest, which are a smaller sample by themselves."""
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(manifest).slice(0, rows), path)


if __name__ == "__main__":
    main()
