"""A configuration of scenes -> what is asked of which catalogue, with what signature, and where its files are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csmoe_sampler.config import SceneConfig
from csmoe_sampler.errors import ConfigError
from csmoe_sampler.remote import Patience, Signer, planetary_computer_signer
from csmoe_sampler.scenes.items import Wanted
from csmoe_sampler.scenes.provider import Provider, load_provider
from csmoe_sampler.scenes.search import SearchSource
from csmoe_sampler.scenes.tables import TableSource
from csmoe_sampler.stac.items import Box, is_remote, local_path

JOURNAL_VERSION = 1
_MAGIC = "*?["
SceneSource = SearchSource | TableSource


def open_source(
    config: SceneConfig, provider: Provider, wanted: dict[str, Wanted], folder: Path, patience: Patience
) -> SceneSource:
    """The catalogue or the item tables of a configuration, with `folder` as their journal; nothing is asked for yet.

    Raises:
        ConfigError: There is no catalogue.
    """
    if config.items:
        signer = signer_of(config, patience)
        return TableSource(config.items, wanted, folder, signer=signer, patience=patience)
    url = config.url or provider.api
    if url is None:
        raise ConfigError(f"provider '{config.provider}' has no catalogue: give its url, or items")
    url = url if is_remote(url) else str(Path(local_path(url)).resolve())
    return SearchSource(url, wanted, folder, page_items=provider.page_items, patience=patience)


def wanted_of(config: SceneConfig, provider: Provider, area: Box) -> dict[str, Wanted]:
    """What to ask of each sensor."""
    start = datetime.combine(config.start, time())
    end = datetime.combine(config.end, time()) + timedelta(days=1)
    folder = catalogue_folder(config)
    optical = Wanted(
        product=provider.product("sentinel-2-l2a"),
        start=start,
        end=end,
        max_cloud_percent=config.max_cloud_percent,
        box=area,
        folder=folder,
    )
    if config.sentinel1 == "none":
        return {"s2": optical}
    product, margin = provider.product(f"sentinel-1-{config.sentinel1}"), timedelta(days=config.max_dt_days)
    radar = Wanted(product=product, start=start - margin, end=end + margin, box=area, folder=folder)
    return {"s1": radar, "s2": optical}


def journal_digest(config: SceneConfig, wanted: dict[str, Wanted], area: Box | None) -> str:
    """Of all that decides what a journal holds."""
    url: Any = config.url
    if url is not None and not is_remote(url):
        path = Path(local_path(url)).resolve()
        # A catalogue on disk that was written anew is read anew; one on the network stays as it was first seen.
        url = [str(path), *((path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else ())]
    values = {
        "version": JOURNAL_VERSION,
        "url": url,
        "items": [item if item == "bulk" or is_remote(item) else str(Path(item).absolute()) for item in config.items],
        "area": area if config.items else None,
        "provider": config.provider,
        "wanted": {
            sensor: [one.product.model_dump(mode="json"), str(one.start), str(one.end), one.max_cloud_percent]
            for sensor, one in wanted.items()
        },
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def signer_of(config: SceneConfig, patience: Patience | None = None) -> Signer | None:
    """What signs the hrefs of the scenes of a configuration; None where they can be read as they are.

    The endpoint is `scenes.sign`, or else the provider's, unless the catalogue is one's own (`scenes.url`).
    """
    provider = load_provider(config.provider)
    endpoint = config.sign or (None if config.url else provider.sign)
    if endpoint is None:
        return None
    own = planetary_computer_signer()
    if config.sign is None and urlsplit(endpoint).hostname == "planetarycomputer.microsoft.com":
        endpoint = own.endpoint  # which the environment may change
    return replace(
        own, endpoint=endpoint.rstrip("/"), hosts=provider.sign_hosts or own.hosts, patience=patience or own.patience
    )


def catalogue_folder(config: SceneConfig) -> Path | None:
    """The folder that hrefs of a local catalogue are relative to; None where the catalogue is on the network."""
    if config.items:
        local = [_fixed_folder(item) for item in config.items if item != "bulk" and not is_remote(item)]
        if not local:
            return None
        first, *others = local
        while any(not other.is_relative_to(first) for other in others):
            first = first.parent
        return first
    return None if config.url is None or is_remote(config.url) else _fixed_folder(config.url)


def _fixed_folder(address: str) -> Path:
    """The folder itself, that of a file, or the deepest one that a pattern names without wildcards."""
    path = Path(local_path(address)).resolve()
    while any(mark in part for part in path.parts for mark in _MAGIC):
        path = path.parent
    return path if path.is_dir() else path.parent


def resolve_href(href: str, config: SceneConfig) -> str:
    """The address behind an href of a manifest: hrefs of a local catalogue are relative to its folder."""
    folder = catalogue_folder(config)
    return href if is_remote(href) or folder is None else str((folder / href).resolve())
