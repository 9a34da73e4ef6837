"""Tiles and scenes together: a tile without scenes gives its place to the next of its stratum, so that quotas hold.

    rows -> scenes -> rows without any -> next tiles of their strata -> scenes -> ... -> manifest with scenes

The next tiles of a stratum are those that its objective would have drawn had the quota been larger (`diverse`, `random`
and `proportional` draw the same tiles first, whatever the quota); of the other objectives, the tiles left in the order
of their keys. A replacement takes over the rank. What a stratum cannot fill is left out, and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import shapely

from csmoe_sampler.chance import derive_seed
from csmoe_sampler.config import BuildConfig
from csmoe_sampler.errors import ManifestError
from csmoe_sampler.features import Features
from csmoe_sampler.legend import Legend
from csmoe_sampler.manifest import CHIP, Manifest
from csmoe_sampler.objectives import Objective, get_objective
from csmoe_sampler.population import Population, features_of
from csmoe_sampler.sampling import describe_rows, leave_out
from csmoe_sampler.scenes import Tiles
from csmoe_sampler.types import Int64

MISSING = "scene_missing"
"""Column of the pairer's answers: why a tile has no scenes; null where it has."""


class SceneChooser(Protocol):
    """What chooses scenes for tiles."""

    def choose(self, tiles: Tiles) -> pa.Table:
        """Columns of scenes and `scene_missing`, one row a tile."""


@dataclass
class Reserve:
    """The tiles of each stratum that would be drawn next."""

    population: Population
    config: BuildConfig
    legends: Mapping[str, Legend]
    _orders: dict[int, Int64] = field(default_factory=dict)
    _features: Features | None = None

    def rows_of(self, manifest: Manifest) -> Int64:
        """Positions of a manifest's tiles among the candidates; raises ManifestError."""
        tiles = manifest.grid.parse(manifest.column("tile_id").astype(np.str_))
        rows = np.searchsorted(self.population.tiles, tiles)
        known = self.population.tiles[np.minimum(rows, len(self.population) - 1)] == tiles
        if not known.all():
            raise ManifestError(
                f"manifest: tile {manifest.column('tile_id')[int(np.argmin(known))]} is no candidate of this atlas; "
                "give the atlas that the manifest was drawn from"
            )
        return rows

    def next_rows(self, stratum: int, drawn: Int64, skip: int, number: int) -> Int64:
        """Up to `number` candidates of a stratum that come after those `drawn`, the first `skip` left out."""
        order = self._orders.get(stratum)
        members = np.flatnonzero(self.population.strata.of_tile == stratum)
        wanted = min(drawn.size + skip + number, members.size)
        if order is None or order.size < wanted:
            order = self._orders[stratum] = self._order(stratum, members, drawn, min(2 * wanted, members.size))
        return order[drawn.size + skip :][:number]

    def _order(self, stratum: int, members: Int64, drawn: Int64, number: int) -> Int64:
        objective: Objective = get_objective(self.config.selection.objective)
        if self._features is None:
            self._features = features_of(self.population, self.config, self.legends)
        seed = derive_seed(self.config.seed, "objective", self.population.strata.labels[stratum])
        if objective.nested:
            order = members[objective.order(self._features.take(members), number, seed)]
            if np.array_equal(order[: drawn.size], drawn):
                return order
        left = np.setdiff1d(members, drawn)
        return np.concatenate([drawn, left[np.argsort(self._features.keys[left], kind="stable")]])


