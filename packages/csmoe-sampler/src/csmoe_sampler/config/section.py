"""What all parts of the configuration have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest_of(values: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON, as 64 hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_name(path: str | None) -> str | None:
    """Local paths without their folders; names and URLs as they are."""
    return path if path is None or "://" in path else Path(path).name or path
