"""A small run: its configuration, and the options of the command that starts it."""

from __future__ import annotations

from pathlib import Path

CONFIG = """
max_steps = 14
batch = 8
log_every = 1
probe_every = 0
keep = 2
save_minutes = 1e-6

[data]
workers = 0

[optimiser]
lr = 1e-3

[model]
image_px = 32
patch_px = 8
[model.sensors.s1]
bands = ["VV", "VH"]
unit = "dB"
mean = [-12, -19]
std = [5, 5]
[model.sensors.s2]
bands = ["B03", "B8A", "B11"]
unit = "DN"
mean = [1600, 1600, 1600]
std = [900, 900, 900]
[model.encoder]
dim = 32
heads = 2
specific_depth = 1
shared_depth = 1
drop_path = 0.1
[model.encoder.moe]
experts = 2
slots_per_expert = 3
width = 0.5
[model.decoder]
dim = 16
heads = 2
depth = 1
"""
"""Fourteen steps with a checkpoint after each."""


def options(manifest: Path, config: Path) -> list[object]:
    """Of `csmoe-train`, but for --out; the chips lie beside the manifest."""
    return ["pretrain", "--manifest", manifest, "--config", config, "--device", "cpu", "--quiet"]
