"""Where the climate class map comes from: Beck et al. (2023), a map of the user's, or monthly normals."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch

from csmoe_sampler.config import ClimateConfig
from csmoe_sampler.errors import CatalogError, ConfigError
from csmoe_sampler.progress import Progress
from csmoe_sampler.remote import Patience, PatientSession, download, read_json
from csmoe_sampler.storage import Lock, atomic_path, file_digest, write_json

_CACHE_VARIABLE = "CSMOE_CACHE"
_ARTICLE_VARIABLE = "CSMOE_BECK2023_ARTICLE"
_MAX_MEMBER_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Release:
    """A published archive that holds a class map."""

    name: str
    article: str
    """Answers as the article endpoint of the figshare API; that of a version, so that it cannot change."""
    archive: str
    """Name of the ZIP file in the article."""
    member: str
    """Path of the map in the archive."""
    md5: str | None
    """Of the archive, as published; None: whatever the article says."""
    citation: str
    license: str


BECK2023 = Release(
    name="beck2023",
    article="https://api.figshare.com/v2/articles/21789074/versions/2",
    archive="koppen_geiger_tif.zip",
    member="1991_2020/koppen_geiger_0p00833333.tif",
    md5="7fc2f5a15d4f5fe0ce59c9a9b502aa09",
    citation="Beck, H. E. et al. (2023), Scientific Data 10, 724, doi:10.6084/m9.figshare.21789074.v2",
    license="CC-BY-4.0",
)


@dataclass(frozen=True, kw_only=True)
class ClimateMap:
    """A raster of Köppen-Geiger codes."""

    sources: tuple[str, ...]
    """Paths, URLs or glob patterns of the raster's files."""
    provenance: dict[str, Any]


def cache_folder() -> Path:
    """Where downloads are kept: `CSMOE_CACHE`, or the user's cache folder."""
    return Path(os.environ.get(_CACHE_VARIABLE) or pooch.os_cache("csmoe"))


def climate_map(
    config: ClimateConfig,
    cache: Path,
    progress: Progress,
    *,
    release: Release = BECK2023,
    patience: Patience | None = None,
) -> ClimateMap:
    """The class map that the configuration asks for; fetched or classified at most once into `cache`.

    The environment variable `CSMOE_BECK2023_ARTICLE` names another address that answers as `Release.article`.

    Raises:
        ConfigError: The source is neither a name nor a file, or the normals are not usable.
        CatalogError: The map cannot be fetched, or is not what was published.
        StorageError: The cache cannot be written.
    """
    if config.temperature is not None or config.source == "terraclimate":
        return _from_normals(config, cache, progress)
    if config.source == release.name:
        return _from_release(release, cache, progress, patience or Patience())
    return _from_path(config.source)


def _from_path(source: str) -> ClimateMap:
    path = Path(source)
    if path.is_file():
        provenance = {"source": "map", "name": path.name, "digest": file_digest(path)}
    elif "://" in source or any(mark in source for mark in "*?[") or path.is_dir():
        provenance = {"source": "map", "name": source if "://" in source else path.name}
    else:
        raise ConfigError(
            f"climate source '{source}' is neither a file nor one of beck2023, terraclimate: check the path"
        )
    return ClimateMap(sources=(source,), provenance=provenance)


def _from_normals(config: ClimateConfig, cache: Path, progress: Progress) -> ClimateMap:
    from csmoe_sampler.normals import classified_map, open_normals, open_terraclimate  # brings xarray, rarely needed

    if config.temperature is not None and config.precipitation is not None:
        normals = open_normals(config.temperature, config.precipitation)
    else:
        normals = open_terraclimate()
    provenance = {"source": "normals", "rule": config.rule, **normals.provenance}
    digest = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()
    path = cache / f"climate-{digest[:16]}.tif"
    if not path.exists():
        classified_map(normals.temperature, normals.precipitation, config.rule, path, progress)
    return ClimateMap(sources=(str(path),), provenance=provenance)


def _from_release(release: Release, cache: Path, progress: Progress, patience: Patience) -> ClimateMap:
    folder = cache / release.name
    path = folder / Path(release.member).name
    record = _read_record(path, release)
    if record is None:
        with Lock(folder):
            record = _fetch(release, path, progress, patience)
    return ClimateMap(sources=(str(path),), provenance=record)


def _record_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _read_record(path: Path, release: Release) -> dict[str, Any] | None:
    """What was recorded of the cached map; None where it is not there, of another release, or damaged."""
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
        found = {"digest": file_digest(path), **_published(release)}
    except (OSError, ValueError):
        return None
    expected = {key: record.get(key) for key in found} if isinstance(record, dict) else None
    return record if found == expected else None


def _published(release: Release) -> dict[str, Any]:
    return {
        "source": release.name,
        "member": release.member,
        "citation": release.citation,
        "license": release.license,
    }


def _fetch(release: Release, path: Path, progress: Progress, patience: Patience) -> dict[str, Any]:
    """Downloads the archive, checks it, keeps the map at `path`, and records what it is."""
    article = os.environ.get(_ARTICLE_VARIABLE) or release.article
    try:
        with PatientSession(patience) as session:
            address, md5, size = _find_archive(read_json(article, session), article, release)
            archive = _retrieve(address, md5, size, path.parent / release.archive, session, progress)
        _extract(archive, release.member, path)
    except CatalogError as error:
        raise CatalogError(
            f"climate map {release.name} cannot be fetched: {error}; or give the map as a file with --climate PATH"
        ) from error
    record = {**_published(release), "archive_md5": md5, "digest": file_digest(path)}
    write_json(_record_path(path), record)
    archive.unlink()
    return record


def _find_archive(answer: dict[str, Any], article: str, release: Release) -> tuple[str, str, int]:
    """Address, MD5 and size of the archive, as the article says."""
    try:
        files = {file["name"]: file for file in answer["files"]}
        file = files[release.archive]
        address, md5, size = str(file["download_url"]), str(file["computed_md5"]), int(file["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"{article} does not describe {release.archive}: check the address") from error
    if release.md5 is not None and md5 != release.md5:
        raise CatalogError(
            f"{article} describes a {release.archive} with MD5 {md5} where {release.md5} was published: "
            "do not trust that address"
        )
    return address, md5, size


def _retrieve(address: str, md5: str, size: int, archive: Path, session: PatientSession, progress: Progress) -> Path:
    """The archive, after a check of its MD5; a download that was cut off is continued."""
    part = archive.with_name(f"{archive.name}.{md5}.part")

    def bring(url: str, output_file: str, _pooch: object) -> None:
        progress.start("climate map", size, "bytes")
        progress.advance(part.stat().st_size if part.exists() else 0)
        download(url, part, size, session, progress.advance)
        progress.finish()
        part.replace(output_file)

    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(address, f"md5:{md5}", archive.name, archive.parent, downloader=bring))
    except ValueError as error:
        raise CatalogError(f"{address} is damaged, its MD5 is not {md5}: try again later") from error


def _extract(archive: Path, member: str, path: Path) -> None:
    """Writes one named member of a ZIP file to `path`, whatever its name says about folders."""
    try:
        with zipfile.ZipFile(archive) as packed:
            info = packed.getinfo(member)
            if info.file_size > _MAX_MEMBER_BYTES:
                raise CatalogError(f"{archive.name} holds a {member} of {info.file_size} bytes: not a class map")
            with packed.open(info) as source, atomic_path(path) as temporary, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    except KeyError as error:
        raise CatalogError(f"{archive.name} holds no {member}: not the archive that was published") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise CatalogError(f"{archive.name} cannot be unpacked ({error})") from error
