"""Markdown: tables, lists, and text that is shown as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TO_BE_WRITTEN = "<!-- to be written -->"


def plain(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", re.sub(r"[ \t\r\n]+", " ", str(text)).strip())


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; its cells hold plain text."""
    lines = [[plain(cell) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(lines: Iterable[str]) -> str:
    """A list; its lines are Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def question(text: str) -> str:
    """A question with a place for the answer."""
    return f"**{text}** {TO_BE_WRITTEN}"
