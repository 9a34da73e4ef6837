"""A figure and its interval."""

from __future__ import annotations

import math
from typing import NamedTuple


class Figure(NamedTuple):
    """A value, with the interval that holds it at 95 % where one was asked for."""

    value: float
    low: float = math.nan
    high: float = math.nan


Figures = dict[str, Figure]
"""By name with its convention: `accuracy/micro`, `f1@10/A`, `miou/dataset`."""
