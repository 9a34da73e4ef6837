"""Mean and standard deviation of every band over the valid pixels of chips, as a training configuration takes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csmoe_model.data.store import ChipStore
from csmoe_model.errors import DataError
from csmoe_model.sensors import SENTINELS, Sensor

Float64 = npt.NDArray[np.float64]
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations of the valid pixels of each band, float64."""

    count: Float64
    mean: Float64
    squares: Float64

    @classmethod
    def of(cls, pixels: npt.NDArray[np.float32]) -> Moments:
        """Of a chip (C, H, W), NaN where invalid."""
        values = pixels.reshape(len(pixels), -1).astype(np.float64)
        valid = np.isfinite(values)
        count = valid.sum(1).astype(np.float64)
        np.copyto(values, 0.0, where=~valid)
        mean = values.sum(1) / np.maximum(count, 1)
        values -= mean[:, None]
        np.copyto(values, 0.0, where=~valid)
        return cls(count=count, mean=mean, squares=np.square(values).sum(1))

    def merged(self, other: Moments) -> Moments:
        """Of both together (Chan, Golub & LeVeque 1979)."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        apart = other.mean - self.mean
        squares = self.squares + other.squares + np.square(apart) * self.count * share
        return Moments(count=count, mean=self.mean + apart * share, squares=squares)

    @property
    def std(self) -> Float64:
        """Standard deviation of the population."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))


def standard_bands(store: ChipStore, *, every: bool = False) -> dict[str, tuple[str, ...]]:
    """Bands by sensor: those that a model takes by default and the store has; all of other sensors, or of `every`."""
    names = [*(name for name in SENTINELS if name in store.bands), *(n for n in store.bands if n not in SENTINELS)]
    found = {}
    for name in names:
        usual = [] if every or name not in SENTINELS else SENTINELS[name].bands
        found[name] = tuple(band for band in usual if band in store.bands[name]) or store.bands[name]
    return found


def measure_chips(
    store: ChipStore,
    chips: Sequence[int],
    bands: Mapping[str, Sequence[str]],
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Moments]:
    """Moments by sensor over all seasons of some chips; the same bits for any number of threads.

    Args:
        store: The chips.
        chips: Rows of the store.
        bands: Of each sensor.
        advance: Told how many chips more are done.

    Raises:
        DataError: A chip is missing or damaged.
    """

    def measure(chip: int) -> dict[str, Moments]:
        parts = [
            {name: Moments.of(store.read(chip, name, bands[name], season)) for name in bands}
            for season in store.seasons_of(chip)
        ]
        return _together(iter(parts))

    whole: dict[str, Moments] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(chips), _ROWS_AT_ONCE):
            part = chips[start : start + _ROWS_AT_ONCE]
            found = _together(pool.map(measure, map(int, part)))
            whole = _together(iter([whole, found])) if whole else found
            advance(len(part))
    return whole


def sensors_of(
    store: ChipStore, moments: Mapping[str, Moments], bands: Mapping[str, Sequence[str]]
) -> dict[str, Sensor]:
    """Sensors as a model takes them, figures rounded to six digits.

    Raises:
        DataError: A band has no valid pixel, or the same value everywhere.
    """
    for name, of in moments.items():
        for band, std in zip(bands[name], of.std, strict=True):
            if not std > 0:
                raise DataError(f"chip store {store.path}: band {band} of '{name}' does not vary: leave it out")
    return {
        name: Sensor(
            bands=tuple(bands[name]),
            unit=store.unit(name),
            gsd_m=store.gsd_m or 10.0,
            mean=tuple(_rounded(value) for value in of.mean),
            std=tuple(_rounded(value) for value in of.std),
        )
        for name, of in moments.items()
    }


def as_toml(sensors: Mapping[str, Sensor]) -> str:
    """`[model.sensors.<name>]` tables, as a training configuration holds them."""
    tables = []
    for name, sensor in sensors.items():
        bands = ", ".join(f'"{band}"' for band in sensor.bands)
        lines = [f"[model.sensors.{name}]", f"bands = [{bands}]", f'unit = "{sensor.unit}"', f"gsd_m = {sensor.gsd_m}"]
        lines += [f"{key} = [{', '.join(map(repr, getattr(sensor, key)))}]" for key in ("mean", "std")]
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def write_text(path: Path, text: str) -> None:
    """Writes a file atomically.

    Raises:
        DataError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            draft = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                draft.chmod(0o644)
                draft.replace(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): choose another place, or free space") from error


def _together(parts: Iterator[Mapping[str, Moments]]) -> dict[str, Moments]:
    """All merged, in their order."""
    whole = dict(next(parts))
    for part in parts:
        whole = {name: moments.merged(part[name]) for name, moments in whole.items()}
    return whole


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
