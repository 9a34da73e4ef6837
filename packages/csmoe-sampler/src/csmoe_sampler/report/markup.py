"""HTML that cannot forget to escape: text goes in as `str`, markup comes out as `Markup`."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

_EMPTY = frozenset({"br", "col", "img", "input", "source"})
"""Elements that have no end tag."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = str | None


def escape(text: str) -> Markup:
    """The text as HTML; what is markup already stays."""
    return text if isinstance(text, Markup) else Markup(html.escape(text, quote=True))


def join(children: Iterable[Child]) -> Markup:
    """The children one after the other, text escaped; None is nothing."""
    return Markup("".join(escape(child) for child in children if child is not None))


def element(tag: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element.

    Args:
        tag: Its name.
        *children: Its contents; plain text is escaped.
        **attributes: A trailing underscore is dropped (`class_`), inner ones become hyphens (`aria_label`); None and
            False leave the attribute out, True gives it no value.
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _EMPTY:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(children)}</{tag}>")
