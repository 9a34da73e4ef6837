"""A manifest and its chips in the formats of others: one table of formats, one module each."""

from csmoe_sampler.exports.formats import FORMATS, Format, export

__all__ = ["FORMATS", "Format", "export"]
