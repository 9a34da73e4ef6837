"""Files that are either there in full or not at all: atomic writes, one writer to a folder, hashes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from csmoe_sampler.errors import StorageError

_FREE_SPACE = "free space, then run the same command again: it continues"
_OTHER_PLACE = "make it writable, or choose another place"
_LOCK = ".lock"
_ADVICE = {
    errno.ENOSPC: f"the disk is full: {_FREE_SPACE}",
    errno.EDQUOT: f"the disk quota is used up: {_FREE_SPACE}",
    errno.EFBIG: "the file would exceed the size limit (ulimit -f): raise it, then run the same again",
    errno.EROFS: f"the file system is read-only: {_OTHER_PLACE}",
    errno.EACCES: f"permission denied: {_OTHER_PLACE}",
    errno.EPERM: f"not permitted: {_OTHER_PLACE}",
    errno.ENOTDIR: "a parent of it is a file: choose another place",
    errno.EEXIST: "a parent of it is a file: choose another place",
    errno.EISDIR: "there is a folder of that name: choose another place",
}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what the block writes there becomes `path` if it ends without an error.

    Missing parent folders are made. Whatever happens, a kill or a power cut too, `path` holds its old content or
    its new one. What a killed writer of the same file has left is removed.

    Raises:
        StorageError: The disk is full, or the place is not writable; nothing of the new file is left.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.parent / _LOCK).exists():  # a lock has cleaned its folder already, and that may be large
            _remove_left(path)
        temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            with suppress(OSError):  # some network file systems know no flush of a folder
                _flush(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`; what the block writes there becomes `path` if it ends without an error.

    For folders of very many small files, which are flushed together. What a killed writer of the same folder has left
    is removed.

    Raises:
        StorageError: `path` is there already, the disk is full, or the place is not writable.
    """
    with _explained(path):
        if path.exists():
            raise StorageError(f"{path} is there already: choose another place, or remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path)
        temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        try:
            temporary.mkdir()
            yield temporary
            os.sync()
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file atomically; raises StorageError."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, the same bytes for the same value (key order is kept); raises StorageError."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def write_parquet(table: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes Parquet atomically, the same bytes for the same rows, columns and metadata; raises StorageError.

    Args:
        table: Its own schema metadata is replaced.
        path: The file.
        metadata: File metadata; every value is stored as compact JSON.
    """
    encoded = {key: json.dumps(value, separators=(",", ":"), allow_nan=False) for key, value in metadata.items()}
    # One chunk to a column: page boundaries would follow the chunks, and so the history of the table.
    whole = table.combine_chunks().replace_schema_metadata(encoded)
    with atomic_path(path) as temporary:
        pq.write_table(
            whole,
            temporary,
            row_group_size=1 << 17,
            compression="zstd",
            compression_level=1,
            use_dictionary=[field.name for field in whole.schema if pa.types.is_string(field.type)],
            write_page_checksum=True,
        )


def file_digest(path: Path) -> str:
    """`sha256:` and 64 hexadecimal digits of the file's content."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


class Lock:
    """Context in which this process alone writes to a folder; it ends with the process at the latest.

    On entry the folder is made, and the temporary files of killed writers are removed.

    Raises:
        StorageError: Another process holds the lock, or the folder is not writable.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> Lock:
        path = self._folder / _LOCK
        with _explained(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._seize()
                for left in self._folder.glob(".*.tmp-*"):
                    left.unlink(missing_ok=True)
            except OSError:
                os.close(self._descriptor)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def _seize(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{self._folder}: another process is writing to this folder: wait until it has ended, or choose another"
            ) from error
        except OSError as error:
            raise StorageError(
                f"{self._folder}: its file system cannot lock files ({error.strerror}): choose a folder on another"
            ) from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        raise StorageError(f"{path} cannot be written: {_ADVICE[error.errno]}") from error


def _remove_left(path: Path) -> None:
    """Removes temporary files of `path` whose writers do not live any more."""
    start = f".{path.name}.tmp-"
    for left in path.parent.iterdir():
        owner = left.name.removeprefix(start)
        if left.name.startswith(start) and owner.isdigit() and not _lives(int(owner)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _flush(path: Path) -> None:
    """Brings a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
