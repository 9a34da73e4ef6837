import hashlib
import io
import json
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

from csmoe_sampler.climate import BECK2023, ClimateMap, Release, cache_folder, climate_map
from csmoe_sampler.config import ClimateConfig
from csmoe_sampler.errors import CatalogError, ConfigError, StorageError
from csmoe_sampler.koppen import classify
from csmoe_sampler.progress import NoProgress
from csmoe_sampler.remote import Patience
from csmoe_sampler.storage import Lock
from services.http_files import Faults, FileServer, no_proxy, serve_files

ARTICLE = "v2/articles/21789074/versions/2"
ZIP = "files/61012822"
QUICK = Patience(retries=3, backoff_s=0.001, timeout_s=5)


@pytest.fixture(scope="module")
def tif() -> bytes:
    """A small class map that does not compress well."""
    codes = np.random.default_rng(0).integers(0, 31, (180, 260), dtype="uint8")
    transform = Affine(1, 0, -130, 0, -1, 90)
    with rasterio.MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=260,
            height=180,
            count=1,
            dtype="uint8",
            crs="EPSG:4326",
            transform=transform,
            nodata=0,
        ) as raster:
            raster.write(codes, 1)
        return file.read()


@pytest.fixture(scope="module")
def archive(tif: bytes) -> bytes:
    return packed({"legend.txt": b"1: Af", BECK2023.member: tif, "1901_1930/koppen_geiger_0p00833333.tif": b"old"})


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


