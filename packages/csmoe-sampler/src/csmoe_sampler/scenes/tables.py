"""The bulk path: scenes from STAC-GeoParquet, whole files of it, in place of searches."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from csmoe_sampler.errors import CatalogError, ConfigError
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.remote import Patience, PatientSession, Signer, download
from csmoe_sampler.scenes.columns import columns_of_table, table_columns
from csmoe_sampler.scenes.items import Found, Wanted, normalise
from csmoe_sampler.scenes.journal import RequestPlan, join, portion_path, write_portion
from csmoe_sampler.scenes.listing import TableFile, is_refused, list_tables
from csmoe_sampler.stac.items import is_remote, local_path, portable_href
from csmoe_sampler.storage import write_json

CONNECTIONS = 4
_BATCH_ROWS = 1 << 13
_TOKENS_TRIED = 4


def read_table(path: Path, base: str, wanted: Wanted) -> Found:
    """The wanted scenes of a STAC-GeoParquet file, of which only the needed columns are read, a batch at a time.

    Raises:
        CatalogError: It is no Parquet, or no table of items.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            if not {"id", "geometry"} <= names:
                raise CatalogError(f"{base} is no STAC-GeoParquet: it has no column 'id' or no 'geometry'")
            columns = table_columns(file.schema_arrow, wanted.product)
            batches = (pa.table(batch) for batch in file.iter_batches(_BATCH_ROWS, columns=columns))
            return join(normalise(columns_of_table(batch, wanted.product, base), wanted) for batch in batches)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise CatalogError(f"{base} cannot be read as STAC-GeoParquet ({error}): check the file") from error


def local_tables(pattern: str) -> list[Path]:
    """The Parquet files of a path, a folder or a glob pattern; raises ConfigError where there is none."""
    path = Path(local_path(pattern))
    if path.is_dir():
        found = sorted(path.rglob("*.parquet"))
    elif path.is_file():
        found = [path]
    else:
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 - absolute ones too
    files = [file.resolve() for file in found if file.is_file()]
    if not files:
        raise ConfigError(f"scenes.items: there is no Parquet file at {pattern}")
    return files


class TableSource:
    """Item tables, local ones and those of a service, read into a journal."""

    def __init__(
        self,
        items: tuple[str, ...],
        wanted: Mapping[str, Wanted],
        folder: Path,
        *,
        signer: Signer | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._items = items
        self._wanted = wanted
        self._folder = folder
        self._signer = signer
        self._patience = patience or Patience()

    def plan(self, geometry: npt.NDArray[np.object_]) -> RequestPlan:
        """What is not in the journal yet: exact for a service whose files have been listed, else an estimate."""
        requests, files, known, size = 0, 0, True, 0
        for sensor, wanted in self._wanted.items():
            for address in self._addresses(wanted):
                if not is_remote(address):
                    files += sum(not self._portion(sensor, _local_key(path)).exists() for path in local_tables(address))
                elif (listing := self._listing_path(address)).exists():
                    missing = [f for f in self._needed(_read_listing(listing), wanted) if not self._has(sensor, f)]
                    requests, files = requests + len(missing), files + len(missing)
                    size += sum(file.size for file in missing)
                else:
                    days = (wanted.end - wanted.start).days
                    partitions = days // wanted.product.partition_days + 2 if wanted.product.partition_days else 1
                    requests, files, known = requests + partitions + 2, files + partitions, False
        return RequestPlan(requests=requests, bytes=size if known else None, files=files)

    def portions(self, geometry: npt.NDArray[np.object_], progress: Progress | None = None) -> dict[str, list[Path]]:
        """Sensor -> files of the journal that hold its scenes; what is missing is brought and read.

        Raises:
            CatalogError: The service is out of reach, or a file is not usable. What has come until then is kept.
            ConfigError: There is no such file, or the provider has no item tables.
        """
        progress = progress or NoProgress()
        found: dict[str, list[Path]] = {}
        tasks: dict[Path, Callable[[], Found]] = {}
        with PatientSession(self._patience) as session:
            for sensor, wanted in self._wanted.items():
                paths = dict(self._tasks(sensor, wanted, session))
                found[sensor] = list(paths)
                tasks |= {path: read for path, read in paths.items() if not path.exists()}
            if tasks:
                self._run(tasks, progress)
        return found

    def _run(self, tasks: Mapping[Path, Callable[[], Found]], progress: Progress) -> None:
        def bring(path: Path, read: Callable[[], Found]) -> None:
            write_portion(path, read())
            (self._folder / "downloads" / path.stem).unlink(missing_ok=True)

        progress.start("reading item tables", len(tasks), "files")
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                for future in as_completed([pool.submit(bring, *task) for task in tasks.items()]):
                    future.result()
                    progress.advance(1)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        progress.finish()

    def _tasks(
        self, sensor: str, wanted: Wanted, session: PatientSession
    ) -> Iterator[tuple[Path, Callable[[], Found]]]:
        for address in self._addresses(wanted):
            if is_remote(address):
                for file in self._needed(self._list(address, session), wanted):
                    path = self._portion(sensor, _remote_key(file))
                    yield path, lambda file=file, path=path: self._bring(file, path.stem, wanted, session)  # type: ignore[misc]
            else:
                for table in local_tables(address):
                    read = lambda table=table: read_table(table, str(table), wanted)  # noqa: E731
                    yield self._portion(sensor, _local_key(table)), read

    def _addresses(self, wanted: Wanted) -> list[str]:
        addresses = []
        for item in self._items:
            if item != "bulk":
                addresses.append(item)
            elif wanted.product.items is None:
                raise ConfigError(
                    f"scenes.items = 'bulk': the provider has no item tables of {wanted.product.collection}: name "
                    "files, or leave scenes.items empty to search"
                )
            else:
                addresses.append(wanted.product.items)
        return addresses

    def _list(self, address: str, session: PatientSession) -> list[TableFile]:
        """The files behind an address, as they were when first asked for."""
        path = self._listing_path(address)
        if not path.exists():
            files = list_tables(address, session, self._signer)
            write_json(path, [{"url": file.url, "size": file.size} for file in files])
        return _read_listing(path)

    def _listing_path(self, address: str) -> Path:
        return self._folder / f"listing-{_digest(portable_href(address))}.json"

    @staticmethod
    def _needed(files: list[TableFile], wanted: Wanted) -> list[TableFile]:
        return [file for file in files if file.holds(wanted.start, wanted.end)]

    def _portion(self, sensor: str, key: str) -> Path:
        return portion_path(self._folder, sensor, key)

    def _has(self, sensor: str, file: TableFile) -> bool:
        return self._portion(sensor, _remote_key(file)).exists()

    def _bring(self, file: TableFile, name: str, wanted: Wanted, session: PatientSession) -> Found:
        """Downloads a file whole, continuing what an earlier run has left, and reads it."""
        path = self._folder / "downloads" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_TOKENS_TRIED):
            signed = self._signer(file.url) if self._signer else file.url
            try:
                download(signed, path, file.size, session, lambda count: None)
                break
            except CatalogError as error:
                last = attempt == _TOKENS_TRIED - 1
                if last or self._signer is None or not is_refused(error.__cause__):
                    raise
                self._signer.forget(signed)
        return read_table(path, file.url, wanted)


def _read_listing(path: Path) -> list[TableFile]:
    return [TableFile(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def _local_key(path: Path) -> str:
    state = path.stat()
    return f"{path.stem[:40]}-{_digest(f'{path}|{state.st_size}|{state.st_mtime_ns}')}"


def _remote_key(file: TableFile) -> str:
    return _digest(f"{portable_href(file.url)}|{file.size}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
