"""Batches: what a sample is, whoever loads it, and how loading ends."""

import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from csmoe_model.config import ModelConfig
from csmoe_model.data import samples as samples_module
from csmoe_model.data import workers as workers_module
from csmoe_model.data.augment import draw_view, resize, turned
from csmoe_model.data.manifest import read_rows
from csmoe_model.data.order import Place, SampleOrder
from csmoe_model.data.samples import Batch, ChipSamples, Key, open_loader
from csmoe_model.data.store import ChipStore
from csmoe_model.errors import DataError
from csmoe_model.sensors import Sensor
from model.chip_stores import write_chips

SENSORS = {
    "s1": Sensor(bands=("VV", "VH"), unit="dB", mean=(-12.0, -19.0), std=(2.0, 3.0)),
    "s2": Sensor(bands=("B11", "B02", "B8A"), unit="DN", mean=(500.0, 700.0, 900.0), std=(100.0, 200.0, 300.0)),
}
ORDER = SampleOrder(num_rows=10, batch=4, seed=7)


def collate(batches):
    """Batches as one."""
    parts = {
        part: {name: torch.cat([getattr(one, part)[name] for one in batches]) for name in getattr(batches[0], part)}
        for part in ("images", "valid", "noise")
    }
    return Batch(**parts, rows=torch.cat([one.rows for one in batches]))


def model(image_px=16, patch_px=4):
    return ModelConfig(sensors=SENSORS, image_px=image_px, patch_px=patch_px)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("plain"), failed=(6,))


@pytest.fixture(scope="module")
def seasonal(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("seasons"), seasons=("winter", "summer"), absent=((3, 0),), holes=False)


def samples_of(written, config=None, seed=3, scale=(0.7, 1.3)):
    store = ChipStore(written.store)
    return ChipSamples(store, read_rows(written.manifest, store), config or model(), seed, scale)


def loaded(samples, steps, *, place=Place(), rank=0, world=1, workers=0, order=ORDER):  # noqa: B008
    batches = open_loader(samples, order, place, rank=rank, world=world, workers=workers, pin=False)
    found = [next(batches) for _ in range(steps)]
    batches.close()
    return found


def same(one, other):
    parts = [(getattr(one, part), getattr(other, part)) for part in ("images", "valid", "noise")]
    return torch.equal(one.rows, other.rows) and all(
        list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a) for a, b in parts
    )


def standardised(pixels, name):
    mean, std = (np.array(values)[:, None, None] for values in (SENSORS[name].mean, SENSORS[name].std))
    return (pixels - mean) / std


@pytest.mark.parametrize("name", ["s1", "s2"])
def test_the_middle_of_a_chip_standardised_and_0_where_invalid(written, name):
    samples = samples_of(written, model(image_px=20), scale=None)
    for row, chip in ((0, 0), (1, 1), (6, 7)):
        batch = samples[0, row]
        expected = standardised(written.expected(chip, name, SENSORS[name].bands), name)[:, 2:-2, 2:-2]
        valid = np.isfinite(expected)
        image = batch.images[name][0].numpy()
        np.testing.assert_array_equal(batch.valid[name][0].numpy(), valid)
        np.testing.assert_allclose(image[valid], expected[valid], rtol=1e-5, atol=1e-5)
        assert (image[~valid] == 0).all() and batch.rows.tolist() == [row]


@pytest.mark.parametrize(("image_px", "scale"), [(16, (0.7, 1.3)), (12, (1.0, 1.0)), (40, (0.6, 1.0))])
def test_all_sensors_of_a_place_are_seen_alike(written, image_px, scale):
    """The window and turn that one sensor tells must be those of the other, pixel by pixel."""
    samples = samples_of(written, model(image_px), scale=scale)
    batch = samples.batch([Key(2, row, row) for row in (0, 3, 8)])
    for place, (row, chip) in enumerate(((0, 0), (3, 3), (8, 9))):
        views = [
            draw_view(24, image_px, scale, torch.Generator().manual_seed(seed))
            for seed in [samples_module._mix(3, 2, row, row)]
        ]
        for name, sensor in SENSORS.items():
            window = written.expected(chip, name, sensor.bands)[:, *views[0].window]
            pixels = turned(resize(np.ascontiguousarray(window), image_px), views[0])
            expected = np.nan_to_num(standardised(pixels, name))
            np.testing.assert_allclose(batch.images[name][place], expected, atol=2e-4)


