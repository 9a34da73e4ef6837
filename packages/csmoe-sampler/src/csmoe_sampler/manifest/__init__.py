"""The manifest: one row a sample, in GeoParquet; what the sampler promises to everybody downstream."""

from csmoe_sampler.manifest.files import read_manifest, write_manifest
from csmoe_sampler.manifest.rows import Violation
from csmoe_sampler.manifest.schema import CHIP, SCHEMA_VERSION, Manifest, schema_for
from csmoe_sampler.manifest.validation import validate

__all__ = [
    "CHIP",
    "SCHEMA_VERSION",
    "Manifest",
    "Violation",
    "read_manifest",
    "schema_for",
    "validate",
    "write_manifest",
]
