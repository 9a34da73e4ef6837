"""Representative, diverse Earth-observation tiles from land cover and climate."""

from importlib.metadata import version

__version__ = version("csmoe-sampler")
