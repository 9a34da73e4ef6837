"""What became of every tile, shard by shard: the journal beside a store, from which an interrupted fetch continues."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from csmoe_sampler.errors import ChipError
from csmoe_sampler.storage import write_json

FETCHED, FAILED, NOT_FETCHED = 0, 1, 2
"""Values of `status`. A tile is not fetched where the manifest names no scenes for it."""
_RUN = "run.json"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a tile has no chip."""

    tile_id: str
    sensor: str
    item: str
    reason: str
    passing: bool = False
    """Whether another attempt may succeed: a server was out of reach."""
    unread: bool = False
    """Whether a file could not be read, rather than what is in it be used."""


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something that looks wrong in a chip that was stored nevertheless."""

    sensor: str
    band: str
    problem: str
    figure: float | None
    message: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of a chip of one season once it is read."""

    s2_offset: float | None = None
    s2_valid: float | None = None
    s1_valid: float | None = None
    shift: tuple[float | None, float | None, float] | None = None
    """dx and dy in pixels, None where none is claimed; quality."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a tile."""

    status: int
    crs: str = ""
    bounds: tuple[float, float, float, float] | None = None
    seasons: tuple[Measured, ...] = ()
    failures: tuple[Failure, ...] = ()
    warnings: tuple[Warned, ...] = ()


def journal_of(store: Path) -> Path:
    """The folder beside a store with what became of every tile."""
    return store.with_name(f"{store.name.removesuffix('.zarr')}.journal")


class Journal:
    """The folder of a journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, identity: dict[str, Any], store: Path) -> None:
        """Notes what the store is made from; raises ChipError if it was begun with something else."""
        path = self.folder / _RUN
        if not path.exists():
            if store.exists():
                raise ChipError(
                    f"chip store {store}: is there without its journal {self.folder}: remove it, or choose another "
                    "place"
                )
            write_json(path, identity)
            return
        before = self.identity()
        changed = [name for name in identity if before.get(name) != identity[name]]
        if changed:
            advice = ", and give this one as --reuse: what they share is not fetched again"
            raise ChipError(
                f"chip store {store}: was begun with another {' and '.join(changed)}: go on with that, or choose "
                f"another --out{advice if changed == ['manifest'] else ''}"
            )

    def identity(self) -> dict[str, Any]:
        """What the store is made from; raises ChipError where nothing says so."""
        path = self.folder / _RUN
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ChipError(f"journal {path}: cannot be read: a store is of use only with its journal") from error
        return found

    def record(self, shard: int, outcomes: list[Outcome]) -> None:
        """Notes a shard as done; its file must be written already."""
        write_json(self._path(shard), {"tiles": [asdict(outcome) for outcome in outcomes]})

    def done(self, num_shards: int) -> set[int]:
        """The shards that need no further attempt."""
        return {shard for shard in range(num_shards) if self._path(shard).exists() and not self._may_pass(shard)}

    def outcomes(self, shard: int) -> list[Outcome]:
        """Of the tiles of a shard, in the order of the rows; raises ChipError."""
        path = self._path(shard)
        try:
            return [_outcome(values) for values in json.loads(path.read_text(encoding="utf-8"))["tiles"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ChipError(f"journal {path}: cannot be read: delete it, and fetch again") from error

    def _may_pass(self, shard: int) -> bool:
        return any(failure.passing for outcome in self.outcomes(shard) for failure in outcome.failures)

    def _path(self, shard: int) -> Path:
        return self.folder / f"shard-{shard:06}.json"


def _outcome(values: dict[str, Any]) -> Outcome:
    seasons = [
        Measured(**{**one, "shift": None if one["shift"] is None else tuple(one["shift"])}) for one in values["seasons"]
    ]
    return Outcome(
        status=values["status"],
        crs=values["crs"],
        bounds=None if values["bounds"] is None else tuple(values["bounds"]),
        seasons=tuple(seasons),
        failures=tuple(Failure(**one) for one in values["failures"]),
        warnings=tuple(Warned(**one) for one in values["warnings"]),
    )
