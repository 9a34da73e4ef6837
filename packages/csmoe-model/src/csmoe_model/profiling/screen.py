"""A comparison as a table for the terminal, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table

from csmoe_model.profiling.compare import Comparison, Settings
from csmoe_model.profiling.measure import Timing, describe_machine


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table."""

    label: str
    values: Sequence[float | None]
    """One a model."""
    ratios: Sequence[float | None]
    """The first model's value by each of the others'."""


def machine_line(settings: Settings) -> str:
    """What the figures depend on, in lines of at most 80 characters but for the name of the device."""
    machine = describe_machine(settings.device)
    lines = ["ratios: the model's figure by the other's", f"torch {machine['torch']} on {machine['device']}"]
    if settings.measured:
        lines[1:1] = [
            "times: medians of models in turns; spread: distance of the quartiles",
            "memory: what torch has allocated" if settings.device == "cuda" else "memory: growth of a fresh process",
        ]
        lines[-1] += f", {machine['threads']} threads of {machine['cores']} cores, load {machine['load']}"
    return "\n".join(lines)


def title(comparison: Comparison, settings: Settings) -> str:
    """What the table is about."""
    config = comparison.profiles[0].config
    lines = [f"{comparison.name}: {config.num_patches} patches of {config.patch_px} px a sensor"]
    if moe := config.encoder.moe:
        blocks = "every block" if moe.blocks == "all" else f"{len(set(moe.blocks))} blocks"
        lines.append(f"{moe.experts} experts x {moe.slots_per_expert} slots, width {moe.width:g}, in {blocks}")
    if settings.measured:
        lines.append(f"{settings.batch} places at once, {settings.precision}; a place is one image of every sensor")
    return "\n".join(lines)


def table(comparison: Comparison, settings: Settings) -> Table:
    """Rows of figures, columns of models, then the model's figure by each other's."""
    others = comparison.profiles[1:]
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("", no_wrap=True)
    for one in comparison.profiles:
        label = f"slim {one.config.encoder.dim}" if one.role == "slimmed" else one.role
        shown.add_column(label, justify="right", no_wrap=True)
    for one in others:
        shown.add_column("/ twin" if one.role == "dense twin" else "/ slim", justify="right", no_wrap=True)
    for group in (_counted(comparison), _measured(comparison, settings)):
        for row in group:
            cells = ["-" if value is None else _figure(value) for value in row.values]
            cells += ["-" if value is None else f"{value:.2f}" for value in row.ratios]
            shown.add_row(row.label, *cells)
        shown.add_section()
    return shown


def _counted(comparison: Comparison) -> Iterator[Row]:
    counts = [one.counts for one in comparison.profiles]
    sensors = list(comparison.profiles[0].config.sensors)
    yield _row("parameters, M", [one.parameters.total / 1e6 for one in counts])
    yield _row("  encoder", [one.parameters.encoder / 1e6 for one in counts])
    for name in sensors:
        yield _row(f"  active for {name}", [one.parameters.active[name] / 1e6 for one in counts])
    for name in sensors:
        yield _row(f"encode {name}, GMAC", [one.encode[name].macs / 1e9 for one in counts])
        yield _row("  GFLOP by torch", [one.encode[name].flops / 1e9 for one in counts])
    yield _row("train a place, GMAC", [one.train.macs / 1e9 for one in counts])
    yield _row("  GFLOP by torch", [one.train.flops / 1e9 for one in counts])


def _measured(comparison: Comparison, settings: Settings) -> Iterator[Row]:
    speeds = [one.speed for one in comparison.profiles if one.speed]
    if not speeds:
        return
    batch = settings.batch
    yield from _times("encode one place", [one.latency for one in speeds])
    yield from _times(f"encode {batch}", [one.encode for one in speeds], places=batch)
    yield from _times(f"step of {batch}", [one.step for one in speeds], places=batch)
    memory = [one.memory for one in speeds]
    yield _row("peak to encode, MB", [one.encode_bytes / 1e6 if one else None for one in memory])
    yield _row("peak to train, MB", [one.train_bytes / 1e6 if one else None for one in memory])


def _row(label: str, values: Sequence[float | None]) -> Row:
    first, *others = values
    return Row(label=label, values=values, ratios=[first / other if first and other else None for other in others])


def _times(label: str, found: Sequence[Timing], places: int = 0) -> Iterator[Row]:
    """Median, spread, and places a second; ratios are medians over rounds."""
    ratios = [found[0].ratio(other) for other in found[1:]]
    blank: list[float | None] = [None] * len(ratios)
    yield Row(label=f"{label}, ms", values=[one.median_s * 1e3 for one in found], ratios=ratios)
    spread = [one.spread * 100 for one in found]
    yield Row(label=f"  spread of {len(found[0].rounds_s)} rounds, %", values=spread, ratios=blank)
    if places:
        rates = [places / one.median_s for one in found]
        yield Row(label="  places/s", values=rates, ratios=[1 / ratio for ratio in ratios])


def _figure(value: float) -> str:
    """Three or four digits, never an exponent."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
