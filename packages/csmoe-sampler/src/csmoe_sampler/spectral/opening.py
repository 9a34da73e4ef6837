"""The configuration's scenes, searched for once and frozen: the spectral descriptor, opened."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from csmoe_sampler.config import SceneConfig, SpectralConfig
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.remote import Patience
from csmoe_sampler.scenes import signer_of
from csmoe_sampler.scenes.journal import read_portion
from csmoe_sampler.scenes.provider import Provider, load_provider
from csmoe_sampler.scenes.sources import catalogue_folder, journal_digest, open_source, wanted_of
from csmoe_sampler.scenes.table import SCENES
from csmoe_sampler.spectral.choice import SceneChooser, outlines_of
from csmoe_sampler.spectral.descriptor import Spectral
from csmoe_sampler.spectral.overviews import Access
from csmoe_sampler.spectral.reading import Recipe
from csmoe_sampler.spectral.statistics import UNITS
from csmoe_sampler.stac.items import GLOBE, Box, is_remote, portable_href
from csmoe_sampler.storage import Lock
from csmoe_sampler.types import Int64

_PRODUCT = "sentinel-2-l2a"


def open_spectral(
    config: SpectralConfig,
    grid: TileGrid,
    tiles: Int64,
    journal: Path,
    *,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Spectral:
    """The descriptor; its scenes are searched for, no pixel is read.

    Args:
        config: `[spectral]`.
        grid: The grid of `tiles`.
        tiles: Those that will be described. A local catalogue is read in whole whatever they are, so that an atlas can
            grow; in one on the network, only scenes near them are looked for, and so an atlas of another region has
            another provenance.
        journal: A folder for what comes from a catalogue on the network. What is there is not asked for again, so that
            a run that was killed goes on with the same scenes; remove it to see the catalogue anew.
        progress: Told of the search.
        patience: How long the catalogue may fail.

    Raises:
        ConfigError: The provider or its product are not usable.
        CatalogError: The catalogue is out of reach, or has no scene that can be used.
    """
    rule, patience = config.scenes(), patience or Patience()
    provider = load_provider(rule.provider)
    product = provider.product(_PRODUCT)
    outlines = outlines_of(grid, tiles)
    area = GLOBE if _is_local(rule) else _bounds(outlines)
    with TemporaryDirectory() as passing:
        wanted = wanted_of(rule, provider, area)
        folder = (Path(passing) if _is_local(rule) else journal) / journal_digest(rule, wanted, area)[:16]
        source = open_source(rule, provider, wanted, folder, patience)
        with Lock(folder):
            portions = source.portions(outlines, progress or NoProgress())["s2"]
            tables = [table for path in portions for table in read_portion(path)]
    scenes = pa.concat_tables([SCENES.empty_table(), *tables])
    return Spectral(
        chooser=SceneChooser.of(_once(scenes), rule, folder=catalogue_folder(rule)),
        recipe=Recipe(bands=config.bands, decimation=config.decimation, units=UNITS if product.unit == "DN" else 1.0),
        access=Access(sign=signer_of(rule, patience)),
        origin=_origin(rule, provider),
    )


def _is_local(rule: SceneConfig) -> bool:
    if rule.items:
        return not any(item == "bulk" or is_remote(item) for item in rule.items)
    return rule.url is not None and not is_remote(rule.url)


def _bounds(outlines: Any) -> Box:
    west, south, east, north = shapely.total_bounds(outlines).tolist()
    return (west, south, east, north)


def _once(scenes: pa.Table) -> pa.Table:
    """Each scene once, sorted by item; portions overlap."""
    scenes = scenes.sort_by("item")
    items = scenes["item"].to_numpy()
    return scenes.filter(pa.array(np.concatenate([[True], items[1:] != items[:-1]])[: items.size]))


def _origin(rule: SceneConfig, provider: Provider) -> dict[str, Any]:
    return {
        "provider": provider.name,
        "catalogue": None if rule.items else portable_href(rule.url or provider.api or ""),
        "items": [item if item == "bulk" else portable_href(item) for item in rule.items],
        "start": str(rule.start),
        "end": str(rule.end),
        "max_cloud_percent": rule.max_cloud_percent,
    }
