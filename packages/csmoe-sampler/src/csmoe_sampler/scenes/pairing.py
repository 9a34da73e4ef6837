"""Manifest tiles -> their scenes: which catalogue is asked, what is kept of it, and what is chosen."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from csmoe_sampler.config import SceneConfig
from csmoe_sampler.errors import ConfigError
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.remote import Patience, Signer
from csmoe_sampler.scenes.items import superseded
from csmoe_sampler.scenes.journal import RequestPlan, count_portions, num_scenes, read_portion
from csmoe_sampler.scenes.matching import Exclusions, Matcher, Tiles
from csmoe_sampler.scenes.provider import Provider, load_provider
from csmoe_sampler.scenes.sources import SceneSource, journal_digest, open_source, signer_of, wanted_of
from csmoe_sampler.stac.items import GLOBE, Box, portable_href
from csmoe_sampler.storage import Lock

JOURNAL_VERSION = 1
_MAGIC = "*?["
_DIGEST = f"S{hashlib.sha256().digest_size}"


def open_pairer(
    config: SceneConfig,
    journal: Path,
    *,
    area: Box | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Pairer:
    """A pairer of tiles with the scenes of a catalogue; nothing is asked for yet.

    Args:
        config: `[scenes]`.
        journal: A folder for what comes from the catalogue. Whatever is there already is not asked for again, so that a
            killed run continues and a changing catalogue changes nothing; remove it to see a catalogue anew.
        area: Item tables are read within this box alone; all tiles must lie in it. Searches do not need it.
        patience: How long a service may fail.
        progress: Told of searches and of the matching.

    Raises:
        ConfigError: The provider, its products, or the exclusion list are not usable.
    """
    provider = load_provider(config.provider)
    wanted = wanted_of(config, provider, area or GLOBE)
    folder = journal / journal_digest(config, wanted, area)[:16]
    source = open_source(config, provider, wanted, folder, patience or Patience())
    return Pairer(config, provider, source, folder, progress or NoProgress())


class Pairer:
    """Chooses scenes; may be asked again with other tiles, as a second draw does."""

    def __init__(
        self,
        config: SceneConfig,
        provider: Provider,
        source: SceneSource,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._config = config
        self._provider = provider
        self._source = source
        self._folder = folder
        self._progress = progress
        self._exclusions = read_exclusions(config.exclude)
        self._used: dict[Path, str] = {}
        self._superseded: set[str] = set()

    @property
    def signer(self) -> Signer | None:
        """Signs the hrefs of the chosen scenes."""
        return signer_of(self._config)

    def plan(self, tiles: Tiles) -> RequestPlan:
        """What `choose` would ask of the service; nothing is requested."""
        return self._source.plan(tiles.geometry)

    def choose(self, tiles: Tiles) -> pa.Table:
        """The best scenes of each tile, in order: the columns of `choice_schema`, and `scene_missing`.

        Raises:
            CatalogError: The catalogue is out of reach or not usable; what has come until then is kept.
            StorageError: The journal cannot be written, or another process writes to it.
        """
        with Lock(self._folder):
            portions = self._source.portions(tiles.geometry, self._progress) if len(tiles) else {}
            radar, optical = portions.get("s1", []), portions.get("s2", [])
            self._used |= dict.fromkeys(radar, "s1") | dict.fromkeys(optical, "s2")
            self._superseded = self._find_superseded(optical)
            matcher = Matcher(tiles, self._config, self._exclusions)
            self._progress.start("matching scenes", num_scenes([*radar, *optical]), "scenes")
            for path in radar:
                for table in read_portion(path):
                    matcher.add_radar(table)
                    self._progress.advance(len(table))
            matcher.close_radar()
            for path in optical:
                for table in read_portion(path):
                    matcher.add_optical(self._current(table))
                    self._progress.advance(len(table))
            self._progress.finish()
        return matcher.result()

    def provenance(self) -> dict[str, Any]:
        """JSON-able: the provider's table, the digest of the configuration, and the scenes that were considered.

        `snapshot` is a digest of their ids and hrefs: it changes when the catalogue does. `usable` are scenes; `read`
        and `left_out` count a scene once in every portion (cell or file) that it lies in.
        """
        numbers: dict[str, Any] = {}
        digests = {sensor: self._scene_digests(sensor) for sensor in sorted(set(self._used.values()))}
        for sensor, unique in digests.items():
            counts = count_portions(path for path, owner in self._used.items() if owner == sensor)
            numbers[sensor] = {"usable": len(unique), **counts}
        if "s2" in numbers:
            numbers["s2"]["superseded"] = len(self._superseded)
        snapshot = hashlib.sha256(b"".join(digest.tobytes() for digest in digests.values()))
        config = self._config
        return {
            "provider": self._provider.model_dump(mode="json", exclude_none=True),
            "catalogue": None if config.items else portable_href(config.url or self._provider.api or ""),
            "items": [_portable(item) for item in config.items],
            "config": config.portable(),
            "config_digest": config.digest(),
            "scenes": numbers,
            "excluded": len(self._exclusions),
            "snapshot": f"sha256:{snapshot.hexdigest()}",
        }

    def _find_superseded(self, paths: Iterable[Path]) -> set[str]:
        columns = ["item", "baseline"]
        tables = (table for path in paths for table in read_portion(path, columns))
        return superseded(
            pair for table in tables for pair in zip(*(table[name].to_pylist() for name in columns), strict=True)
        )

    def _current(self, table: pa.Table) -> pa.Table:
        old = pc.is_in(table["item"], pa.array(sorted(self._superseded), pa.string()))
        return table.filter(pc.invert(old))

    def _scene_digests(self, sensor: str) -> npt.NDArray[np.bytes_]:
        """A digest of the id and the hrefs of every scene, sorted; a scene of several portions is there once."""
        columns = ["item", "href", "stem", "files"]
        digests: list[npt.NDArray[np.bytes_]] = [np.zeros(0, _DIGEST)]
        for path in (path for path, owner in self._used.items() if owner == sensor):
            for table in read_portion(path, columns):
                rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
                lines = b"".join(hashlib.sha256("\t".join(row).encode()).digest() for row in rows)
                digests.append(np.frombuffer(lines, _DIGEST))
        return np.unique(np.concatenate(digests))


def read_exclusions(path: str | None) -> Exclusions:
    """Item -> tiles that must not have it, or None for all tiles; from a CSV list.

    Raises:
        ConfigError: There is no such file, or it has no column `item`.
    """
    if path is None:
        return {}
    found: dict[str, frozenset[str] | None] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if "item" not in (rows.fieldnames or ()):
                raise ConfigError(f"exclusion list {path}: it has no column 'item'")
            for row in rows:
                item, tile = (row["item"] or "").strip(), (row.get("tile_id") or "").strip()
                before = found.get(item, frozenset())
                if item:
                    found[item] = None if before is None or not tile else before | {tile}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"exclusion list {path} cannot be read ({error}): check scenes.exclude") from error
    return found


def _portable(item: str) -> str:
    return item if item == "bulk" else portable_href(item)
