"""Chips: the pixels of a manifest's scenes, in one UTM grid a tile, in a Zarr store."""

from csmoe_sampler.chips.fetch import FetchResult, fetch_chips
from csmoe_sampler.chips.journal import Failure
from csmoe_sampler.chips.store import ChipStore, open_chips

__all__ = ["ChipStore", "Failure", "FetchResult", "fetch_chips", "open_chips"]
