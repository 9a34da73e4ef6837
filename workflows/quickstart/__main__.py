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
    manifest, sensors, run = out / "sample.parquet", out / "sensors.toml", out / "csmoe"
    call("csmoe-train", "stats", "--manifest", manifest, "--out", sensors)
    configs = ("--config", HERE / "model.toml", "--config", sensors)
    begun = ("--resume",) if any(run.glob("checkpoints/step-*")) else ()
    call("csmoe-train", "pretrain", "--manifest", manifest, *configs, "--steps", steps, "--out", run, *begun)


def evaluate(out: Path) -> None:
    """Land cover, search across sensors and embeddings, on tiles that were held out."""
    model, manifest = ("--checkpoint", out / "csmoe"), ("--manifest", out / "sample.parquet")
    for task, *words in (
        ("classification", "--method", "knn", "--method", "linear"),
        ("retrieval", "--query-split", "test", "--archive-split", "test"),
    ):
        data = ("--data", out / "chips.zarr", *manifest, "--label", "landcover")
        to = out / "results" / task
        once(to / "results.json", "csmoe-train", "evaluate", task, *model, *data, *words, "--out", to)
    picture = out / "embeddings.png"  # written last
    once(picture, "csmoe-train", "embed", *model, *manifest, "--out", picture.with_suffix(".parquet"))


def parse() -> argparse.Namespace:
    """What a person may change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("quickstart"), help="Folder to write to")
    parser.add_argument("--n", type=int, default=300, help="Tiles to draw")
    parser.add_argument("--steps", type=int, default=240, help="Of pre-training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
