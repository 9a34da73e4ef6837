"""Records without any work behind them."""

from __future__ import annotations

from csmoe_model.evaluation.records import DataAbout, InputAbout, ModelAbout, Record

DATA = DataAbout(
    name="Scenes",
    task="single_label",
    fingerprint="f1",
    split_hash="s1",
    samples={"train": 1200, "validation": 30, "test": 40},
    classes=("a", "b"),
    notes=("made by us",),
)
INPUTS = {
    "s1": InputAbout(source="s1", bands=("VV", "VH"), missing=(), unit=("dB", "dB"), mean=(0, 0), std=(1, 1)),
    "s2": InputAbout(
        source="optical",
        bands=("B08", "B8A", "B03"),
        missing=("B8A",),
        unit=("DN", "DN"),
        mean=(0, 0, 0),
        std=(1, 1, 1),
    ),
}
STATISTICS = {"kind": "statistics", "weights": None}


def value(number: float | None, spread: float | None = None):
    """A figure, with an interval where a spread is given."""
    if number is None or spread is None:
        return (number, None, None)
    return (number, number - spread, number + spread)


def record(name: str, figures, *, task="classification", seed=0, **changes) -> Record:
    """A record of a CSMoE; of `changes` those of the model are its own."""
    model = {
        "kind": "csmoe",
        "weights": f"w-{name}",
        "num_parameters": 2_500_000,
        "macs": {"s1": 10**9, "s2": 2 * 10**9},
    }
    model |= {"curve": ""}
    model.update((key, changes.pop(key)) for key in tuple(changes) if key in model)
    values = {
        "task": task,
        "settings": {"seed": seed},
        "data": DATA,
        "inputs": INPUTS,
        "image_px": 64,
        "normalise": "model",
        "notes": (),
        "versions": {"csmoe-model": "9.9"},
        "device": "cpu",
        **changes,
    }
    found = {key: one if isinstance(one, tuple) else value(one) for key, one in figures.items()}
    return Record(model=ModelAbout(name=name, **model), seed=seed, figures=found, **values)
