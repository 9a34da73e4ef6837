"""CSMoE: a cross-sensor masked autoencoder with Soft mixture-of-experts.

    images -> visible tokens -> encoder -> { decoders -> hidden pixels of every sensor ; pooled features }

The objective is UMR + CMR + MIM (+ MDE): every sensor reconstructs its own hidden patches and those of the others, and
the pooled features of a place agree among sensors. Where the model has retrieval heads, their features agree instead,
among sensors and between two views of a sensor. With `encoder.moe = None` the same code is the dense CSMAE.

Shapes: B images, C bands, H = W = image_px, L patches, v visible ones, D width, P = patch_px² C.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from csmoe_model.config import ModelConfig
from csmoe_model.errors import DataError
from csmoe_model.nn.across import Across
from csmoe_model.nn.decoder import Decoders
from csmoe_model.nn.encoder import Encoder, Features
from csmoe_model.nn.losses import (
    contrastive_loss,
    discrepancy_loss,
    patch_errors,
    patch_statistics,
    reconstruction_loss,
)
from csmoe_model.nn.masking import Mask
from csmoe_model.nn.retrieval import RetrievalHeads, Role


class Objective(NamedTuple):
    """The losses of a batch; a tuple, for those who wrap models look into what comes out of them."""

    total: Tensor
    terms: dict[str, Tensor]
    """Unweighted: `umr/s1`, `cmr/s1>s2` (source > target), `mim/s1,s2`, `mde/s1,s2`, `same/s1`."""
    features: dict[str, Tensor]
    """Pooled features (B, D) of the masked images, by sensor."""
    pixels: dict[tuple[str, str], Tensor]
    """(source, target) -> predicted pixels (B, L, P)."""
    errors: Tensor
    """(B,) Mean squared error of each place over all reconstructions, without gradient: which one is out of the way."""


class CSMoE(nn.Module):
    """The model of a configuration."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoders = Decoders(config)
        self.retrieval = RetrievalHeads(config.encoder.dim, config.retrieval) if config.retrieval else None
        self.across = Across()
        self.apply(_initialise)
        for token in (name for name in self.state_dict() if name.endswith((".cls", ".mask_token"))):
            nn.init.normal_(self.get_parameter(token), std=0.02)

    def encode(self, images: Mapping[str, Tensor], layers: Sequence[int] = ()) -> dict[str, Features]:
        """Features of whole images, of any subset of the sensors; raises ConfigError for a sensor it does not have."""
        return {name: self.encoder(name, pixels, layers=layers) for name, pixels in images.items()}

    def project(self, pooled: Tensor, role: Role) -> Tensor:
        """Features to search with, made of pooled ones (B, D): those of a retrieval head, or themselves without one."""
        return pooled if self.retrieval is None else self.retrieval(pooled, role)

    def forward(
        self, images: Mapping[str, Tensor], masks: Mapping[str, Mask], valid: Mapping[str, Tensor] | None = None
    ) -> Objective:
        """The objective of a batch.

        Args:
            images: (B, C, H, W) Standardised, by sensor; invalid pixels hold 0.
            masks: What each sensor hides.
            valid: (B, H, W) or (B, C, H, W) True where a pixel counts, by sensor; a place where nothing of a sensor is
                valid lacks that sensor, and takes no part in its terms. Default: all.
        """
        loss, valid = self.config.loss, valid or {}
        seen = {name: self.encoder(name, x, masks[name].visible) for name, x in images.items()}
        valid_patches = {name: self._valid_patches(name, x, valid.get(name)) for name, x in images.items()}
        targets = {name: self._target(images[name], valid_patches[name]) for name in images}
        present = {name: patches.flatten(1).any(dim=1) for name, patches in valid_patches.items()}
        pixels, terms = {}, {}
        places: list[tuple[Tensor, Tensor]] = []
        for source, target in product(images, images):
            if not (loss.umr if source == target else loss.cmr):
                continue
            pixels[source, target] = self.decoders(seen[source], masks[source], target)
            scored = valid_patches[target] & masks[source].hidden[..., None] & present[source][:, None, None]
            errors, counted = patch_errors(pixels[source, target], targets[target], scored)
            label = f"umr/{source}" if source == target else f"cmr/{source}>{target}"
            terms[label] = reconstruction_loss(errors, counted, self.across)
            places.append((errors.detach().sum(1), counted.sum(1)))
        pooled = {name: features.pooled for name, features in seen.items()}
        if self.retrieval is not None:
            for name, x in images.items():
                views = pooled[name], self.encoder(name, x, masks[name].rest).pooled
                one, other = (self.project(view, "same") for view in views)
                terms[f"same/{name}"] = contrastive_loss(one, other, loss.temperature, present[name], self.across)
        crossing = {name: self.project(features, "cross") for name, features in pooled.items()}
        for first, second in combinations(images, 2):
            pair, both = (crossing[first], crossing[second]), present[first] & present[second]
            if loss.mim:
                terms[f"mim/{first},{second}"] = contrastive_loss(*pair, loss.temperature, both, self.across)
            if loss.mde:
                terms[f"mde/{first},{second}"] = discrepancy_loss(*pair, both, self.across)
        total = torch.stack([getattr(loss, name.split("/")[0]) * term for name, term in terms.items()]).sum()
        return Objective(total, terms, pooled, pixels, _place_errors(places, pooled))

    def patchify(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, L, P), a patch's pixels as rows, columns, bands."""
        batch, bands, rows, cols = images.shape
        p = self.config.patch_px
        if rows != self.config.image_px or cols != self.config.image_px:
            raise DataError(
                f"images of {rows} x {cols} px: the model takes {self.config.image_px} x {self.config.image_px}"
            )
        x = images.view(batch, bands, rows // p, p, cols // p, p)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, p * p * bands)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """The inverse of `patchify`."""
        p, grid = self.config.patch_px, self.config.grid
        x = patches.view(len(patches), grid, grid, p, p, -1)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, grid * p, grid * p)

    def _valid_patches(self, name: str, images: Tensor, valid: Tensor | None) -> Tensor:
        """(B, L, P) True where a pixel counts."""
        if valid is None:
            pixels = self.config.patch_px**2 * self.config.sensors[name].num_bands
            return images.new_ones(1, 1, 1, dtype=torch.bool).expand(len(images), self.config.num_patches, pixels)
        return self.patchify(valid[:, None].expand_as(images) if valid.dim() == 3 else valid)

    def _target(self, images: Tensor, valid: Tensor) -> Tensor:
        """(B, L, P) What decoders should give."""
        patches = self.patchify(images)
        if not self.config.loss.normalise_patches:
            return patches
        mean, std = patch_statistics(patches, valid)
        return (patches - mean) / std


def _place_errors(parts: list[tuple[Tensor, Tensor]], pooled: Mapping[str, Tensor]) -> Tensor:
    """(B,) Mean error over the counted patches of all terms; not finite where features are not."""
    sound = torch.stack([features.detach().sum(1) for features in pooled.values()]).sum(0) * 0.0
    if not parts:
        return sound
    errors, counted = (torch.stack(values).sum(0) for values in zip(*parts, strict=True))
    return errors / counted.clamp(min=1) + sound


def _initialise(module: nn.Module) -> None:
    """Xavier-uniform for linear layers and patch embeddings seen as such, as in masked autoencoders."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
