"""Scenes: catalogues -> tables of scenes -> the best pair of Sentinel-1 and Sentinel-2 for every tile."""

from csmoe_sampler.scenes.journal import RequestPlan
from csmoe_sampler.scenes.matching import Tiles
from csmoe_sampler.scenes.pairing import Pairer, open_pairer
from csmoe_sampler.scenes.sources import resolve_href, signer_of

__all__ = ["Pairer", "RequestPlan", "Tiles", "open_pairer", "resolve_href", "signer_of"]