class Bytes(NoProgress):
    """Counts what is told of a download."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.ended = False

    def start(self, name: str, total: int, unit: str) -> None:
        assert unit == "bytes"
        self.total = total

    def advance(self, count: int) -> None:
        self.done += count

    def finish(self) -> None:
        self.ended = True


class Repository:
    """The article and its archive on a loopback server that speaks the API of figshare."""

    def __init__(self, server: FileServer, folder: Path, archive: bytes) -> None:
        self.server = server
        self._folder = folder
        self.release = replace(BECK2023, article=f"{server.url}/{ARTICLE}", md5=hashlib.md5(archive).hexdigest())
        self.publish(archive)

    def publish(self, archive: bytes, **changes: object) -> None:
        file = {
            "id": 61012822,
            "name": "koppen_geiger_tif.zip",
            "size": len(archive),
            "is_link_only": False,
            "download_url": f"{self.server.url}/{ZIP}",
            "supplied_md5": "",
            "computed_md5": hashlib.md5(archive).hexdigest(),
            "mimetype": "application/zip",
        }
        other = {**file, "id": 1, "name": "koppen_geiger_nc.zip"}
        self._write(ARTICLE, json.dumps({"id": 21789074, "version": 2, "files": [other, {**file, **changes}]}).encode())
        self._write(ZIP, archive)

    def replace_archive(self, content: bytes) -> None:
        """Other bytes than the article describes."""
        self._write(ZIP, content)

    def replace_article(self, content: bytes) -> None:
        self._write(ARTICLE, content)

    def ranges(self) -> list[str | None]:
        return [request.range for request in self.server.requests if request.path == f"/{ZIP}"]

    def _write(self, path: str, content: bytes) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


@contextmanager
def repository(folder: Path, archive: bytes, faults: Faults | None = None) -> Iterator[Repository]:
    with serve_files(folder, faults) as server:
        yield Repository(server, folder, archive)


def fetch(release: Release, cache: Path, patience: Patience = QUICK) -> ClimateMap:
    return climate_map(ClimateConfig(), cache, NoProgress(), release=release, patience=patience)


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "beck2023").iterdir() if path.name != ".lock")


def test_map_is_fetched_once_and_used_offline(tmp_path: Path, archive: bytes, tif: bytes) -> None:
    cache, progress = tmp_path / "cache", Bytes()
    with repository(tmp_path / "www", archive) as served:
        first = climate_map(ClimateConfig(), cache, progress, release=served.release, patience=QUICK)
        num_requests = len(served.server.requests)
        assert fetch(served.release, cache) == first
        assert len(served.server.requests) == num_requests == 2
    assert (progress.total, progress.done, progress.ended) == (len(archive), len(archive), True)
    assert kept(cache) == ["koppen_geiger_0p00833333.json", "koppen_geiger_0p00833333.tif"]
    (path,) = first.sources
    assert Path(path).read_bytes() == tif
    assert first.provenance["digest"] == f"sha256:{hashlib.sha256(tif).hexdigest()}"
    assert first.provenance["archive_md5"] == served.release.md5
    assert first.provenance["license"] == "CC-BY-4.0"
    assert served.server.url not in json.dumps(first.provenance)
    assert fetch(served.release, cache) == first  # the server is gone


def test_article_may_live_elsewhere(tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with repository(tmp_path / "www", archive) as served:
        monkeypatch.setenv("CSMOE_BECK2023_ARTICLE", served.release.article)
        release = replace(BECK2023, md5=None, article="http://127.0.0.1:9/nothing")
        assert Path(fetch(release, tmp_path / "cache").sources[0]).exists()


def test_offline_without_a_cache(tmp_path: Path) -> None:
    with socket.socket() as listener, no_proxy():
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/{ARTICLE}"
        with pytest.raises(CatalogError) as caught:
            fetch(replace(BECK2023, article=url), tmp_path)
    assert str(caught.value) == (
        f"climate map beck2023 cannot be fetched: {url} cannot be reached: check the address and the network; "
        "or give the map as a file with --climate PATH"
    )


def test_damaged_cache_is_fetched_again(tmp_path: Path, archive: bytes, tif: bytes) -> None:
    with repository(tmp_path / "www", archive) as served:
        path = Path(fetch(served.release, tmp_path).sources[0])
        for damage in (lambda: path.write_bytes(tif[:-1] + b"?"), path.with_suffix(".json").unlink, path.unlink):
            damage()
            assert Path(fetch(served.release, tmp_path).sources[0]).read_bytes() == tif
        path.with_suffix(".json").write_text("[]")
        assert fetch(served.release, tmp_path).provenance["member"] == BECK2023.member
        newer = replace(served.release, citation="another release")
        assert fetch(newer, tmp_path).provenance["citation"] == "another release"
        assert len(served.ranges()) == 6


def test_wrong_bytes_are_not_kept(tmp_path: Path, archive: bytes) -> None:
    with repository(tmp_path / "www", archive) as served:
        served.replace_archive(archive[:-1] + b"?")
        with pytest.raises(CatalogError, match=rf"{ZIP} is damaged, its MD5 is not {served.release.md5}"):
            fetch(served.release, tmp_path)
        assert kept(tmp_path) == []


def test_an_archive_that_was_not_published_is_not_fetched(tmp_path: Path, archive: bytes) -> None:
    with repository(tmp_path / "www", archive) as served:
        served.publish(packed({BECK2023.member: b"forged"}))
        with pytest.raises(CatalogError, match=f"where {served.release.md5} was published: do not trust"):
            fetch(served.release, tmp_path)
        assert served.ranges() == []


@pytest.mark.parametrize("kind", ["truncate", "reset", "503", "429"])
def test_broken_download_goes_on(tmp_path: Path, archive: bytes, tif: bytes, kind: str) -> None:
    with repository(tmp_path / "www", archive, Faults((kind,), at_most=2, only=ZIP)) as served:
        assert Path(fetch(served.release, tmp_path).sources[0]).read_bytes() == tif
        half, rest = len(archive) // 2, len(archive) - len(archive) // 2
        later = [f"bytes={half}-", f"bytes={half + rest // 2}-"] if kind == "truncate" else [None, None]
        assert served.ranges() == [None, *later]


def test_broken_download_starts_anew_where_ranges_are_unknown(tmp_path: Path, archive: bytes, tif: bytes) -> None:
    faults = Faults(("truncate",), at_most=1, only=ZIP, no_ranges=True)
    with repository(tmp_path / "www", archive, faults) as served:
        assert Path(fetch(served.release, tmp_path).sources[0]).read_bytes() == tif
        assert len(served.ranges()) == 2


def test_killed_download_goes_on_in_the_next_run(tmp_path: Path, archive: bytes, tif: bytes) -> None:
    progress = Bytes()
    with repository(tmp_path / "www", archive, Faults(("500",), at_most=4, only=ZIP)) as served:
        part = tmp_path / "beck2023" / f"koppen_geiger_tif.zip.{served.release.md5}.part"
        part.parent.mkdir()
        part.write_bytes(archive[:1000])
        with pytest.raises(CatalogError, match="keeps answering HTTP 500: try again later; or give the map"):
            fetch(served.release, tmp_path)
        assert kept(tmp_path) == [part.name]
        found = climate_map(ClimateConfig(), tmp_path, progress, release=served.release, patience=QUICK)
        assert Path(found.sources[0]).read_bytes() == tif
        assert set(served.ranges()) == {"bytes=1000-"}
    assert progress.done == progress.total == len(archive)


def test_more_bytes_than_announced(tmp_path: Path, archive: bytes) -> None:
    with repository(tmp_path / "www", archive) as served:
        served.replace_archive(archive + b"more")
        with pytest.raises(CatalogError, match=f"holds more than the {len(archive)} bytes announced"):
            fetch(served.release, tmp_path)
        assert kept(tmp_path) == []


def test_fewer_bytes_than_announced(tmp_path: Path, archive: bytes) -> None:
    with repository(tmp_path / "www", archive) as served:
        served.replace_archive(archive[:-10])
        with pytest.raises(CatalogError, match="beck2023 cannot be fetched"):
            fetch(served.release, tmp_path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"legend.txt": b"x"}, "holds no 1991_2020/koppen_geiger_0p00833333.tif: not the archive"),
        (None, "cannot be unpacked"),
    ],
)
def test_archives_without_the_map(tmp_path: Path, members: dict[str, bytes] | None, message: str) -> None:
    content = packed(members) if members else b"no archive" * 100
    with repository(tmp_path / "www", content) as served, pytest.raises(CatalogError, match=message):
        fetch(served.release, tmp_path)
    assert not list(tmp_path.rglob("*.tif"))


def test_member_names_do_not_lead_out_of_the_cache(tmp_path: Path, tif: bytes) -> None:
    content = packed({"../../evil.tif": tif})
    with repository(tmp_path / "www", content) as served:
        found = fetch(replace(served.release, member="../../evil.tif"), tmp_path / "a" / "b" / "cache")
    assert found.sources == (str(tmp_path / "a" / "b" / "cache" / "beck2023" / "evil.tif"),)
    assert [path.name for path in (tmp_path / "a").rglob("*.tif")] == ["evil.tif"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>Sign in</html>", "answers something else than JSON"),
        (b"[]", "answers JSON that is not an object"),
        (b'{"files": []}', "does not describe koppen_geiger_tif.zip"),
        (b'{"files": [{"name": "koppen_geiger_tif.zip", "size": "?"}]}', "does not describe"),
    ],
)
def test_answers_that_are_no_article(tmp_path: Path, archive: bytes, content: bytes, message: str) -> None:
    with repository(tmp_path / "www", archive) as served:
        served.replace_article(content)
        with pytest.raises(CatalogError, match=message):
            fetch(served.release, tmp_path)


def test_one_process_fetches_at_a_time(tmp_path: Path, archive: bytes) -> None:
    with repository(tmp_path / "www", archive) as served:
        with Lock(tmp_path / "beck2023"), pytest.raises(StorageError, match="another process"):
            fetch(served.release, tmp_path)
        assert served.server.requests == []


def test_full_disk(tmp_path: Path, small_disk: Path, archive: bytes) -> None:
    (small_disk / "other").write_bytes(bytes((1 << 20) - 3 * 4096 - len(archive) // 2))
    with (
        repository(tmp_path / "www", archive) as served,
        pytest.raises(StorageError, match="No space left on device"),
    ):
        fetch(served.release, small_disk)


def test_cache_folder_is_the_users_or_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CSMOE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("CSMOE_CACHE")
    assert "csmoe" in cache_folder().parts


def test_map_of_the_users(tmp_path: Path, tif: bytes) -> None:
    path = tmp_path / "mine.tif"
    path.write_bytes(tif)
    found = climate_map(ClimateConfig(source=str(path)), tmp_path / "cache", NoProgress())
    assert found.sources == (str(path),)
    assert found.provenance == {
        "source": "map",
        "name": "mine.tif",
        "digest": f"sha256:{hashlib.sha256(tif).hexdigest()}",
    }
    assert not (tmp_path / "cache").exists()
    for source in ("https://example.org/map.tif", str(tmp_path / "*.tif")):
        assert climate_map(ClimateConfig(source=source), tmp_path, NoProgress()).sources == (source,)


def test_misspelt_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'beck2022' is neither a file nor one of beck2023, terraclimate"):
        climate_map(ClimateConfig(source="beck2022"), tmp_path, NoProgress())


@pytest.fixture
def normals(tmp_path: Path) -> tuple[Path, xr.DataArray, xr.DataArray]:
    generator = np.random.default_rng(1)
    coords = {"month": np.arange(1, 13), "lat": 70 - 2.0 * np.arange(60), "lon": -20 + 2.0 * np.arange(40)}
    wave = np.cos(np.arange(12) * np.pi / 6)[:, None, None]
    temperature = generator.uniform(-10, 28, (60, 40)) + generator.uniform(-15, 15, (60, 40)) * wave
    precipitation = generator.gamma(1.5, 50, (12, 60, 40))
    fields = [xr.DataArray(values, coords, ("month", "lat", "lon")) for values in (temperature, precipitation)]
    path = tmp_path / "normals.nc"
    dataset = xr.Dataset({"tas": fields[0].assign_attrs(units="degC"), "pr": fields[1].assign_attrs(units="mm")})
    dataset.to_netcdf(path, engine="scipy")
    return path, *fields


def test_normals_are_classified_once_a_rule(tmp_path: Path, normals: tuple[Path, xr.DataArray, xr.DataArray]) -> None:
    path, temperature, precipitation = normals
    cache = tmp_path / "cache"
    found = {}
    for rule in ("peel2007", "beck_compat"):
        config = ClimateConfig(temperature=str(path), precipitation=str(path), rule=rule)
        found[rule] = climate_map(config, cache, NoProgress())
        with rasterio.open(found[rule].sources[0]) as raster:
            np.testing.assert_array_equal(raster.read(1), classify(temperature.values, precipitation.values, rule))
        before = Path(found[rule].sources[0]).stat().st_mtime_ns
        assert climate_map(config, cache, NoProgress()) == found[rule]
        assert Path(found[rule].sources[0]).stat().st_mtime_ns == before
        assert found[rule].provenance["rule"] == rule
        assert found[rule].provenance["temperature"]["variables"] == ["tas"]
        assert str(tmp_path) not in json.dumps(found[rule].provenance)
    assert found["peel2007"].sources != found["beck_compat"].sources


def test_changed_normals_make_another_map(tmp_path: Path, normals: tuple[Path, xr.DataArray, xr.DataArray]) -> None:
    path, temperature, precipitation = normals
    config = ClimateConfig(temperature=str(path), precipitation=str(path))
    first = climate_map(config, tmp_path / "cache", NoProgress())
    path.unlink()
    warmer = {"tas": (temperature + 3).assign_attrs(units="degC"), "pr": precipitation.assign_attrs(units="mm")}
    xr.Dataset(warmer).to_netcdf(path, engine="scipy")
    second = climate_map(config, tmp_path / "cache", NoProgress())
    assert first.sources != second.sources
    assert Path(first.sources[0]).read_bytes() != Path(second.sources[0]).read_bytes()
