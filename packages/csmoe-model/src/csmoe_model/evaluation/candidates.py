"""Backbones by name: checkpoints, peers, and the floors that every table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from csmoe_model.cost import dense_twin
from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.extractors.own import trained, untrained
from csmoe_model.train.checkpoint import model_config

Candidate = Callable[[int], Extractor]
"""A backbone for a seed, which matters where weights are random."""


def candidates(
    data: EvaluationSet,
    checkpoints: Sequence[Path],
    peers: Sequence[str] = (),
    slots: Sequence[int] = (),
    *,
    floors: bool = True,
    image_px: int | None = None,
) -> list[Candidate]:
    """Floors, then checkpoints, then peers.

    Args:
        data: What they are compared on; statistics take its bands.
        checkpoints: Folders or runs.
        peers: `timm:NAME` or `torchgeo:NAME`, with `=FILE` for weights on the disk.
        slots: Checkpoints come once more with so many slots an expert.
        floors: Image statistics, random weights of the first checkpoint's shape and, where that has mixtures, of its
            dense twin.
        image_px: Edge of the images of checkpoints and peers; default: their own.

    Raises:
        ConfigError: There is nothing to compare, or no such peer.
        CheckpointError: A checkpoint cannot be loaded.
    """
    if not checkpoints and not peers:
        raise ConfigError("nothing to compare: give --checkpoint or --peer")
    found: list[Candidate] = []
    if floors:
        found.append(lambda _: _statistics(data, image_px))
    if floors and checkpoints:
        config = model_config(checkpoints[0])
        found.append(lambda seed: untrained(config, seed=seed, image_px=image_px))
        if config.encoder.moe:
            twin = dense_twin(config)
            found.append(lambda seed: untrained(twin, seed=seed, image_px=image_px, name="random weights, dense"))
    for name, path in zip(_short(checkpoints), checkpoints, strict=True):
        for number in (None, *slots):
            found.append(_own(path, name if number is None else f"{name}, {number} slots", image_px, number))
    return found + [_peer(peer, image_px) for peer in peers]


def _own(path: Path, name: str, image_px: int | None, slots: int | None) -> Candidate:
    return lambda _: trained(path, image_px=image_px, name=name, slots=slots)


def _statistics(data: EvaluationSet, image_px: int | None) -> Extractor:
    from csmoe_model.evaluation.extractors.statistics import StatisticsExtractor

    return StatisticsExtractor(data, image_px)


def _peer(peer: str, image_px: int | None) -> Candidate:
    family, _, rest = peer.partition(":")
    name, _, file = rest.partition("=")
    weights = Path(file) if file else None
    if not name or family not in ("timm", "torchgeo"):
        raise ConfigError(f"--peer {peer}: give timm:NAME or torchgeo:NAME, with =FILE for weights on the disk")
    if family == "timm":
        from csmoe_model.evaluation.extractors.timm_models import timm_model

        return lambda seed: timm_model(name, weights, image_px=image_px, seed=seed)
    from csmoe_model.evaluation.extractors.torchgeo_models import torchgeo_model

    sized = {} if image_px is None else {"image_px": image_px}
    return lambda seed: torchgeo_model(name, weights, seed=seed, **sized)


def _short(paths: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise ConfigError("a checkpoint stands twice")
    depth = 1
    while len({own[-depth:] for own in parts}) < len(parts):
        depth += 1
    return ["/".join(own[-depth:]) for own in parts]