def pair_rows(
    manifest: Manifest,
    chooser: SceneChooser,
    *,
    on_missing: Literal["redraw", "drop", "keep"],
    reserve: Reserve | None = None,
) -> Manifest:
    """A manifest with scenes; its metadata `scenes` says what was replaced and what could not be filled.

    Args:
        manifest: Without scenes, or with those of before, which are replaced.
        chooser: Chooses scenes.
        on_missing: What happens to tiles without scenes.
        reserve: For `redraw`, the tiles that come next.

    Raises:
        ManifestError: No tile has scenes, or tiles are no candidates of the reserve.
    """
    manifest = without_scenes(manifest)
    choices = chooser.choose(tiles_of_rows(manifest.table))
    reasons = choices[MISSING].to_numpy(zero_copy_only=False)
    missing = np.flatnonzero(choices[MISSING].is_valid().to_numpy())
    table, replaced = manifest.table, np.empty(0, np.int64)
    if on_missing == "redraw" and missing.size:
        assert reserve is not None, "a second draw needs a reserve"
        table, choices, replaced = _redraw(manifest, choices, missing, chooser, reserve)
    more = choices if on_missing == "keep" else choices.drop_columns([MISSING])
    if on_missing == "redraw":
        more = more.append_column("replaces", _only(replaced, manifest.column("tile_id")))
        more = more.append_column("replaces_reason", _only(replaced, reasons))
    table = _with_columns(table, more)
    left = np.flatnonzero(choices[MISSING].is_valid().to_numpy())
    if left.size == len(manifest) and on_missing != "keep":
        raise ManifestError(
            f"manifest: no tile has scenes ({_most(reasons[missing])}): widen the dates, max_cloud_percent or "
            "max_dt_days, or choose another provider"
        )
    names = manifest.column("stratum").astype(np.str_)
    paired = Manifest(table=table, metadata=_paired_metadata(manifest, more, names, replaced, left, choices))
    if on_missing == "keep":
        return paired
    scenes = paired.metadata["scenes"]
    unfilled = {line["stratum"]: line["reason"] for line in scenes["unfilled"]}
    return leave_out(paired, left, set(scenes["changed_strata"]), unfilled)


def without_scenes(manifest: Manifest) -> Manifest:
    """The manifest without what pairing and fetching have added; tiles that were replaced stay."""
    added = {*manifest.metadata.get("scenes", {}).get("columns", ()), CHIP} & set(manifest.table.column_names)
    metadata = {key: value for key, value in manifest.metadata.items() if key not in ("scenes", "chips")}
    declared = {name: kind for name, kind in metadata["extra_columns"].items() if name not in added}
    return Manifest(table=manifest.table.drop_columns(sorted(added)), metadata={**metadata, "extra_columns": declared})


def _redraw(
    manifest: Manifest, choices: pa.Table, missing: Int64, chooser: SceneChooser, reserve: Reserve
) -> tuple[pa.Table, pa.Table, Int64]:
    """The table and its choices with replacements, and the ranks that were replaced."""
    rows = reserve.rows_of(manifest)
    strata = reserve.population.strata.of_tile[rows]
    open_ranks = {int(h): missing[strata[missing] == h].tolist() for h in np.unique(strata[missing])}
    drawn = {h: rows[strata == h] for h in open_ranks}
    tried = dict.fromkeys(open_ranks, 0)
    found_rank: list[int] = []
    found_row: list[int] = []
    found_at: list[int] = []
    asked_before: list[pa.Table] = []
    num_asked = 0
    while open_ranks:
        # Trying more at once than are missing saves rounds; the order in which they are taken stays the same.
        batches = {
            h: reserve.next_rows(h, drawn[h], tried[h], max(2 * len(ranks), tried[h]))
            for h, ranks in open_ranks.items()
        }
        asked = np.concatenate(list(batches.values()))
        answers = chooser.choose(tiles_of_rows(_describe(reserve, asked))) if asked.size else choices.slice(0, 0)
        usable = np.asarray(answers[MISSING].is_null().to_numpy())
        asked_before.append(answers)
        start = 0
        for h, batch in batches.items():
            good = np.flatnonzero(usable[start : start + batch.size])[: len(open_ranks[h])]
            for k in good.tolist():
                found_rank.append(open_ranks[h].pop(0))
                found_row.append(int(batch[k]))
                found_at.append(num_asked + start + k)
            start += batch.size
            tried[h] += batch.size
            if not open_ranks[h] or not batch.size:
                del open_ranks[h]
        num_asked += answers.num_rows
    if not found_rank:
        return manifest.table, choices, np.empty(0, np.int64)
    order = np.argsort(found_rank)
    ranks = np.array(found_rank)[order]
    new_rows = _describe(reserve, np.array(found_row)[order]).select(manifest.table.column_names)
    new_choices = pa.concat_tables(asked_before).take(pa.array(np.array(found_at)[order]))
    return _splice(manifest.table, ranks, new_rows), _splice(choices, ranks, new_choices), ranks