def test_shapes_and_noise(written):
    batch = samples_of(written).batch([Key(0, 4, 0), Key(0, 9, 1), Key(0, 4, 2)])
    assert {name: tuple(x.shape) for name, x in batch.images.items()} == {"s1": (3, 2, 16, 16), "s2": (3, 3, 16, 16)}
    assert {name: tuple(x.shape) for name, x in batch.noise.items()} == {"s1": (3, 16), "s2": (3, 16)}
    assert len(batch) == 3 and batch.rows.tolist() == [4, 9, 4]
    noise = torch.cat([*batch.noise.values()])
    assert len(noise.unique()) == noise.numel() and noise.min() >= 0 and noise.max() < 1
    assert all(x.is_contiguous() and x.dtype == torch.float32 for x in batch.images.values())


@pytest.mark.parametrize("other", [(4, 0, 2, 5), (3, 1, 2, 5), (3, 0, 2, 6)], ids=["seed", "epoch", "position"])
def test_chance_comes_from_seed_epoch_and_position(written, other):
    """A row that is drawn twice in an epoch is not seen alike twice."""
    seed, epoch, row, position = other
    one, again = (samples_of(written).batch([Key(0, 2, 5)]) for _ in range(2))
    assert same(one, again)
    differing = samples_of(written, seed=seed).batch([Key(epoch, row, position)])
    assert not torch.equal(one.noise["s1"], differing.noise["s1"])
    assert not torch.equal(one.images["s2"], differing.images["s2"])


def test_a_sample_does_not_depend_on_its_batch(written):
    samples = samples_of(written)
    keys = [Key(0, row, 10 + row) for row in (5, 1, 8)]
    assert same(samples.batch(keys), collate([samples[key] for key in keys]))


def test_a_place_without_a_sensor_has_nothing_valid(tmp_path):
    written = write_chips(tmp_path, num=5)
    import zarr

    group = zarr.open_group(written.store, mode="r+")
    group["s1_valid"][2] = 0.0
    array = group["s1"]
    array[2] = np.nan
    batch = samples_of(written).batch([Key(0, 1), Key(0, 2)])
    assert not batch.valid["s1"][1].any() and not batch.images["s1"][1].any()
    assert batch.valid["s1"][0].any() and batch.valid["s2"][1].any()


def test_seasons_by_chance_in_training_and_the_first_that_is_there_otherwise(seasonal):
    def season_of(batch, row):
        whole = [standardised(seasonal.expected(row, "s1", SENSORS["s1"].bands, season), "s1") for season in (0, 1)]
        image = batch.images["s1"][0].numpy()
        return [
            season for season in (0, 1) if np.allclose(np.sort(whole[season], None), np.sort(image, None), atol=1e-4)
        ]

    config = model(image_px=24)
    training = samples_of(seasonal, config, scale=(1.0, 1.0))
    seen = [season_of(training[epoch, 1], 1) for epoch in range(20)]
    assert {season for (season,) in seen} == {0, 1}
    whole = samples_of(seasonal, config, scale=None)
    assert [season_of(whole[epoch, 1], 1) for epoch in range(5)] == [[0]] * 5
    assert season_of(whole[0, 3], 3) == [1] and season_of(training[0, 3], 3) == [1]


def test_workers_bring_the_same_batches_and_leave_the_global_chance_alone(written):
    samples = samples_of(written)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    alone, helped = loaded(samples, 7), loaded(samples, 7, workers=2)
    assert all(map(same, alone, helped))
    assert torch.equal(before, torch.get_rng_state())
    assert all(x.is_shared() for x in helped[0].images.values())
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("done", "world"), [(1, 1), (3, 2), (5, 4)])
def test_a_stream_goes_on_at_a_place_on_any_number_of_processes(written, done, world):
    samples = samples_of(written)
    whole = loaded(samples, done + 3)[done:]
    parts = [loaded(samples, 3, place=ORDER.after(Place(), done), rank=rank, world=world) for rank in range(world)]
    for expected, *shares in zip(whole, *parts, strict=True):
        assert same(expected, collate(shares))


def test_weighted_repetitions_differ(written):
    order = SampleOrder(num_rows=10, batch=10, seed=0, weights=np.array([1.0, *[0.0] * 9]))
    (batch,) = loaded(samples_of(written), 1, order=order)
    assert batch.rows.tolist() == [0] * 10
    assert len({x.numpy().tobytes() for x in batch.noise["s1"]}) == 10


