"""The files of a scene in three short texts, so that a manifest of 500,000 rows stays small.

    href  https://account.blob.core.windows.net/.../IMG_DATA/          the folder that the files have in common
    stem  T47XML_20240419T095549_                                      the beginning that their names have in common
    files {"B02":"R10m/*B02_10m.tif","B05":"R20m/*B05_20m.tif"}        JSON, with an asterisk for the stem

The address of a band is `href` + its file, with `stem` for the asterisk. `files` is the same for most scenes of a
collection, and Parquet keeps such a text once.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from csmoe_sampler.errors import CatalogError


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """Addresses of a scene's files, packed."""

    href: str
    stem: str
    files: str

    @classmethod
    def pack(cls, addresses: Mapping[str, str]) -> SceneFiles:
        """From band (or mask) name -> unsigned address; `address#3` is the third band of its file.

        Raises:
            CatalogError: An address holds an asterisk.
        """
        for address in addresses.values():
            if "*" in address:
                raise CatalogError(f"asset address {address} holds an asterisk: ask the provider to encode it as %2A")
        folders = [address[: address.rfind("/") + 1] for address in addresses.values()]
        href = _common_start(folders)
        href = href[: href.rfind("/") + 1]
        stem = _common_start(address[address.rfind("/") + 1 :] for address in addresses.values())
        rest = {}
        for band, address in addresses.items():
            folder, _, name = address[len(href) :].rpartition("/")
            rest[band] = f"{folder}/*{name[len(stem) :]}" if folder else f"*{name[len(stem) :]}"
        return cls(href, stem, json.dumps(rest, sort_keys=True, separators=(",", ":")))

    def unpack(self) -> dict[str, str]:
        """Band (or mask) name -> address."""
        return {band: self.href + path.replace("*", self.stem) for band, path in json.loads(self.files).items()}


def _common_start(texts: Iterable[str]) -> str:
    """The longest beginning that all texts share: that of the first and the last in their order."""
    ordered = sorted(texts)
    first, last = ordered[0], ordered[-1]
    return first[: bisect_left(range(len(first)), True, key=lambda end: not last.startswith(first[: end + 1]))]
