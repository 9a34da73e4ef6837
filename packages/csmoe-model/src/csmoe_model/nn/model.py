"""CSMoE: a cross-sensor masked autoencoder with Soft mixture-of-experts.

    images -> visible tokens -> encoder -> { decoders -> hidden pixels of every sensor ; pooled features }

The objective is UMR + CMR + MIM (+ MDE): every sensor reconstructs its own hidden patches and those of the others, and
the pooled features of a place agree among sensors. With `encoder.moe = None` the same code is the dense CSMAE.

Shapes: B images, C bands, H = W = image_px, L patches, v visible ones, D width, P = patch_px² C.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import torch
from torch import Tensor, nn

from csmoe_model.config import ModelConfig
from csmoe_model.errors import DataError
from csmoe_model.nn.decoder import Decoders
from csmoe_model.nn.encoder import Encoder, Features
from csmoe_model.nn.losses import contrastive_loss, discrepancy_loss, reconstruction_loss
from csmoe_model.nn.masking import Mask


@dataclass(frozen=True, slots=True)
class Objective:
    """The losses of a batch."""

    total: Tensor
    terms: dict[str, Tensor]
    """Unweighted: `umr/s1`, `cmr/s1>s2` (source > target), `mim/s1,s2`, `mde/s1,s2`."""
    features: dict[str, Tensor]
    """Pooled features (B, D) of the masked images, by sensor."""
    pixels: dict[tuple[str, str], Tensor]
    """(source, target) -> predicted pixels (B, L, P)."""


class CSMoE(nn.Module):
    """The model of a configuration."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoders = Decoders(config)
        self.apply(_initialise)
        for token in (name for name in self.state_dict() if name.endswith((".cls", ".mask_token"))):
            nn.init.normal_(self.get_parameter(token), std=0.02)

    def encode(self, images: Mapping[str, Tensor], layers: Sequence[int] = ()) -> dict[str, Features]:
        """Features of whole images, of any subset of the sensors; raises ConfigError for a sensor it does not have."""
        return {name: self.encoder(name, pixels, layers=layers) for name, pixels in images.items()}

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
        valid = valid or {}
        seen = {name: self.encoder(name, pixels, masks[name].visible) for name, pixels in images.items()}
        pixels = {}
        terms = {}
        present = {name: self._present(name, valid.get(name), len(x)) for name, x in images.items()}
        for source, target in product(images, images):
            kind, weight = ("umr", self.config.loss.umr) if source == target else ("cmr", self.config.loss.cmr)
            if weight:
                pixels[source, target] = self.decoders(seen[source], masks[source], target)
                scored = self._scored(target, images[target], valid.get(target), masks[source].hidden)
                scored = scored & present[source].to(scored.device)[:, None, None]
                label = f"umr/{source}" if kind == "umr" else f"cmr/{source}>{target}"
                terms[label] = reconstruction_loss(pixels[source, target], self._target(images[target]), scored)
        for one, other in combinations(images, 2):
            both = present[one] & present[other]
            pair = seen[one].pooled[both], seen[other].pooled[both]
            if self.config.loss.mim:
                terms[f"mim/{one},{other}"] = self._contrast(*pair)
            if self.config.loss.mde:
                terms[f"mde/{one},{other}"] = discrepancy_loss(*pair)
        total = torch.stack(
            [getattr(self.config.loss, name.split("/")[0]) * term for name, term in terms.items()]
        ).sum()
        return Objective(total, terms, {name: features.pooled for name, features in seen.items()}, pixels)

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

    def _contrast(self, one: Tensor, other: Tensor) -> Tensor:
        """MIM; overridden by gathering over processes in training."""
        if len(one) < 2:
            return one.sum() * 0.0  # a single place has nothing to be told from
        return contrastive_loss(one, other, self.config.loss.temperature)

    def _present(self, name: str, valid: Tensor | None, batch: int) -> Tensor:
        if valid is None:
            return torch.ones(batch, dtype=torch.bool, device=next(self.parameters()).device)
        return valid.flatten(1).any(dim=1)

    def _scored(self, name: str, images: Tensor, valid: Tensor | None, hidden: Tensor) -> Tensor:
        if valid is None:
            pixels = self.config.patch_px**2 * self.config.sensors[name].num_bands
            return hidden[..., None].expand(-1, -1, pixels)
        whole = valid[:, None].expand_as(images) if valid.dim() == 3 else valid
        return self.patchify(whole) & hidden[..., None]

    def _target(self, images: Tensor) -> Tensor:
        patches = self.patchify(images)
        if not self.config.loss.normalise_patches:
            return patches
        mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
        return (patches - mean) / (variance + 1e-6).sqrt()


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
