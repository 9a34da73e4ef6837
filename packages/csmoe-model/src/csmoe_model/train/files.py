"""Configuration files: TOML over a preset, with overrides on top, checked as a whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from csmoe_model.errors import ConfigError
from csmoe_model.presets import preset
from csmoe_model.train.config import TrainConfig


def load_config(
    path: Path | Sequence[Path] | None,
    overrides: Mapping[str, Any],
    *,
    preset_name: str | None = None,
    base: TrainConfig | None = None,
) -> TrainConfig:
    """The configuration of TOML files, over a preset, with dotted `overrides` (`{"optimiser.lr": 1e-3}`) on top.

    The text "none" in a file leaves out what is there: a sensor, the mixtures (`encoder.moe`), crops, clipping.

    Args:
        path: The file, or several, of which later ones go before; None: no file. Its key `preset` names a preset too.
        overrides: Keys with the value None override nothing.
        preset_name: Where the model begins; goes before that of the file.
        base: What holds where nothing else says anything; default: the defaults.

    Raises:
        ConfigError: The file is missing or malformed, or values are not usable; all problems in one message.
    """
    values: dict[str, Any] = base.model_dump(mode="json") if base else {}
    paths = [] if path is None else [path] if isinstance(path, Path) else list(path)
    own: dict[str, Any] = {}
    for one in paths:
        _merge(own, _read_toml(one))
    named = own.pop("preset", None)
    if name := preset_name or named:
        values["model"] = preset(str(name)).model_dump(mode="json")
    _merge(values, own)
    for dotted, value in overrides.items():
        if value is not None:
            _merge(values, _nested(dotted, value))
    model = values.get("model", {})
    if isinstance(sensors := model.get("sensors"), dict):
        model["sensors"] = {name: sensor for name, sensor in sensors.items() if sensor is not None}
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        where = f"configuration {' with '.join(map(str, paths))}".rstrip()
        raise ConfigError(f"{where}: {problems(error)}") from error


def problems(error: ValidationError) -> str:
    """All that is wrong, each with its key."""
    return "; ".join(_problem(one) for one in error.errors())


def _problem(error: Any) -> str:
    # Of alternatives, pydantic names each as a further part of the place.
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith(("constrained-", "literal[")))
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key} = {error['input']!r}: {message}" if key else message


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    first, _, rest = dotted.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Tables are merged key by key, but a sensor is replaced as a whole, and so is everything that is no table."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict) and "bands" not in value:
            _merge(values[key], value)
        else:
            values[key] = None if value == "none" else value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"configuration {path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path}: not valid TOML ({error})") from error
