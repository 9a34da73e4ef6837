"""The rows of a manifest under validation, decoded once, and how a rule reports what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from csmoe_sampler.errors import GridError
from csmoe_sampler.footprints import Footprints, Geometries
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.manifest.schema import Manifest
from csmoe_sampler.types import Bool, Int64

SHARES = "landcover_*"
"""Stands for the columns of all class shares in the needs of a rule."""
_TEXT_LIMIT = 120


@dataclass(frozen=True)
class Violation:
    """A departure from the contract; alike ones are one violation with a count."""

    column: str
    """A column, or a field of the metadata (`csmoe.seed`, `geo.version`)."""
    row: int | None
    """The first row concerned, counted from 0; None for what concerns the whole file."""
    found: str
    expected: str
    rule: str
    """What the contract says, in a few words; empty where `expected` says all."""
    count: int = 1
    """How many rows are alike."""

    @staticmethod
    def of_file(column: str, found: Any, expected: Any, rule: str = "") -> Violation:
        """A violation that no single row is to blame for."""
        return Violation(column, None, _text(found), _text(expected), rule)

    def __str__(self) -> str:
        place = self.column if self.row is None else f"row {self.row}, {self.column}"
        rule = f" ({self.rule})" if self.rule else ""
        more = f"; {self.count} rows alike" if self.count > 1 else ""
        return f"{place}: found {self.found}, expected {self.expected}{rule}{more}"


@dataclass(frozen=True)
class Rule:
    """A check, and the columns without which it has nothing to say."""

    check: Callable[[Rows], Iterator[Violation]]
    needs: tuple[str, ...]

    def applies(self, rows: Rows) -> bool:
        """Whether all the columns are there and of their type."""
        shares = {f"landcover_{label}" for label in rows.manifest.landcover_labels}
        needs = set(self.needs)
        return (needs - {SHARES}) | (shares if SHARES in needs else set()) <= rows.usable


class Rows:
    """The columns of the right type as numpy arrays; nulls become NaN, -1 or an empty text."""

    def __init__(self, manifest: Manifest, usable: Iterable[str]) -> None:
        self.manifest = manifest
        self.metadata = manifest.metadata
        self.num_rows = len(manifest)
        self.usable = frozenset(usable)
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._codes: dict[str, tuple[list[str], Int64]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._columns:
            self._columns[name] = _decode(self.manifest.table[name])
        return self._columns[name]

    def coded(self, name: str) -> tuple[list[str], Int64]:
        """The different texts of a column, and the position of each row's among them."""
        if name not in self._codes:
            column = self.manifest.table[name]
            text = column.cast(pa.string()).fill_null("").combine_chunks()
            text = pa.concat_arrays(text.chunks) if isinstance(text, pa.ChunkedArray) else text
            encoded = text.dictionary_encode()
            self._codes[name] = (encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64))
        return self._codes[name]

    def among(self, name: str, allowed: Iterable[str]) -> Bool:
        """Rows whose text is one of `allowed`."""
        labels, codes = self.coded(name)
        known = frozenset(allowed)
        return np.array([label in known for label in labels], dtype=np.bool_)[codes]

    def null(self, name: str) -> Bool:
        """Rows where the column holds no value."""
        return np.asarray(self.manifest.table[name].is_null().to_numpy())

    @cached_property
    def grid(self) -> TileGrid:
        """The grid that the metadata names."""
        return self.manifest.grid

    @cached_property
    def tiles(self) -> Int64:
        """Tile index of each row, -1 where `tile_id` is no tile of the grid."""
        return parse_leniently(self.grid, self["tile_id"])

    @cached_property
    def placed(self) -> Int64:
        """Rows whose `tile_id` is a tile of the grid."""
        return np.flatnonzero(self.tiles >= 0)

    @cached_property
    def shapes(self) -> Geometries:
        """The geometries, None where one cannot be read."""
        shapes: Geometries = shapely.from_wkb(self["geometry"], on_invalid="ignore")
        return shapes

    @cached_property
    def footprints(self) -> Footprints:
        """Footprints of the rows in `placed`, from the grid."""
        return self.grid.footprints(self.tiles[self.placed])

    def flag(
        self,
        column: str,
        bad: Bool,
        found: npt.NDArray[Any],
        expected: npt.NDArray[Any] | str,
        rule: str,
        *,
        rows: Int64 | None = None,
    ) -> Iterator[Violation]:
        """One violation for all rows where `bad` is set, none where no row is.

        Args:
            column: The column to blame; its nulls are not flagged.
            bad: The rows, or those of `rows`, that break the rule.
            found: What each holds.
            expected: What each should hold, or a text for all.
            rule: What the contract says.
            rows: The rows that the arrays stand for; all by default.
        """
        rows = np.arange(self.num_rows) if rows is None else rows
        bad = bad & ~self.null(column)[rows]
        if bad.any():
            first = int(bad.argmax())
            wanted = expected if isinstance(expected, str) else _text(expected[first])
            yield Violation(column, int(rows[first]), _text(found[first]), wanted, rule, int(bad.sum()))


def parse_leniently(grid: TileGrid, ids: npt.NDArray[Any]) -> Int64:
    """Tile indices of ids, -1 for what is no tile of the grid."""
    if not len(ids):
        return np.empty(0, np.int64)
    try:
        return grid.parse(np.asarray(ids, dtype=np.str_))
    except GridError:
        pass
    parts = pc.extract_regex(pa.array(ids, pa.string()), r"^(?P<row>\d{1,6})(?P<ns>[UD])_(?P<col>\d{1,6})(?P<ew>[RL])$")
    text = {name: pc.struct_field(parts, name).fill_null("0") for name in ("row", "ns", "col", "ew")}
    row, col = (text[name].cast(pa.int64()).to_numpy() for name in ("row", "col"))
    row = np.where(np.asarray(text["ns"].to_numpy(False) == "D"), -row, row)
    col = np.where(np.asarray(text["ew"].to_numpy(False) == "L"), -col, col)
    inside = np.asarray(parts.is_valid()) & (row >= grid.row_first) & (row <= grid.row_last)
    row = np.where(inside, row, 0)
    position = col - grid.west_position(row)
    # Some rows name their first tile from the other end: 502U_1415R is the westernmost.
    position = np.where(position == grid.num_cols(row), 0, position)
    inside &= (position >= 0) & (position < grid.num_cols(row))
    tiles = np.where(inside, grid.row_start(row) + np.where(inside, position, 0), 0)
    return np.where(inside & (grid.ids(tiles) == np.asarray(ids, np.str_)), tiles, -1)


def _decode(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if column.null_count:
        if pa.types.is_floating(kind):
            column = column.fill_null(float("nan"))
        elif pa.types.is_integer(kind):
            column = column.fill_null(-1)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column = column.fill_null("")
    return np.asarray(column.to_numpy())


def _text(value: Any) -> str:
    """A value in a message: floats in short, long ones cut."""
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"
    text = str(value)
    return text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 1]}…"
