import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csmoe_sampler.errors import SamplerError, StorageError
from csmoe_sampler.storage import Lock, atomic_path, file_digest, write_bytes, write_json, write_parquet


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _run(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def _table(rows: int) -> pa.Table:
    return pa.table({"tile": np.arange(rows), "name": [f"t{i}" for i in range(rows)], "share": np.arange(rows) / 7})


def _write_and_fail(path: Path) -> None:
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_bytes(b"new")
        raise ZeroDivisionError


def test_a_file_appears_in_missing_folders_with_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "out [1].bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert _names(path.parent) == {path.name}


def test_an_error_in_the_block_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError):
        _write_and_fail(path)
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == {"out.bin"}


def test_json_round_trips_and_keeps_the_order_of_keys(tmp_path: Path) -> None:
    value = {"b": [1, 2.5], "a": {"Köppen": None}}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["b", "a"]
    assert json.loads(text) == value
    assert "Köppen" in text


def test_parquet_holds_table_and_metadata(tmp_path: Path) -> None:
    table = _table(300_000)
    write_parquet(table, tmp_path / "x.parquet", {"csmoe": {"b": 1, "a": ["ä"]}})
    file = pq.ParquetFile(tmp_path / "x.parquet", page_checksum_verification=True)
    assert file.read().equals(table)
    assert json.loads(file.schema_arrow.metadata[b"csmoe"]) == {"b": 1, "a": ["ä"]}


def test_parquet_bytes_do_not_depend_on_the_history_of_the_table(tmp_path: Path) -> None:
    shapes = np.random.default_rng(0).bytes(100 * 30_000)
    table = _table(30_000).append_column("shape", pa.array([shapes[i : i + 100] for i in range(0, 3_000_000, 100)]))
    pieces = pa.concat_tables([table.slice(0, 17), table.slice(17, 15_000), table.slice(15_017)])
    write_parquet(table, tmp_path / "whole.parquet", {"k": 1})
    write_parquet(pieces.replace_schema_metadata({"other": "x"}), tmp_path / "pieces.parquet", {"k": 1})
    assert file_digest(tmp_path / "whole.parquet") == file_digest(tmp_path / "pieces.parquet")


def test_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_digest(path) == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    code = (
        "import os, signal, sys; from pathlib import Path; from csmoe_sampler.storage import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert _run(code, path).returncode == -signal.SIGKILL
    assert len(_names(tmp_path)) == 1
    assert not path.exists()
    foreign = {".other.bin.tmp-99999999", ".out.bin.tmp-1", ".out.bin.tmp-x", "out.bin.tmp-99999999"}
    for name in foreign:
        (tmp_path / name).write_bytes(b"")
    write_bytes(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert _names(tmp_path) == {"out.bin", *foreign}


def test_a_full_disk_leaves_nothing_and_says_what_to_do(small_disk: Path) -> None:
    path = small_disk / "out.parquet"
    table = pa.table({"x": np.random.default_rng(0).random(1_000_000)})
    write_parquet(table.slice(0, 10), path, {})
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"out\.parquet cannot be written: the disk is full: free space, then"):
        write_parquet(table, path, {})
    assert path.read_bytes() == before
    assert _names(small_disk) == {"out.parquet"}


def test_a_size_limit_is_a_storage_error(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from csmoe_sampler.storage import write_bytes\n"
        "from csmoe_sampler.errors import StorageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_bytes(Path(sys.argv[1]), bytes(2000))\n"
        "except StorageError as error: sys.exit(str(error))"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert "x.bin cannot be written: the file would exceed the size limit" in _run(code, tmp_path / "x.bin").stderr
    assert _names(tmp_path) == set()


@pytest.mark.parametrize(
    ("place", "found"),
    [("file/x.bin", "a parent of it is a file"), ("folder", "there is a folder of that name")],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str, found: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=f"{place} cannot be written: {found}"):
        write_bytes(tmp_path / place, b"x")
    assert _names(tmp_path) == {"file", "folder"}


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x") as temporary:
        temporary.write_bytes((tmp_path / "no such input").read_bytes())


def _hold(folder: Path) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; from csmoe_sampler.storage import Lock\n"
        "with Lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_cannot_lock_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "atlas.parquet"
    with _hold(folder) as holder:
        with pytest.raises(StorageError, match=r"atlas\.parquet: another process is writing"), Lock(folder):
            pass
        holder.communicate("")
    with Lock(folder):
        pass


def test_a_killed_process_frees_its_lock_and_its_leavings_go(tmp_path: Path) -> None:
    with _hold(tmp_path) as holder:
        (tmp_path / ".part.parquet.tmp-1").write_bytes(b"half")
        (tmp_path / "part.parquet").write_bytes(b"whole")
        holder.kill()
        holder.communicate()
    with Lock(tmp_path):
        assert _names(tmp_path) == {".lock", "part.parquet"}


def test_a_locked_folder_is_not_searched_at_every_write(tmp_path: Path) -> None:
    with Lock(tmp_path):
        left = tmp_path / ".x.bin.tmp-99999999"
        left.write_bytes(b"")
        write_bytes(tmp_path / "x.bin", b"")
        assert left.exists()


def test_the_lock_is_freed_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(SamplerError, match="stop"), Lock(tmp_path):
        raise SamplerError("stop")
    with Lock(tmp_path):
        pass
