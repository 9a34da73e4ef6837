"""From nothing to one page: a synthetic Earth, a sample of it, its pixels, a model, what the model is worth.

    uv run python -m workflows.quickstart

Every stage continues where it was, so that the same line may be typed again after a kill.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from workflows.calls import call, once
from workflows.quickstart.page import write_page

HERE = Path(__file__).parent


def main() -> None:
    """All stages."""
    arguments = parse()
    out: Path = arguments.out
    call("csmoe-sample", "demo", "quickstart", "--out", out, "--n", arguments.n)
    train(out, arguments.steps)
    evaluate(out)
    print(f"\npage: {write_page(out)}")


def train(out: Path, steps: int) -> None:
    """Statistics of the bands, then the pre-training: new, or continued."""
    sensors, run = out / "sensors.toml", out / "csmoe"
    call("csmoe-train", "stats", "--manifest", out / "sample.parquet", "--out", sensors)
    words: list[str | Path] = [
        "pretrain",
        "--manifest",
        out / "sample.parquet",
        "--config",
        HERE / "model.toml",
        "--config",
        sensors,
    ]
    begun = ["--resume"] if any(run.glob("checkpoints/step-*")) else []
    call("csmoe-train", *words, "--steps", steps, "--out", run, *begun)


def evaluate(out: Path) -> None:
    """Land cover, search across sensors and embeddings, on tiles that were held out."""
    shown: list[str | Path] = [
        "--checkpoint",
        out / "csmoe",
        "--data",
        out / "chips.zarr",
        "--manifest",
        out / "sample.parquet",
    ]
    for task, words in {
        "classification": ["--method", "knn", "--method", "linear"],
        "retrieval": ["--query-split", "test", "--archive-split", "test"],
    }.items():
        folder = out / "results" / task
        once(
            folder / "results.json",
            "csmoe-train",
            "evaluate",
            task,
            *shown,
            "--label",
            "landcover",
            *words,
            "--out",
            folder,
        )
    embeddings = out / "embeddings.parquet"
    model: list[str | Path] = ["--checkpoint", out / "csmoe"]
    once(embeddings, "csmoe-train", "embed", *model, "--manifest", out / "sample.parquet", "--out", embeddings)


def parse() -> argparse.Namespace:
    """What a person may change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("quickstart"), help="Folder to write to")
    parser.add_argument("--n", type=int, default=300, help="Tiles to draw")
    parser.add_argument("--steps", type=int, default=240, help="Of pre-training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
