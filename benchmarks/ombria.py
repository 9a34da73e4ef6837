"""CSMoE against its dense twin on OMBRIA: the same pre-training on its training scenes, then floods and retrieval.

    uv run python benchmarks/ombria.py --data OMBRIA --out runs/ombria --steps 600 --seeds 0 1 2

The data are those of github.com/geodrak/OMBRIA. Scenes are split anew, for the official test images lie beside training
ones. What is there already in the folder is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from lightning_fabric import Fabric

from csmoe_model.cli.progress import counting
from csmoe_model.config import DecoderConfig, EncoderConfig, HeadsConfig, ModelConfig
from csmoe_model.data.manifest import read_rows
from csmoe_model.data.statistics import measure_chips, sensors_of
from csmoe_model.data.store import ChipStore
from csmoe_model.evaluation.candidates import candidates
from csmoe_model.evaluation.comparison import Comparison, write_results
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.gallery import draw_gallery
from csmoe_model.evaluation.layouts import LayoutOptions, open_set
from csmoe_model.evaluation.mask_pictures import draw_masks
from csmoe_model.evaluation.pack import pack
from csmoe_model.evaluation.protocols import retrieval, segmentation
from csmoe_model.evaluation.records import Record, read_records
from csmoe_model.evaluation.retrieval import RetrievalConfig
from csmoe_model.evaluation.segment_batches import SegmentConfig
from csmoe_model.presets import default_moe
from csmoe_model.sensors import Sensor
from csmoe_model.train.config import DataConfig, OptimiserConfig, TrainConfig
from csmoe_model.train.inputs import Inputs
from csmoe_model.train.run import pretrain

KINDS = ("csmae", "csmoe", "csmoe-heads")
"""The twin; the model; the model with a head of its own for search across sensors."""


def main() -> None:
    arguments = parse()
    manifest = packed(arguments)
    for seed in arguments.seeds:
        for kind in arguments.kinds:
            run = arguments.out / f"{kind}-{seed}"
            if not (run / "curves.png").exists():
                pretrain(config_of(kind, seed, manifest, arguments), inputs_of(manifest, run), cpu(), quiet=False)
    data = open_set(arguments.data, "ombria", LayoutOptions(own_split=True))
    compared = Comparison(
        data=data, counting=lambda name, total: counting(name, total, "samples"), resamples=arguments.resamples
    )
    for seed in arguments.seeds:
        searched(compared, seed, arguments)
        segmented(compared, seed, arguments)
    for task in ("retrieval", "segmentation"):
        parts = [read_records(path) for path in sorted(arguments.out.glob(f"{task}-*/results.json"))]
        write_results(arguments.out / task, [record for part in parts for record in part])
        print((arguments.out / task / "table.md").read_text())


def packed(arguments: argparse.Namespace) -> Path:
    folder = arguments.out / "pack"
    if not folder.exists():
        both: EvaluationSet = open_set(arguments.data, "ombria", LayoutOptions(own_split=True, part="both"))
        with counting("pack", int((both.split != "test").sum()), "samples") as advance:
            pack(both, folder, size_px=arguments.chip_px, advance=advance)
    return folder / "sample.parquet"


def config_of(kind: str, seed: int, manifest: Path, arguments: argparse.Namespace) -> TrainConfig:
    encoder = EncoderConfig(dim=192, heads=3, specific_depth=arguments.depth - 2, shared_depth=2, moe=None)
    model = ModelConfig(
        sensors=sensors(manifest),
        image_px=arguments.image_px,
        patch_px=arguments.patch_px,
        encoder=encoder,
        decoder=DecoderConfig(dim=128, heads=4, depth=2),
    )
    if kind != "csmae":
        model = model.model_copy(update={"encoder": encoder.model_copy(update={"moe": default_moe(model)})})
    if kind == "csmoe-heads":
        model = model.model_copy(update={"retrieval": HeadsConfig()})
    return TrainConfig(
        model=model,
        data=DataConfig(workers=1),
        optimiser=OptimiserConfig(lr=1e-3),
        seed=seed,
        max_steps=arguments.steps,
        batch=32,
        probe_every=max(1, arguments.steps // 4),
    )


def sensors(manifest: Path) -> dict[str, Sensor]:
    store = ChipStore(manifest.with_name("chips.zarr"))
    rows = read_rows(manifest, store).of_split("train")
    return sensors_of(store, measure_chips(store, rows.chip.tolist(), store.bands, lambda _: None), store.bands)


def inputs_of(manifest: Path, out: Path) -> Inputs:
    return Inputs(manifest=manifest, chips=manifest.with_name("chips.zarr"), out=out)


def cpu() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def runs(seed: int, arguments: argparse.Namespace) -> list[Path]:
    return [arguments.out / f"{kind}-{seed}" for kind in arguments.kinds]


def searched(compared: Comparison, seed: int, arguments: argparse.Namespace) -> None:
    """The same place by another sensor: pairs of the test scenes, windows of the middle."""
    folder = arguments.out / f"retrieval-{seed}"
    if (folder / "results.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = RetrievalConfig(query_split="test", archive_split="test", seed=seed, resamples=arguments.resamples)
    backbones = candidates(compared.data, runs(seed, arguments))

    def draw(extractor, found, sources) -> None:
        for direction in found.directions.values():
            name = f"{extractor.name}-{direction.name.replace('>', '-to-')}.png".replace(" ", "_")
            draw_gallery(compared.data, direction, folder / name, sources=sources)

    keep(folder, list(retrieval(compared, backbones, config, done=draw)), seed)


def segmented(compared: Comparison, seed: int, arguments: argparse.Namespace) -> None:
    """Floods, by a linear head on frozen features of both sensors."""
    folder = arguments.out / f"segmentation-{seed}"
    if (folder / "results.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = SegmentConfig(epochs=arguments.epochs, overlap=0.0, workers=1)
    backbones = candidates(compared.data, runs(seed, arguments))

    def draw(extractor, found, own) -> None:
        path = folder / f"{extractor.name.replace(' ', '_')}.png"
        draw_masks(compared.data, found, own, path, device=torch.device("cpu"))

    keep(folder, list(segmentation(compared, backbones, config, [seed], done=draw)), seed)


def keep(folder: Path, records: list[Record], seed: int) -> None:
    """Results under names that all seeds share."""
    renamed = [
        one.model_copy(update={"model": one.model.model_copy(update={"name": one.model.name.removesuffix(f"-{seed}")})})
        for one in records
    ]
    write_results(folder, renamed)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["csmae", "csmoe"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--image-px", type=int, default=128)
    parser.add_argument("--patch-px", type=int, default=16)
    parser.add_argument("--chip-px", type=int, help="Resizes the chips that are trained on")
    parser.add_argument("--epochs", type=int, default=15, help="Of the segmentation head")
    parser.add_argument("--resamples", type=int, default=1000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
