"""Readers that other processes can read with too: of a module that they can import, and soon."""

from __future__ import annotations

import numpy as np

from csmoe_model.errors import DataError


class Whole:
    """Images of the sensors of `evaluation_toys`."""

    def images(self, sample):
        chance = np.random.default_rng([11, sample])
        images = {"s1": chance.normal(-15, 4, (2, 24, 40)), "s2": chance.uniform(200, 3000, (3, 24, 40))}
        return {name: image.astype(np.float32) for name, image in images.items()}


class Lacking(Whole):
    """Sample 2 has no s1, of sample 4 everything is NaN, of sample 5 s2 alone."""

    def images(self, sample):
        images = super().images(sample)
        if sample == 2:
            del images["s1"]
        for name in {4: ("s1", "s2"), 5: ("s2",)}.get(sample, ()):
            images[name] = np.full_like(images[name], np.nan)
        return images


class Torn(Lacking):
    """Sample 8 cannot be read."""

    def images(self, sample):
        if sample == 8:
            raise DataError("sample 8 is torn")
        return super().images(sample)
