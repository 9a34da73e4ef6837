"""The configuration's scenes, searched for once and frozen: the spectral descriptor, opened."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from csmoe_sampler.config import SceneConfig, SpectralConfig
from csmoe_sampler.errors import ConfigError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.remote import Patience
from csmoe_sampler.scenes import signer_of
from csmoe_sampler.scenes.items import Wanted
from csmoe_sampler.scenes.journal import read_portion
from csmoe_sampler.scenes.pairing import catalogue_folder
from csmoe_sampler.scenes.provider import Product, Provider, load_provider
from csmoe_sampler.scenes.search import SearchSource
from csmoe_sampler.scenes.table import SCENES
from csmoe_sampler.scenes.tables import TableSource
from csmoe_sampler.spectral.choice import SceneChooser, outlines_of
from csmoe_sampler.spectral.descriptor import Spectral
from csmoe_sampler.spectral.overviews import Access
from csmoe_sampler.spectral.reading import Recipe
from csmoe_sampler.spectral.statistics import UNITS
from csmoe_sampler.stac.items import GLOBE, Box, is_remote, local_path, portable_href
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
        folder = (Path(passing) if _is_local(rule) else journal) / _digest(rule, product, area)[:16]
        source = _source(rule, provider, area, folder, patience)
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


def _source(
    rule: SceneConfig, provider: Provider, area: Box, folder: Path, patience: Patience
) -> TableSource | SearchSource:
    wanted = Wanted(
        product=provider.product(_PRODUCT),
        start=datetime.combine(rule.start, time()),
        end=datetime.combine(rule.end, time()) + timedelta(days=1),
        max_cloud_percent=rule.max_cloud_percent,
        box=area,
        folder=catalogue_folder(rule),
    )
    if rule.items:
        return TableSource(rule.items, {"s2": wanted}, folder, signer=signer_of(rule, patience), patience=patience)
    url = rule.url or provider.api
    if url is None:
        raise ConfigError(f"provider '{rule.provider}' has no catalogue: give spectral.url or spectral.items")
    url = url if is_remote(url) else str(Path(local_path(url)).resolve())
    return SearchSource(url, {"s2": wanted}, folder, page_items=provider.page_items, patience=patience)


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


def _digest(rule: SceneConfig, product: Product, area: Box) -> str:
    """Of all that decides what a journal holds."""
    places = [place if place == "bulk" or is_remote(place) else str(Path(place).absolute()) for place in rule.items]
    url = rule.url if rule.url is None or is_remote(rule.url) else str(Path(local_path(rule.url)).resolve())
    values: list[Any] = [rule.provider, product.model_dump(mode="json"), url, places, str(rule.start), str(rule.end)]
    values += [rule.max_cloud_percent, area if rule.items else None]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _origin(rule: SceneConfig, provider: Provider) -> dict[str, Any]:
    return {
        "provider": provider.name,
        "catalogue": None if rule.items else portable_href(rule.url or provider.api or ""),
        "items": [item if item == "bulk" else portable_href(item) for item in rule.items],
        "start": str(rule.start),
        "end": str(rule.end),
        "max_cloud_percent": rule.max_cloud_percent,
    }
