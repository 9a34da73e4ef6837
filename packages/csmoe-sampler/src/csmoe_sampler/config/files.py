"""Configuration files: TOML with overrides on top, checked as a whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ValidationError

from csmoe_sampler.config.build import BuildConfig
from csmoe_sampler.config.scenes import ChipConfig, SceneConfig
from csmoe_sampler.config.section import Section
from csmoe_sampler.errors import ConfigError

STAGES: dict[str, type[Section]] = {"scenes": SceneConfig, "chips": ChipConfig}
"""Tables of a configuration file that belong to later stages, which have digests of their own."""


def load_config(path: Path | None, overrides: Mapping[str, Any], *, base: BuildConfig | None = None) -> BuildConfig:
    """The configuration of a TOML file, with dotted `overrides` (`{"grid.spacing_km": 5}`) on top.

    Args:
        path: The file; None: no file.
        overrides: Keys with the value None override nothing.
        base: What holds where neither says anything; default: the defaults.

    Raises:
        ConfigError: The file is missing or malformed, or values are not usable; all problems in one message.
    """
    values: dict[str, Any] = base.model_dump(mode="json") if base else {}
    if path:
        _merge(values, {key: table for key, table in _read_toml(path).items() if key not in STAGES})
        for name in STAGES:
            load_section(path, cast(Any, name), {})  # a mistake there is told now, not hours later
    for dotted, value in overrides.items():
        if value is not None:
            _merge(values, _nested(dotted, value))
    try:
        return BuildConfig.model_validate(values)
    except ValidationError as error:
        where = f"configuration {path}" if path else "configuration"
        raise ConfigError(f"{where}: {'; '.join(_problem(e) for e in error.errors())}") from error


def load_section(path: Path | None, name: Literal["scenes", "chips"], overrides: Mapping[str, Any]) -> Any:
    """The `SceneConfig` or `ChipConfig` of a TOML file, with `overrides` on top; raises ConfigError.

    The other tables of the file belong to other stages.
    """
    values = dict(_read_toml(path).get(name, {})) if path else {}
    values |= {key: value for key, value in overrides.items() if value is not None}
    try:
        return STAGES[name].model_validate(values)
    except ValidationError as error:
        where = f"configuration {path}, [{name}]" if path else f"configuration [{name}]"
        raise ConfigError(f"{where}: {'; '.join(_problem(e) for e in error.errors())}") from error


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    first, _, rest = dotted.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _merge(values: dict[str, Any], more: dict[str, Any]) -> None:
    """Tables are merged key by key, but tables of free keys (weights, queries) and everything else are replaced."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict) and key not in {"weights", "query"}:
            _merge(values[key], value)
        else:
            values[key] = value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"configuration {path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path}: not valid TOML ({error})") from error


def _problem(error: Any) -> str:
    # Of alternatives, pydantic names each as a further part of the place.
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith(("constrained-", "literal[")))
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key} = {error['input']!r}: {message}" if key else message
