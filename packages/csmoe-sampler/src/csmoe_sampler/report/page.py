"""The page: template, navigation and sections."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from string import Template

from csmoe_sampler.report.coverage import balance_section, headline, map_section, matrix_section
from csmoe_sampler.report.data import ReportData
from csmoe_sampler.report.design import (
    allocation_section,
    diversity_section,
    prefix_section,
    weight_section,
)
from csmoe_sampler.report.figures import paragraphs
from csmoe_sampler.report.markup import Markup, element, escape, join
from csmoe_sampler.report.methods import methods_section, provenance_section
from csmoe_sampler.report.quantities import count, setting
from csmoe_sampler.report.scenes import chip_section, scene_section
from csmoe_sampler.report.section import Section

_FINDINGS = (
    map_section,
    matrix_section,
    balance_section,
    allocation_section,
    diversity_section,
    prefix_section,
    weight_section,
    scene_section,
    chip_section,
)
_METHODS = (methods_section, provenance_section)


def render_page(data: ReportData, further: Sequence[Section] = ()) -> str:
    """The report as one HTML page that needs nothing else: no network, no fonts, no libraries.

    Args:
        data: What it is about.
        further: Sections of the caller's own, between the findings and the methods.
    """
    found = [*(build(data) for build in _FINDINGS), *further, *(build(data) for build in _METHODS)]
    sections = [section for section in found if section is not None]
    links = [element("a", section.label, href=f"#{section.name}") for section in sections]
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{count(data.num_rows)} tiles, {data.metadata['region']}"),
        subtitle=escape(_subtitle(data)),
        headline=headline(data),
        notes=_notes(data),
        links=join(links),
        sections=join(section.markup() for section in sections),
        version=_version(data),
    )


def _notes(data: ReportData) -> Markup:
    """What could not be had as asked for, before anything else."""
    notes = data.metadata["notes"]
    if not notes:
        return Markup("")
    return element("aside", paragraphs([_sentence(note) for note in notes]), class_="notes", aria_label="Notes")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _subtitle(data: ReportData) -> str:
    metadata = data.metadata
    return (
        f"Major TOM grid of {setting(metadata['grid']['spacing_km'])} km · {metadata['objective']} selection · "
        f"seed {metadata['seed']} · configuration {metadata['config_digest'][:12]}"
    )


def _version(data: ReportData) -> Markup:
    return escape(f"csmoe-sampler {data.metadata['package_version']}")
