"""The evaluation on a model card: tables of results, which must be of the card's own weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.extractors.own import trained
from csmoe_model.evaluation.records import Record, about_model, read_records
from csmoe_model.evaluation.tables import Row, markdown, rows, verdicts

NO_RESULTS = (
    "No results were given to this card: nothing is known here of how good the features are. `csmoe-train evaluate` "
    "compares them with image statistics and random weights, and `csmoe-train export --results` puts its tables here."
)
_LISTED = 12
"""Values of a setting beyond which it is left to results.json."""


def evaluation(checkpoint: Path, results: Sequence[Path]) -> str:
    """A section for every folder (or file) of results, with what the figures hang on and whether floors are beaten.

    Raises:
        ConfigError: Results have no record of the checkpoint's weights.
        CheckpointError: The checkpoint cannot be loaded.
        DataError: Results cannot be read.
    """
    if not results:
        return NO_RESULTS
    weights = about_model(trained(checkpoint), ()).weights
    parts = []
    for path in results:
        records = read_records(path / "results.json" if path.is_dir() else path)
        own = [one for one in records if one.model.weights == weights]
        if not own:
            raise ConfigError(
                f"results {path}: none of {', '.join(dict.fromkeys(one.model.name for one in records))} has the "
                f"weights of {checkpoint} ({weights}): evaluate it first, or leave these results out"
            )
        parts.append(_section(records, own))
    return "\n\n".join(parts)


def _section(records: Sequence[Record], own: Sequence[Record]) -> str:
    first, names = own[0], dict.fromkeys(one.model.name for one in own)
    table = rows(records)
    conditions = {
        "Fingerprint of the data": first.data.fingerprint,
        "Hash of the splits": first.data.split_hash,
        "Classes": len(first.data.classes),
        "Seeds": ", ".join(str(seed) for seed in dict.fromkeys(one.seed for one in own)),
        **{f"Setting {name}": value for name, value in _settings(first).items()},
        "Measured with": ", ".join(f"{name} {version}" for name, version in first.versions.items()),
        "Device": first.device,
    }
    return "\n".join(
        [
            f"### {first.task.capitalize()}, {first.data.name}",
            "",
            f"This model is {' and '.join(names)} in the table; weights {first.model.weights}. {_floors(table, names)}",
            "",
            markdown(records).rstrip("\n"),
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in conditions.items()),
        ]
    )


def _floors(table: Sequence[Row], names: Sequence[str] | dict[str, None]) -> str:
    """Whether the model is better than each floor of its table in each headline."""
    floors = [row for row in table if row.record.is_floor]
    if not floors:
        return "**No floor was measured beside it**: how much of this is its own merit cannot be said."
    beaten = verdicts([*floors, *(row for row in table if row.record.model.name in names)])
    listed = ", ".join(row.record.model.name for row in floors)
    if not beaten:
        return f"It is better than every floor ({listed}) in every headline that both have."
    return f"**It does not beat every floor.** {' '.join(beaten)}"


def _settings(record: Record) -> dict[str, str]:
    """Those of the method that fit a line; the others are in results.json."""
    found = {}
    for name, value in record.settings.items():
        values = value if isinstance(value, list | tuple) else [value]
        if value is None or name == "seed" or len(values) > _LISTED:
            continue
        if all(isinstance(one, str | int | float) for one in values):
            found[name] = ", ".join(map(str, values))
    return found
