"""A section of the page: a heading, the finding in a sentence or two, and its figures."""

from __future__ import annotations

from dataclasses import dataclass

from csmoe_sampler.report.markup import Markup, element


@dataclass(frozen=True)
class Section:
    """One section, in the order of the page."""

    name: str
    """Anchor."""
    label: str
    """Its name in the navigation."""
    title: str
    lead: str
    """What the reader should see in it."""
    body: Markup

    def markup(self) -> Markup:
        """The section as HTML."""
        return element(
            "section",
            element("h2", self.title, id=f"{self.name}-title"),
            element("p", self.lead, class_="lead"),
            self.body,
            id=self.name,
            aria_labelledby=f"{self.name}-title",
        )
