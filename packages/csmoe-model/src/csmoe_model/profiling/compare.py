"""Models beside their dense twins and slimmed controls: counted, then measured in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from csmoe_model.config import ModelConfig
from csmoe_model.cost import dense_twin, encoder_cost, slimmed
from csmoe_model.profiling.count import Counts, count
from csmoe_model.profiling.measure import Timing, describe_machine, interleave
from csmoe_model.profiling.memory import Memory, peak_memory
from csmoe_model.profiling.trial import Precision, Trial

Role = Literal["model", "dense twin", "slimmed"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure."""

    device: str = "cpu"
    precision: Precision = "32-true"
    batch: int = 8
    """Places encoded at once, or trained on in a step."""
    seconds: float = 20.0
    """About the time to spend on measuring the models of one comparison; each task takes three rounds at least."""
    measured: bool = True


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a model takes on this machine; a place is one image of every sensor."""

    latency: Timing
    """Encoding one place."""
    encode: Timing
    """Encoding a batch of places."""
    step: Timing
    """A training step with a batch of places: forward, backward, AdamW."""
    memory: Memory | None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One model."""

    role: Role
    config: ModelConfig
    counts: Counts
    speed: Speed | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A model, and what it is held against."""

    name: str
    profiles: tuple[Profile, ...]
    """The model first."""

    @property
    def problems(self) -> list[str]:
        """Where our count and torch's disagree."""
        return [problem for one in self.profiles for problem in one.counts.problems(f"{self.name}, {one.role}")]


def compare(
    name: str, config: ModelConfig, settings: Settings, say: Callable[[str], None] = lambda _: None
) -> Comparison:
    """A model with Soft mixture-of-experts beside its dense twin and the twin slimmed to its cost; a dense one alone.

    Args:
        name: What to call it.
        config: The model.
        settings: How to measure.
        say: Told what is under way.
    """
    configs: dict[Role, ModelConfig] = {"model": config}
    if config.encoder.moe:
        sensor = next(iter(config.sensors))
        share = encoder_cost(config, sensor).macs / encoder_cost(dense_twin(config), sensor).macs
        configs |= {"dense twin": dense_twin(config), "slimmed": slimmed(config, share)}
    say(f"{name}: counting")
    counts = {role: count(one) for role, one in configs.items()}
    speeds: Mapping[Role, Speed] = _measure(name, configs, settings, say) if settings.measured else {}
    return Comparison(
        name=name,
        profiles=tuple(
            Profile(role=role, config=one, counts=counts[role], speed=speeds.get(role)) for role, one in configs.items()
        ),
    )


def _measure(
    name: str, configs: Mapping[Role, ModelConfig], settings: Settings, say: Callable[[str], None]
) -> dict[Role, Speed]:
    memory = {}
    for role, config in configs.items():
        say(f"{name}: memory of the {role}")
        memory[role] = peak_memory(config, settings.batch, settings.device, settings.precision)
    trials = {
        role: Trial(config, settings.batch, settings.device, settings.precision) for role, config in configs.items()
    }
    tasks: dict[str, dict[str, Callable[[], object]]] = {
        "latency": {role: partial(one.encode, 1) for role, one in trials.items()},
        "encode": {role: one.encode for role, one in trials.items()},
        "step": {role: one.step for role, one in trials.items()},
    }
    times = {}
    for task, turns in tasks.items():
        say(f"{name}: {task}, {len(turns)} models in turns")
        times[task] = interleave(turns, settings.seconds / len(tasks), device=settings.device)
    return {
        role: Speed(**{task: found[role] for task, found in times.items()}, memory=memory[role]) for role in configs
    }


def as_json(comparisons: list[Comparison], settings: Settings) -> dict[str, Any]:
    """All figures, with what they depend on; times in seconds, ratios against the model itself."""
    return {
        "machine": describe_machine(settings.device),
        "settings": asdict(settings),
        "comparisons": [
            {
                "name": comparison.name,
                "problems": comparison.problems,
                "models": [_facts(one, comparison.profiles[0], settings) for one in comparison.profiles],
            }
            for comparison in comparisons
        ],
    }


def _facts(one: Profile, model: Profile, settings: Settings) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "role": one.role,
        "config": one.config.model_dump(mode="json"),
        "parameters": asdict(one.counts.parameters),
        "encode": {name: asdict(work) for name, work in one.counts.encode.items()},
        "train": asdict(one.counts.train),
    }
    if one.speed and model.speed:
        for task in ("latency", "encode", "step"):
            own: Timing = getattr(one.speed, task)
            facts[f"{task}_s"] = {
                "median": own.median_s,
                "spread": own.spread,
                "rounds": len(own.rounds_s),
                "by_model": own.ratio(getattr(model.speed, task)),
            }
        facts["encode_places_per_s"] = settings.batch / one.speed.encode.median_s
        facts["train_places_per_s"] = settings.batch / one.speed.step.median_s
        facts["memory"] = asdict(one.speed.memory) if one.speed.memory else None
    return facts
