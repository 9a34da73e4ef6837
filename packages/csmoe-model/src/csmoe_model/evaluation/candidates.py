"""Backbones by name: checkpoints, peers, and the floors that every table has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from csmoe_model.config import ModelConfig
from csmoe_model.cost import dense_twin
from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.extractors.own import check_slots, sized, trained, untrained
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
        slots: Checkpoints with mixtures come once more with so many slots an expert.
        floors: Image statistics, and random weights of the shape of the first checkpoint with mixtures and of its dense
            twin, or of the first checkpoint where none has mixtures. To segment, statistics see windows as large as
            those of the first checkpoint, that is as many of them.
        image_px: Edge of the images of checkpoints and peers; default: their own.

    Raises:
        ConfigError: There is nothing to compare, no such peer, or no checkpoint has as many slots.
        CheckpointError: A checkpoint is not there.
    """
    if not checkpoints and not peers:
        raise ConfigError("nothing to compare: give --checkpoint or --peer")
    configs = [sized(model_config(path), image_px) for path in checkpoints]
    mixed = [config for config in configs if config.encoder.moe]
    if slots and not mixed:
        raise ConfigError("--slots: no checkpoint has experts: leave it out")
    found: list[Candidate] = []
    if floors:
        windows_px = configs[0].image_px if configs and data.task == "segmentation" else image_px
        found.append(lambda _: _statistics(data, windows_px))
        found += [_untrained(shape) for config in (mixed or configs)[:1] for shape in _with_twin(config)]
    for name, path, config in zip(_short(checkpoints), checkpoints, configs, strict=True):
        wanted = slots if config.encoder.moe else ()
        for number in wanted:
            check_slots(name, config, number)
        found += [_trained(path, image_px, name, number, bool(wanted)) for number in (None, *wanted)]
    return found + [_peer(peer, image_px) for peer in peers]


def _with_twin(config: ModelConfig) -> list[ModelConfig]:
    return [config, dense_twin(config)] if config.encoder.moe else [config]


def _untrained(config: ModelConfig) -> Candidate:
    name = "random weights" if config.encoder.moe else "random weights, dense"
    return lambda seed: untrained(config, seed=seed, name=name)


def _trained(path: Path, image_px: int | None, name: str, slots: int | None, on_curve: bool) -> Candidate:
    def build(_seed: int) -> Extractor:
        shown = name if slots is None else f"{name}, {slots} slots"
        extractor = trained(path, image_px=image_px, name=shown, slots=slots)
        extractor.curve = name if on_curve else ""
        return extractor

    return build


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
