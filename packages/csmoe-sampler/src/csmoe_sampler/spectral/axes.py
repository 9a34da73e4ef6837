"""The spectral descriptor as an axis of selection, and axes by name."""

from __future__ import annotations

import math
from collections.abc import Sequence

from csmoe_sampler.config import BuildConfig, SpectralConfig
from csmoe_sampler.errors import ConfigError

ENTROPY_SCALE = 1.0
"""Bits that count as one unit of distance."""
TEXTURE_SCALE = 0.1
REFLECTANCE_SCALE = 0.1
"""Root mean square over the bands."""


def axis_columns(bands: tuple[str, ...]) -> list[str]:
    """Names of the columns between which a selection measures distances: entropy, texture, then the means."""
    return ["spectral_entropy", "spectral_texture", *(f"spectral_mean_{band}" for band in bands)]


def axis_scales(config: SpectralConfig) -> dict[str, float]:
    """Column -> the difference that counts as one unit of distance; the bands together count like one column."""
    band = REFLECTANCE_SCALE * math.sqrt(len(config.bands))
    scales = [ENTROPY_SCALE, TEXTURE_SCALE, *[band] * len(config.bands)]
    return {name: config.scale * scale for name, scale in zip(axis_columns(config.bands), scales, strict=True)}


def diversity_weights(names: Sequence[str], config: BuildConfig) -> dict[str, float]:
    """`selection.weights` with exactly the axes `names`: each with its weight in `config`, or 1 where it has none.

    Raises:
        ConfigError: A name is none of the configuration's descriptors, nor the position; or there is no name at all.
    """
    known = ", ".join(sorted(config.axes))
    if not names:
        raise ConfigError(f"diversity without an axis: name some of {known}")
    for name in names:
        if name == "spectral" and config.spectral is None:
            raise ConfigError(
                "diversity axis 'spectral' needs a [spectral] table in the configuration; without one, known are "
                f"{known}"
            )
        if name not in config.axes:
            raise ConfigError(f"diversity axis '{name}' is unknown: known are {known}")
    return {name: config.selection.weights.get(name, 1.0) for name in dict.fromkeys(names)}