def _describe(reserve: Reserve, rows: Int64) -> pa.Table:
    weight = np.ones(rows.size)
    return describe_rows(reserve.population, rows, weight, reserve.config, reserve.legends)


def _splice(table: pa.Table, ranks: Int64, rows: pa.Table) -> pa.Table:
    """`table` with `rows` in the places `ranks`."""
    index = np.arange(table.num_rows)
    index[ranks] = table.num_rows + np.arange(ranks.size)
    return pa.concat_tables([table, rows.cast(table.schema)]).take(pa.array(index)).combine_chunks()


def tiles_of_rows(table: pa.Table) -> Tiles:
    """The tiles of a manifest's rows."""
    return Tiles(
        ids=table["tile_id"].to_numpy().astype(np.str_),
        geometry=shapely.from_wkb(table["geometry"].to_numpy()),
        lon=table["lon"].to_numpy(),
        lat=table["lat"].to_numpy(),
        crs=table["crs"].to_numpy().astype(np.str_),
    )


def _with_columns(table: pa.Table, more: pa.Table) -> pa.Table:
    for name in more.column_names:
        table = table.drop_columns([name]) if name in table.column_names else table
        table = table.append_column(more.schema.field(name), more[name])
    return table


def _only(ranks: Int64, texts: np.ndarray) -> pa.Array:
    """The texts of some ranks, null elsewhere."""
    known = np.zeros(texts.size, np.bool_)
    known[ranks] = True
    return pa.array(texts, pa.string(), mask=~known)


def _paired_metadata(
    manifest: Manifest, more: pa.Table, names: np.ndarray, replaced: Int64, left: Int64, choices: pa.Table
) -> dict[str, Any]:
    before = manifest.metadata["extra_columns"]
    declared = {name: kind for name, kind in before.items() if name not in more.column_names}
    declared |= {field.name: str(field.type) for field in more.schema}
    final = choices[MISSING].to_numpy(zero_copy_only=False)
    scenes = {
        "changed_strata": sorted({str(names[k]) for k in (*replaced.tolist(), *left.tolist())}),
        "columns": more.column_names,
        "redrawn": int(replaced.size),
        "unfilled": _unfilled(names, left, final, manifest.metadata["strata"]),
    }
    return {**manifest.metadata, "extra_columns": declared, "scenes": scenes}


def _unfilled(
    names: np.ndarray, left: Int64, reasons: np.ndarray, strata: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A line for every stratum that has places without scenes."""
    quota = {line["stratum"]: line["quota"] for line in strata}
    lines = []
    for name in sorted({str(name) for name in names[left]}):
        own = left[names[left] == name]
        of_stratum = int(np.count_nonzero(names == name))
        lines.append(
            {
                "stratum": name,
                "quota": int(quota.get(name, of_stratum)),
                "taken": of_stratum - int(own.size),
                "missing": int(own.size),
                "reason": _most(reasons[own]),
            }
        )
    return lines


def _most(reasons: Iterable[Any]) -> str:
    """The commonest reason, the first in the alphabet of equal ones."""
    text = sorted(str(reason) for reason in reasons)
    return max(dict.fromkeys(text), key=text.count) if text else ""
