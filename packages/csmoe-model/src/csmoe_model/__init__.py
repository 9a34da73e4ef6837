"""CSMoE: a cross-sensor masked autoencoder with Soft mixture-of-experts."""

from importlib.metadata import version

__version__ = version("csmoe-model")