def test_memory_is_filled_again_only_when_nothing_refers_to_it():
    requests = workers_module.Requests(ORDER.draws(Place(), 0, 1), 2)
    asked = iter(requests)
    slots = [next(asked).slot for _ in range(6)]
    assert slots == [0, 1, 2, 3, 4, 5]  # all under way
    memory = {slot: torch.zeros(64) for slot in slots[:2]}
    views = {slot: memory[slot][8:24].view(4, 4) for slot in memory}
    for slot, whole in memory.items():
        requests.received(slot, whole)
    del memory, whole
    assert next(asked).slot == 6
    del views[1]
    assert [next(asked).slot for _ in range(3)] == [1, 8, 7]


def test_batches_that_are_kept_stay_as_they_were(written):
    samples = samples_of(written)
    batches = open_loader(samples, ORDER, Place(), rank=0, world=1, workers=1, pin=False)
    kept = [batch for k, batch in enumerate(islice(batches, 24)) if k % 3 == 0]
    slots = batches.gi_frame.f_locals["requests"]._slots
    batches.close()
    assert all(map(same, kept, loaded(samples, 24)[::3]))
    assert len(slots[0]) < 8 + 5


def test_moving_a_batch(written):
    batch = samples_of(written).batch([Key(0, 0), Key(0, 1)])
    moved = batch.to(torch.device("meta"))
    assert moved.images["s2"].device.type == moved.noise["s1"].device.type == moved.valid["s1"].device.type == "meta"
    assert moved.rows is batch.rows


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_arrives_as_our_own_in_its_place(written, tmp_path, workers):
    shutil.copytree(written.store, tmp_path / "chips.zarr")
    damaged = tmp_path / "chips.zarr" / "s2" / "c" / "2" / "0" / "0" / "0"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    store = ChipStore(tmp_path / "chips.zarr")
    samples = ChipSamples(store, read_rows(written.manifest, store), model(), 0, (1.0, 1.0))
    broken = next(k for k, rows in enumerate(ORDER.epoch(0)) if (rows >= 7).any())
    batches = open_loader(samples, ORDER, Place(), rank=0, world=1, workers=workers, pin=False)
    for _ in range(broken):
        next(batches)
    with pytest.raises(DataError) as raised:
        next(batches)
    assert str(raised.value).startswith(f"chip store: shard {damaged} is damaged")
    assert "\n" not in str(raised.value)
    with pytest.raises(StopIteration):
        next(batches)
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_an_error_of_ours_and_forgetting_ends_the_others(written):
    batches = open_loader(samples_of(written), ORDER, Place(), rank=0, world=1, workers=2, pin=False)
    for _ in range(2):  # one of each worker, which has then started
        next(batches)
    children = multiprocessing.active_children()
    assert len(children) == 2
    for child in children:
        os.kill(child.pid, signal.SIGTERM)  # as a batch system sends it to all; the trainer decides
    next(batches)
    os.kill(children[0].pid, signal.SIGKILL)
    with pytest.raises(DataError, match="a process that loads chips has died") as raised:
        list(islice(batches, 50))
    assert "\n" not in str(raised.value)
    del batches, raised
    gc.collect()
    assert multiprocessing.active_children() == []


SCRIPT = """
if __name__ == "__main__":
    import multiprocessing, time
    from pathlib import Path
    from csmoe_model.config import ModelConfig
    from csmoe_model.data.manifest import read_rows
    from csmoe_model.data.order import Place, SampleOrder
    from csmoe_model.data.samples import ChipSamples, open_loader
    from csmoe_model.data.store import ChipStore
    from csmoe_model.sensors import sentinel

    store = ChipStore(Path({store!r}))
    model = ModelConfig(sensors={{"s1": sentinel(("VV", "VH"), "dB")}}, image_px=16, patch_px=4)
    samples = ChipSamples(store, read_rows(Path({manifest!r}), store), model, 0, None)
    order = SampleOrder(num_rows=10, batch=4, seed=0)
    batches = open_loader(samples, order, Place(), rank=0, world=1, workers=2, pin=False)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    {end}
"""


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("end", "code"), [("raise ValueError('by itself')", 1), ("time.sleep(600)", -signal.SIGKILL)], ids=["error", "kill"]
)
def test_workers_end_with_a_run_that_dies(written, tmp_path, end, code):
    path = tmp_path / "run.py"
    path.write_text(SCRIPT.format(store=str(written.store), manifest=str(written.manifest), end=end))
    with subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        workers = [int(pid) for pid in run.stdout.readline().split()]
        if code < 0 or len(workers) != 2:
            run.kill()
        _, said = run.communicate(timeout=60)
    assert len(workers) == 2 and run.returncode == code, said
    if code > 0:
        assert said.rstrip().endswith("ValueError: by itself")
        assert "leaked" not in said and "Exception ignored" not in said
    until = time.monotonic() + 20
    while any(map(lives, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(lives, workers))
