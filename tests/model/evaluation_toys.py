"""A backbone and data sets that take milliseconds, with answers that can be known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.extractor import Extracted
from model.small_models import SENSORS

CLASSES = ("marsh", "dune", "reef", "ice")
SHAPE = (24, 40)
PX = 16
BANDS = {
    "s1": Bands(names=("VH", "VV"), unit="dB", gsd_m=10.0),  # another order than the model's
    "s2": Bands(names=("B11", "B03", "B8A"), unit="DN", gsd_m=10.0),
}


class ToyBackbone(nn.Module):
    """Patches of 2 px, then four layers."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.ModuleDict({name: nn.Conv2d(s.num_bands, width, 2, stride=2) for name, s in SENSORS.items()})
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(4))


class ToyExtractor:
    """Sees what a patch holds, and nothing around it."""

    name, kind, image_px, num_layers = "toy", "random", PX, 4

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = ToyBackbone()
        self.inputs = dict(SENSORS)
        self.calls: list[tuple[str, int]] = []

    def __call__(self, sensor, images, valid, layers=()):
        if bad := [k for k in layers if not 0 <= k < 4]:
            raise ConfigError(f"layers {bad}")
        self.calls.append((sensor, len(images)))
        x, maps = self.module.patches[sensor](images), []
        for layer in self.module.layers:
            x = x + torch.tanh(layer(x))
            maps.append(x)
        return Extracted(x.mean((2, 3)), tuple(maps[k] for k in layers))

    def width(self, sensor):
        return 8

    def macs(self, sensor):
        return None


class ToyReader:
    """A vertical line that only s2 sees, and a horizontal one that only s1 sees; four classes lie between them.

    `change(sample, images, mask)` may return others.
    """

    def __init__(self, shape=SHAPE, change=None) -> None:
        self.shape, self.change, self.reads = shape, change, 0

    def images(self, sample):
        self.reads += 1
        return self._both(sample)[0]

    def mask(self, sample):
        return self._both(sample)[1]

    def _both(self, sample):
        chance = np.random.default_rng([7, sample])
        height, width = self.shape
        right = np.arange(width) >= chance.integers(width // 4, width - width // 4)
        below = np.arange(height) >= chance.integers(height // 4, height - height // 4)
        images = {}
        for name, bands in BANDS.items():
            sensor = SENSORS[name]
            place = [sensor.bands.index(band) for band in bands.names]
            mean, std = (np.array(values)[place, None, None] for values in (sensor.mean, sensor.std))
            images[name] = mean + 0.05 * std * chance.standard_normal((len(place), height, width))
        sign = {"s1": ("VV", np.where(below, 1, -1)[:, None]), "s2": ("B8A", np.where(right, 1, -1)[None])}
        for name, (band, side) in sign.items():
            std = SENSORS[name].std[SENSORS[name].bands.index(band)]
            images[name][BANDS[name].names.index(band)] += std * side
        images = {name: image.astype(np.float32) for name, image in images.items()}
        mask = right[None].astype(np.int64) + 2 * below[:, None]
        return self.change(sample, images, mask) if self.change else (images, mask)


def segmentation_set(counts=(12, 4, 5), *, shape=SHAPE, change=None, **fields):
    """Training, validation and test samples, in this order."""
    num = sum(counts)
    values = {
        "name": "toy masks",
        "task": "segmentation",
        "sensors": BANDS,
        "classes": CLASSES,
        "ids": np.array([f"scene-{k}" for k in range(num)]),
        "split": np.repeat(["train", "validation", "test"], counts),
        "labels": None,
        "reader": ToyReader(shape, change),
        **fields,
    }
    return EvaluationSet(**values)


def labelled_set(counts=(40, 15, 21), *, several=False, change=None):
    """Images of one class each, of whose two bits s2 sees the lower and s1 the upper one; or these bits as labels."""
    num = sum(counts)
    codes = np.random.default_rng(3).integers(4, size=num)

    def uniform(sample, images, mask):
        for name, band, up in (("s1", "VV", codes[sample] // 2), ("s2", "B8A", codes[sample] % 2)):
            sensor, place = SENSORS[name], BANDS[name].names.index(band)
            mean, std = (values[sensor.bands.index(band)] for values in (sensor.mean, sensor.std))
            images[name][place] = mean + (1 if up else -1) * std
        return change(sample, images, mask) if change else (images, mask)

    labels = np.stack([codes % 2, codes // 2], 1) == 1 if several else codes
    data = segmentation_set(counts, shape=(PX, PX), change=uniform)
    return replace(
        data,
        task="multi_label" if several else "single_label",
        labels=labels,
        classes=("right", "below") if several else CLASSES,
    )
