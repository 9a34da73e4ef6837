"""The family of errors that a caller may meet; each message names the object, what was found and what to do."""


class SamplerError(Exception):
    """Base of all errors of csmoe-sampler; the command line prints it as one line and exits with 1."""


class ConfigError(SamplerError, ValueError):
    """The configuration, or a value given on the command line, is not usable."""


class RegionError(ConfigError):
    """A region is unknown, malformed, or holds no tile."""


class GridError(SamplerError, ValueError):
    """A coordinate or tile id does not belong to the grid."""


class LegendError(SamplerError, ValueError):
    """A legend is malformed, or a raster holds codes that the legend does not know."""


class RasterError(SamplerError):
    """A raster cannot be opened, read in full, or placed on the globe."""


class RasterUnreachableError(RasterError):
    """A remote raster keeps failing in a way that may pass."""


class RasterAccessError(RasterError):
    """The server of a remote raster refuses access."""


class CatalogError(SamplerError):
    """A catalogue or download service is unreachable, or answers something unusable."""


class AtlasError(SamplerError):
    """An atlas is missing, damaged, or belongs to another grid or to other sources."""


class SelectionError(SamplerError, ValueError):
    """The sample asked for cannot be drawn from the tiles there are."""


class ManifestError(SamplerError, ValueError):
    """A manifest violates its schema."""


class ChipError(SamplerError):
    """A chip store is missing, unfinished, damaged, or belongs to another manifest or configuration."""


class StorageError(SamplerError, OSError):
    """An output cannot be written: the disk is full, or the folder is not writable."""
