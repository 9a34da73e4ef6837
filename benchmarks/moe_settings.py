"""Soft mixture settings beside the dense twin: the same short pre-training of each, costs, losses and probes.

    uv run python benchmarks/moe_settings.py --manifest sample.parquet --chips chips.zarr --config sensors.toml

Runs go to a temporary folder. Losses are means over the last fifth of the steps; nothing is averaged over seeds unless
several are given, so small differences mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from lightning_fabric import Fabric

from csmoe_model.config import DecoderConfig, ModelConfig, MoEConfig
from csmoe_model.cost import dense_twin, encoder_cost
from csmoe_model.presets import preset
from csmoe_model.train.config import DataConfig, OptimiserConfig, TrainConfig
from csmoe_model.train.files import load_config
from csmoe_model.train.inputs import Inputs
from csmoe_model.train.logs import read_metrics
from csmoe_model.train.run import pretrain

SETTINGS: dict[str, MoEConfig | None] = {
    "dense": None,
    "4 x 4, half": MoEConfig(experts=4, slots_per_expert=4, width=0.5),
    "4 x 4, half, scale 8": MoEConfig(experts=4, slots_per_expert=4, width=0.5, scale=8.0),
    "4 x 4, half, scale 16": MoEConfig(experts=4, slots_per_expert=4, width=0.5, scale=16.0),
    "4 x 2, half": MoEConfig(experts=4, slots_per_expert=2, width=0.5),
    "4 x 8, half": MoEConfig(experts=4, slots_per_expert=8, width=0.5),
    "8 x 2, half": MoEConfig(experts=8, slots_per_expert=2, width=0.5),
    "4 x 4, full": MoEConfig(experts=4, slots_per_expert=4, width=1.0),
    "4 x 4, quarter": MoEConfig(experts=4, slots_per_expert=4, width=0.25),
}
TERMS = ("umr/s1", "umr/s2", "cmr/s1>s2", "cmr/s2>s1", "mim/s1,s2")
PROBES = ("knn/s1", "knn/s2", "retrieval/s1>s2", "retrieval/s2>s1")


def main() -> None:
    arguments = parse()
    base = load_config(arguments.config, {}).model if arguments.config else ModelConfig()
    model = preset(arguments.preset).model_copy(update={"sensors": base.sensors, "image_px": arguments.image_px})
    encoder = model.encoder.model_copy(update={"specific_depth": arguments.depth - 1, "shared_depth": 1})
    decoder = DecoderConfig(dim=64, heads=4, depth=1)
    print(f"{arguments.preset}, {model.num_patches} tokens, {arguments.depth} blocks, {arguments.steps} steps of 32")
    print("setting | seed | encoder MACs / dense | ms a step | " + " | ".join((*TERMS, *PROBES)))
    for seed in arguments.seeds:
        for name in arguments.only:
            moe = SETTINGS[name]
            own = model.model_copy(update={"encoder": encoder.model_copy(update={"moe": moe}), "decoder": decoder})
            print(f"{name} | {seed} | {share(own):.2f} | " + " | ".join(trial(own, seed, arguments)), flush=True)


def share(model: ModelConfig) -> float:
    """Multiply-adds of encoding both sensors, by the dense twin's."""
    own, dense = (sum(encoder_cost(one, name).macs for name in model.sensors) for one in (model, dense_twin(model)))
    return own / dense


def trial(model: ModelConfig, seed: int, arguments: argparse.Namespace) -> list[str]:
    config = TrainConfig(
        model=model,
        data=DataConfig(workers=1),
        optimiser=OptimiserConfig(lr=1e-3),
        seed=seed,
        max_steps=arguments.steps,
        batch=32,
        log_every=1,
        probe_every=arguments.steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(manifest=arguments.manifest, chips=arguments.chips, out=Path(folder) / "run")
        pretrain(config, inputs, Fabric(accelerator="cpu", devices=1), quiet=True)
        lines = read_metrics(inputs.out / "metrics.jsonl")
    steps = [line for line in lines if "loss" in line]
    late = steps[-len(steps) // 5 :]
    step_ms = statistics.median(32_000 / line["samples_s"] for line in steps)
    probe = [line for line in lines if f"probe/{PROBES[0]}" in line][-1]
    means = [statistics.fmean(line[term] for line in late) for term in TERMS]
    return [f"{step_ms:.0f}", *(f"{value:.3f}" for value in (*means, *(probe[f"probe/{name}"] for name in PROBES)))]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--chips", type=Path, required=True)
    parser.add_argument("--config", type=Path, help="TOML with the sensors' statistics")
    parser.add_argument("--preset", default="csmoe-tiny-p14")
    parser.add_argument("--image-px", type=int, default=112)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args()


if __name__ == "__main__":
    main()
