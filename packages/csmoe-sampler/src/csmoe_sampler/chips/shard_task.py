"""A task of fetch: the tiles of one shard, brought on a worker and written there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from csmoe_sampler.chips.journal import Journal, Outcome
from csmoe_sampler.chips.judging import judge_tile
from csmoe_sampler.chips.layout import Layout
from csmoe_sampler.chips.reading import Recipe, read_tiles
from csmoe_sampler.chips.reuse import Compressed, Earlier
from csmoe_sampler.chips.store import compress_chip, open_shard
from csmoe_sampler.chips.tiles import Tile
from csmoe_sampler.errors import RasterUnreachableError, StorageError

_FEWEST_TILES = 4


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One task: some consecutive rows."""

    number: int
    tiles: tuple[Tile, ...]
    earlier: tuple[int | None, ...]
    """Row of an earlier store that has a tile's chips."""


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """What all tasks share."""

    out: Path
    journal: Path
    layout: Layout
    recipe: Recipe
    reuse: Path | None = None
    """An earlier store."""


def fetch_shard(fetching: Fetching, shard: Shard) -> int:
    """Number of tiles of a shard, once its files and its entry in the journal are written.

    Raises:
        RasterUnreachableError: None of its tiles could be reached.
        StorageError: The store is not there, or cannot be written.
    """
    layout = fetching.layout
    outcomes: list[Outcome] = []
    if not (fetching.out / "zarr.json").exists():
        raise StorageError(f"{fetching.out} is not there on a worker: put the store where all workers see it")
    with open_shard(fetching.out, layout, shard.number) as writers:
        for place, (outcome, chips) in enumerate(_bring(fetching, shard)):
            outcomes.append(outcome)
            for season, chip in chips.items():
                for array, compressed in chip.items():
                    writers[array].append(place * len(layout.seasons) + season, compressed)
        _refuse_outage(outcomes)
    Journal(fetching.journal).record(shard.number, outcomes)
    return len(shard.tiles)


def _bring(fetching: Fetching, shard: Shard) -> Iterator[tuple[Outcome, Compressed]]:
    """What becomes of each tile of a shard, with its chips: taken over from an earlier store, or read."""
    read = read_tiles(
        (tile for tile, row in zip(shard.tiles, shard.earlier, strict=True) if row is None), fetching.recipe
    )
    with Earlier(fetching.reuse) if fetching.reuse else nullcontext() as earlier:
        for row in shard.earlier:
            if earlier is not None and row is not None:
                yield earlier.take(row)
                continue
            outcome, chips = judge_tile(*next(read), fetching.recipe)
            yield outcome, {season: compress_chip(fetching.layout, chip) for season, chip in chips.items()}


def _refuse_outage(outcomes: Sequence[Outcome]) -> None:
    """A server that is down, or a wrong address, should not make a list of failures of a whole manifest."""
    unread = [outcome.failures[0] for outcome in outcomes if outcome.failures and outcome.bounds is None]
    if len(outcomes) >= _FEWEST_TILES and len(unread) == len(outcomes):
        raise RasterUnreachableError(
            f"none of {len(outcomes)} tiles from {unread[0].tile_id} on could be read ({unread[0].reason}): check "
            "scenes.url, the credentials and the network, and run the same again, it continues; scenes that are gone "
            "for good can be listed in scenes.exclude"
        )
