"""A segmenter that goes over whole scenes, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from csmoe_model.evaluation.crops import Scene, stacked
from csmoe_model.evaluation.fitting import Precision, mixed
from csmoe_model.evaluation.heads import Segmenter, resampled
from csmoe_model.evaluation.windows import Mosaic, Place, cover, cut

Maps = list[Tensor]
"""(B, D, h, w) Of the layers of the sensors, see `Segmenter.maps`."""
Chunk = tuple[list[Place], Maps]
"""Some windows of a scene, and their maps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slider:
    """A segmenter, and how it goes over scenes."""

    segmenter: Segmenter
    batch: int
    """Windows at once."""
    device: torch.device
    precision: Precision

    @property
    def px(self) -> int:
        """Edge of a window."""
        return self.segmenter.extractor.image_px

    def places(self, scene: Scene, overlap: float) -> list[Place]:
        """Windows that cover a scene, without those where no sensor sees anything."""
        every = cover(scene.seen.shape, self.px, overlap)
        return [place for place in every if cut(scene.seen, place, self.px).any()]

    def maps(self, scenes: Scene) -> Maps:
        """Dense features of scenes (B, ...) of the size of a window."""
        images = {name: image.to(self.device) for name, image in scenes.images.items()}
        valid = {name: known.to(self.device) for name, known in scenes.valid.items()}
        with mixed(self.precision, self.device):
            return self.segmenter.maps(images, valid)

    def window_scores(self, maps: Maps) -> Tensor:
        """Scores (B, K, px, px) of windows, from their maps."""
        with mixed(self.precision, self.device):
            return self.segmenter.scores([one.to(self.device) for one in maps])

    @torch.no_grad()
    def chunks(self, scene: Scene, overlap: float) -> Iterator[Chunk]:
        """The windows of a scene."""
        places = self.places(scene, overlap)
        for first in range(0, len(places), self.batch):
            some = places[first : first + self.batch]
            yield some, self.maps(stacked([scene.window(place, self.px) for place in some]))

    @torch.no_grad()
    def scores(self, scene: Scene, chunks: Iterable[Chunk], overlap: float) -> Tensor:
        """(K, H, W) Of a scene, from its windows; at the size of its reference."""
        mosaic = Mosaic(self.segmenter.num_classes, self.places(scene, overlap), scene.seen.shape, self.px)
        for places, maps in chunks:
            for place, scores in zip(places, self.window_scores(maps).cpu(), strict=True):
                mosaic.add(place, scores)
        return resampled(mosaic.scores[None], scene.reference.shape)[0]
