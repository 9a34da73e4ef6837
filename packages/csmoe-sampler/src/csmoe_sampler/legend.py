"""What the codes of a categorical raster mean: classes, groups, colours, no data, open water. Data, never code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_sampler.errors import LegendError
from csmoe_sampler.types import Bool, Int16

NODATA = -1
"""In `Legend.lookup`: the code says that nothing is known here."""
UNKNOWN = -2
"""In `Legend.lookup`: the legend does not have the code."""
MAX_CLASSES = 250
RESERVED_LABELS = frozenset({"valid", "water", "entropy", "classes", "pixels"})
"""Would give two columns of class shares one name."""

_FIELDS = {"name": str, "title": str, "source": str, "licence": str, "nodata": list, "water": list, "class": list}
_CLASS_FIELDS = {"label": str, "codes": list, "group": str, "color": str}
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
_COLOR = re.compile(r"#[0-9a-f]{6}")
_CODE_RANGE = (-(2**15), 2**16 - 1)


@dataclass(frozen=True, kw_only=True)
class Legend:
    """The classes of a raster, in the order of all tables and columns."""

    name: str
    title: str
    source: str
    """Where the classes are documented."""
    licence: str
    """Licence of the maps."""
    codes: tuple[tuple[int, ...], ...]
    """Of each class, the codes that mean it."""
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    """Of each class, the broader class into which sparse strata merge."""
    colors: tuple[str, ...]
    """Of each class, `#rrggbb`."""
    nodata: tuple[int, ...]
    """Codes that mean: not known."""
    water: tuple[str, ...]
    """Labels that mean open water."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def water_mask(self) -> Bool:
        """Of each class, whether it is open water."""
        return np.isin(self.labels, self.water)

    @property
    def label_of(self) -> dict[int, str]:
        """Label of each code that means a class."""
        return {code: label for label, codes in zip(self.labels, self.codes, strict=True) for code in codes}

    def lookup(self, dtype: npt.DTypeLike = np.uint8) -> Int16:
        """Class position of every value of an 8- or 16-bit integer type, NODATA, or UNKNOWN.

        Indexed by the value's bits read as an unsigned number: int8 -1 is entry 255. Codes that the type cannot hold
        are left out.
        """
        limits = np.iinfo(dtype)
        assert limits.bits <= 16, "a table of all values is for small integers"
        table = np.full(2**limits.bits, UNKNOWN, np.int16)
        classes = [*enumerate(self.codes), (NODATA, self.nodata)]
        for position, codes in classes:
            table[[code % 2**limits.bits for code in codes if limits.min <= code <= limits.max]] = position
        return table

    def to_json(self) -> dict[str, Any]:
        """The legend as JSON values, for the metadata of outputs."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "licence": self.licence,
            "codes": [list(codes) for codes in self.codes],
            "labels": list(self.labels),
            "groups": list(self.groups),
            "colors": list(self.colors),
            "nodata": list(self.nodata),
            "water": list(self.water),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Legend:
        """The legend that `to_json` has written."""
        frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        frozen["codes"] = tuple(tuple(codes) for codes in values["codes"])
        return cls(**frozen)


def shipped_legends() -> list[str]:
    """Names of the legends that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def load_legend(name_or_path: str) -> Legend:
    """A shipped legend by its name, or the user's by the path of a TOML file of the same format.

    Raises:
        LegendError: There is none, or it is malformed; all problems are in the one message.
    """
    if name_or_path in shipped_legends():
        return _parse((_shipped() / f"{name_or_path}.toml").read_text(encoding="utf-8"), name_or_path)
    try:
        text = Path(name_or_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LegendError(
            f"legend '{name_or_path}': neither a readable text file nor one of {', '.join(shipped_legends())}"
        ) from error
    return _parse(text, name_or_path)


def _shipped() -> Traversable:
    return files("csmoe_sampler") / "legends"


def _parse(text: str, where: str) -> Legend:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LegendError(f"legend '{where}': not valid TOML ({error})") from error
    problems = list(_shape_problems(table)) or list(_content_problems(table))
    if problems:
        raise LegendError(f"legend '{where}': {'; '.join(problems)}")
    classes = table["class"]
    return Legend(
        name=table["name"],
        title=table["title"],
        source=table["source"],
        licence=table["licence"],
        codes=tuple(tuple(entry["codes"]) for entry in classes),
        labels=tuple(entry["label"] for entry in classes),
        groups=tuple(entry["group"] for entry in classes),
        colors=tuple(entry["color"] for entry in classes),
        nodata=tuple(table["nodata"]),
        water=tuple(table["water"]),
    )


def _shape_problems(table: dict[str, Any]) -> Iterator[str]:
    """Missing and unknown keys, and values of the wrong type: what must hold before the content can be judged."""
    yield from _key_problems(table, _FIELDS, "")
    entries = table.get("class")
    if not isinstance(entries, list):
        return
    if not entries:
        yield "it has no class"
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            yield f"class {number} is not a table"
            continue
        yield from _key_problems(entry, _CLASS_FIELDS, f"class {number}: ")
        if isinstance(entry.get("codes"), list):
            yield from _code_problems(entry["codes"], f"class {number}: codes")
    if isinstance(table.get("nodata"), list):
        yield from _code_problems(table["nodata"], "nodata")


def _key_problems(table: dict[str, Any], fields: Mapping[str, type], where: str) -> Iterator[str]:
    for key, kind in fields.items():
        if key not in table:
            yield f"{where}{key} is missing"
        elif not isinstance(table[key], kind):
            yield f"{where}{key} is not a {'list' if kind is list else 'text'}"
    unknown = sorted(set(table) - set(fields))
    if unknown:
        yield f"{where}unknown key {', '.join(unknown)} (known: {', '.join(fields)})"


def _code_problems(codes: list[Any], where: str) -> Iterator[str]:
    low, high = _CODE_RANGE
    for code in codes:
        if type(code) is not int or not low <= code <= high:
            yield f"{where} holds {code!r}, which is not a whole number from {low} to {high}"


def _content_problems(table: dict[str, Any]) -> Iterator[str]:
    if len(table["class"]) > MAX_CLASSES:
        yield f"it has {len(table['class'])} classes, more than {MAX_CLASSES}"
    owner: dict[int, str] = {}
    labels: set[str] = set()
    for entry in table["class"]:
        label = entry["label"]
        if not _WORD.fullmatch(label):
            yield f"label '{label}' is not made of letters, digits and single underscores"
        if label in RESERVED_LABELS:
            yield f"label '{label}' is the name of a column: choose another"
        if label in labels:
            yield f"label '{label}' is given twice"
        labels.add(label)
        if not entry["codes"]:
            yield f"class '{label}' has no codes"
        for code in entry["codes"]:
            if code in owner:
                yield f"code {code} is given twice, for '{owner[code]}' and '{label}'"
            owner[code] = label
        if not _WORD.fullmatch(entry["group"]):
            yield f"group '{entry['group']}' of '{label}' is not made of letters, digits and single underscores"
        if not _COLOR.fullmatch(entry["color"]):
            yield f"color '{entry['color']}' of '{label}' is not of the form #rrggbb (lower case)"
    for code in table["nodata"]:
        if code in owner:
            yield f"code {code} is both no-data and the class '{owner[code]}'"
    for label in table["water"]:
        if label not in labels:
            yield f"water names '{label}', which is no class"
