"""A resolved configuration as TOML, as the command line reads it back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def write_toml(values: Mapping[str, Any]) -> str:
    """TOML of nested mappings, lists, text, numbers and truth values; None is left out, since TOML has none."""
    return "\n".join(_table(values, ())).strip() + "\n"


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    known = {key: value for key, value in values.items() if value is not None}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in known.items() if not _is_section(value)]
    for key, value in known.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{'.'.join(map(_key, (*path, key)))}]", *_table(value, (*path, key))]
        elif _is_section(value):
            for item in value:
                lines += ["", f"[[{'.'.join(map(_key, (*path, key)))}]]", *_table(item, (*path, key))]
    return lines


def _is_section(value: Any) -> bool:
    """A table, or a list of tables, which TOML writes under a heading of its own."""
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(item, Mapping) for item in value)
    )


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "")
    return key if plain.isascii() and plain.isalnum() else _text(key)
