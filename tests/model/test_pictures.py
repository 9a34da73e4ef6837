"""Pictures: pixels of reconstructions against the images they came from; curves against their lines."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from csmoe_model.config import LossConfig, MaskConfig
from csmoe_model.data.samples import Batch
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.nn.masking import draw_masks
from csmoe_model.nn.model import CSMoE
from csmoe_model.sensors import SENTINELS, Sensor, sentinel
from csmoe_model.train.curves import PANELS, curve_figure, draw_curves
from csmoe_model.train.pictures import draw_reconstructions, reconstruct, reconstruction_figure, varied_places
from model.small_models import model_config

SENSORS = {"s1": sentinel(("VH", "VV"), "dB"), "s2": sentinel(("B08", "B02", "B03", "B04"), "DN")}
HEIGHT = Sensor(bands=("height", "slope"), unit="m", mean=(300.0, 4.0), std=(500.0, 3.0))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(**changes):
    return model_config(**{"sensors": SENSORS, "mask": MaskConfig(ratio=0.5, ratios={"s2": 0.75}), **changes})


def built(config):
    torch.manual_seed(0)
    return CSMoE(config)


def batch_of(config, places=3, lacking=()):
    chance = torch.Generator().manual_seed(3)
    edge = config.image_px
    images = {
        name: torch.randn(places, s.num_bands, edge, edge, generator=chance) for name, s in config.sensors.items()
    }
    valid = {name: torch.rand(x.shape, generator=chance) > 0.05 for name, x in images.items()}
    for place, name in lacking:
        valid[name][place] = False
    images = {name: x.where(valid[name], 0.0) for name, x in images.items()}
    noise = {name: torch.rand(places, config.num_patches, generator=chance) for name in images}
    batch = Batch(images=images, valid=valid, noise=noise, rows=torch.arange(places))
    return batch, draw_masks(noise, config.ratios, config.mask.correspondence)


def in_units(x, sensor):
    return x * torch.tensor(sensor.std)[:, None, None] + torch.tensor(sensor.mean)[:, None, None]


def hidden_pixels(config, mask):
    """(B, 1, H, W) True where the patch is hidden, by a plain loop."""
    edge, p = config.image_px, config.patch_px
    found = torch.zeros(len(mask.hidden), 1, edge, edge, dtype=torch.bool)
    for b, patches in enumerate(mask.hidden):
        for k, hidden in enumerate(patches.tolist()):
            row, col = divmod(k, edge // p)
            found[b, :, row * p : (row + 1) * p, col * p : (col + 1) * p] = hidden
    return found


def same(one, other):
    return torch.equal(one.isnan(), other.isnan()) and torch.allclose(one.nan_to_num(), other.nan_to_num(), rtol=1e-5)


@pytest.mark.parametrize("normalise", [False, True])
def test_visible_patches_are_the_original_and_hidden_ones_the_prediction(normalise):
    config = config_of(loss=LossConfig(normalise_patches=normalise))
    model = built(config).train()
    batch, masks = batch_of(config)
    found = reconstruct(model, batch, masks)
    assert model.training
    model.eval()
    with torch.no_grad():
        predicted = model(batch.images, masks, batch.valid).pixels
    assert set(found.rebuilt) == {(a, b) for a in SENSORS for b in SENSORS}
    for (source, target), rebuilt in found.rebuilt.items():
        sensor, hidden = SENSORS[target], hidden_pixels(config, masks[source])
        original = in_units(batch.images[target], sensor).where(batch.valid[target], torch.nan)
        assert same(found.original[target], original)
        assert same(found.visible[target], original.where(~hidden_pixels(config, masks[target]), torch.nan))
        keep = (~hidden).expand_as(original)
        assert same(rebuilt[keep], original[keep])
        assert rebuilt[~keep].isfinite().all()
        if not normalise:
            expected = in_units(model.unpatchify(predicted[source, target]), sensor)
            assert same(rebuilt[~keep], expected[~keep])


def test_patch_standardised_targets_are_undone(monkeypatch):
    """A model that hits its targets exactly gives the original's pixels back."""
    config = config_of(loss=LossConfig(normalise_patches=True))
    model = built(config).eval()
    batch, masks = batch_of(config)
    wanted = {name: model._target(x, model.patchify(batch.valid[name])) for name, x in batch.images.items()}
    monkeypatch.setattr(model.decoders, "forward", lambda features, mask, target: wanted[target])
    found = reconstruct(model, batch, masks)
    for (_, target), rebuilt in found.rebuilt.items():
        valid = batch.valid[target]
        assert torch.allclose(rebuilt[valid], found.original[target][valid], rtol=1e-3, atol=1e-2)


WEIGHTS = [(LossConfig(cmr=0), {("s1", "s1"), ("s2", "s2")}), (LossConfig(umr=0), {("s1", "s2"), ("s2", "s1")})]


@pytest.mark.parametrize(("loss", "expected"), WEIGHTS)
def test_only_what_is_learned_is_shown(loss, expected):
    config = config_of(loss=loss)
    batch, masks = batch_of(config, places=1)
    found = reconstruct(built(config), batch, masks)
    assert set(found.rebuilt) == expected
    figure = reconstruction_figure(found, config.sensors, ["a place"])
    assert sum(bool(axes.images) for axes in figure.axes) == 2 * 3


def test_a_model_that_rebuilds_nothing_is_refused():
    config = config_of(loss=LossConfig(umr=0, cmr=0))
    with pytest.raises(ConfigError, match=r"no reconstructions: loss\.umr and loss\.cmr are 0"):
        reconstruct(built(config), *batch_of(config))


def panels_of(figure):
    """(label, pixels) of every panel, in order."""
    return [(axes.get_title(), np.asarray(axes.images[0].get_array())) for axes in figure.axes if axes.images]


def test_colours_are_true_and_keep_their_balance():
    """Red, green and blue are found by name, and stretched alike."""
    config = config_of()
    batch, masks = batch_of(config, places=2)
    found = reconstruct(built(config), batch, masks)
    panels = panels_of(reconstruction_figure(found, SENSORS, ["one", "two"]))
    labels = [label for label, _ in panels]
    assert labels == 2 * [
        "s1, original",
        "visible",
        "from itself",
        "from s2",
        "s2, original",
        "visible",
        "from itself",
        "from s1",
    ]
    original = found.original["s2"][1][[3, 2, 1]].permute(1, 2, 0).numpy()  # of B08 B02 B03 B04
    shown = panels[8 + 4][1]
    low, high = np.nanpercentile(original, (2, 98))
    grey = ~np.isfinite(original).all(-1)
    expected = np.clip((original - low) / (high - low), 0, 1) ** 0.7
    assert np.allclose(shown[~grey], expected[~grey], atol=1e-3)
    assert grey.any() and np.allclose(shown[grey], shown[grey][0, 0])
    radar = panels[8][1]
    vv = found.original["s1"][1][1].numpy()
    assert np.array_equal(radar[..., 0], radar[..., 2])
    good = np.isfinite(vv)
    assert np.corrcoef(radar[good][:, 0], vv[good])[0, 1] > 0.95
    for first in (8, 12):  # what the encoder sees, and what is pasted, is shown as in the original
        visible, itself, whole = panels[first + 1][1], panels[first + 2][1], panels[first][1]
        name = "s1" if first == 8 else "s2"
        keep = ~hidden_pixels(config, masks[name])[1, 0].numpy()
        assert np.array_equal(visible[keep], whole[keep]) and np.array_equal(itself[keep], whole[keep])
        assert len(np.unique(visible[~keep])) == 1
        assert len(np.unique(itself[~keep])) > 50


def test_the_picture_shows_these_pixels(tmp_path):
    """The panels of the PNG hold the panels of the figure, where the axes say."""
    config = config_of()
    batch, masks = batch_of(config, places=2)
    model = built(config)
    path = tmp_path / "new" / "reconstructions.png"
    draw_reconstructions(model, batch, masks, path, ["one", "two"])
    assert [entry.name for entry in path.parent.iterdir()] == ["reconstructions.png"]
    first = path.read_bytes()
    draw_reconstructions(model, batch, masks, path, ["one", "two"])
    assert path.read_bytes() == first
    picture = imread(path)[..., :3]
    figure = reconstruction_figure(reconstruct(model, batch, masks), SENSORS, ["one", "two"])
    figure.set_dpi(130)
    figure.canvas.draw()
    for axes in figure.axes:
        pixels = np.asarray(axes.images[0].get_array())
        box, edge = axes.get_window_extent(), len(pixels)
        for row, col in ((0, 0), (3, 29), (17, 8), (31, 31)):
            x = box.x0 + (col + 0.5) / edge * box.width
            y = len(picture) - (box.y1 - (row + 0.5) / edge * box.height)
            assert picture[int(y), int(x)] == pytest.approx(pixels[row, col], abs=0.01)


@pytest.mark.parametrize(
    "sensors", [{"s2": SENTINELS["s2"]}, {**SENSORS, "dem": HEIGHT}, {"dem": HEIGHT, "s1": SENSORS["s1"]}]
)
def test_any_sensors_have_a_picture(tmp_path, sensors):
    config = model_config(sensors=sensors)
    batch, masks = batch_of(config, places=2)
    draw_reconstructions(built(config), batch, masks, tmp_path / "a.png", ["one", "two"])
    shown = reconstruction_figure(reconstruct(built(config), batch, masks), sensors, ["one", "two"])
    assert len(panels_of(shown)) == 2 * len(sensors) * (2 + len(sensors))


def test_a_place_that_lacks_a_sensor_still_has_its_prediction():
    config = config_of()
    batch, masks = batch_of(config, places=2, lacking=[(1, "s2")])
    panels = panels_of(reconstruction_figure(reconstruct(built(config), batch, masks), SENSORS, ["one", "two"]))
    original, visible, cross = panels[12][1], panels[13][1], panels[15][1]
    assert len(np.unique(original)) == len(np.unique(visible)) == 1
    hidden = hidden_pixels(config, masks["s1"])[1, 0].numpy()
    assert len(np.unique(cross[hidden])) > 50


def test_a_flat_image_does_not_become_noise():
    config = config_of()
    batch, masks = batch_of(config, places=1)
    for name, x in batch.images.items():
        batch.valid[name][:] = True
        x[:] = 1e-4 * x
    panels = dict(panels_of(reconstruction_figure(reconstruct(built(config), batch, masks), SENSORS, ["one"])))
    assert np.ptp(panels["s1, original"]) < 0.01


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.integers(0, 6))
def test_varied_places_have_as_many_labels_as_can_be(labels, count):
    found = varied_places(labels, count)
    assert found == sorted(set(found)) and len(found) == min(count, len(labels))
    assert len({labels[k] for k in found}) == min(count, len(set(labels)))


def test_varied_places_take_turns():
    assert varied_places(list("aaaabca"), 4) == [0, 1, 4, 5]


def write_lines(path, lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def lines_of_run(num=100):
    lines = [{"step": 0, "floor/knn/s2": 0.4, "floor/retrieval/s1>s2": 0.1, "floor/knn/majority": 0.3}]
    for step in range(1, num + 1):
        lines.append(
            {"step": step, "loss": 5.0 / step if step != 7 else None, "umr/s1": 1.0, "lr": 1e-4, "data_wait": 0.01}
        )
        if step % 25 == 0:
            lines.append({"step": step, "probe/knn/s2": 0.4 + step / 400, "probe/knn/joint": 0.5})
            lines.append({"step": step, "probe/routing/dead_slots": 0.0, "probe/retrieval/s1>s2": 0.2})
    return lines


RETRIEVAL = "retrieval of the other sensor, recall at 1"


def curves_of(lines):
    return {axes.get_title(): axes for axes in curve_figure(lines).axes}


def test_curves_hold_the_figures_of_the_run():
    curves = curves_of(lines_of_run())
    raw, mean = curves["loss"].lines
    assert list(raw.get_xdata()) == list(range(1, 101))
    values = np.asarray(raw.get_ydata())
    assert math.isnan(values[6]) and values[49] == pytest.approx(0.1)
    window = values[3:10]  # 3 on either side: 100 // 30
    assert mean.get_ydata()[6] == pytest.approx(np.nanmean(window))
    drawn = curves["k-NN accuracy, held out"].lines
    knn = {line.get_label(): line for line in drawn}
    assert list(knn["s2"].get_xdata()) == [25, 50, 75, 100]
    assert list(knn["s2"].get_ydata()) == pytest.approx([0.4625, 0.525, 0.5875, 0.65])
    dashed = [
        line
        for line in curves["k-NN accuracy, held out"].lines
        if line.get_linestyle() == "--" and len(line.get_xdata())
    ]
    assert [(line.get_ydata()[0], line.get_color()) for line in dashed] == [(0.4, knn["s2"].get_color())]
    assert knn["commonest label"].get_ydata()[0] == 0.3
    chance = [
        line for line in curves["retrieval of the other sensor, recall at 1"].lines if line.get_linestyle() == "--"
    ]
    assert chance[0].get_ydata()[0] == 0.1
    assert curves["share of time waiting for data"].get_ylim()[0] == 0.0
    assert set(curves) < {panel.title for panel in PANELS}  # empty ones are left out


def test_every_figure_of_a_run_belongs_to_one_panel():
    names = [
        "loss",
        "umr/s1",
        "cmr/s1>s2",
        "mim/s1,s2",
        "mde/s1,s2",
        "same/s1",
        "lr",
        "grad_norm",
        "samples_s",
        "data_wait",
    ]
    names += [f"probe/{kind}/{name}" for kind in ("knn", "knn_balanced", "linear") for name in ("s1", "joint")]
    names += [f"probe/{kind}/s1>s2" for kind in ("retrieval", "retrieval_mrr")]
    names += ["probe/effective_rank/s1", "probe/feature_std/s1"]
    routing = (
        "dispatch_entropy combine_entropy dead_slots expert_share_min expert_share_max expert_similarity router_scale"
    )
    names += [f"probe/routing/{name}" for name in routing.split()]
    for name in names:
        assert sum(panel.holds(name) for panel in PANELS) == 1, name


@pytest.mark.parametrize("num", [1, 30, 200])
def test_curves_are_written_from_any_length_of_run(tmp_path, num):
    path = write_lines(tmp_path / "metrics.jsonl", lines_of_run(num))
    with path.open("a") as file:
        file.write('{"step": 900, "los')  # killed here
    draw_curves(path, tmp_path / "curves.png")
    picture = imread(tmp_path / "curves.png")
    assert picture.shape[0] > 300 and picture.shape[1] > 1000
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["curves.png", "metrics.jsonl"]


def test_no_figures_are_one_clear_line(tmp_path):
    with pytest.raises(DataError, match=r"No such file or directory.*name a run's metrics.jsonl"):
        draw_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    with pytest.raises(DataError, match="holds no figures yet"):
        draw_curves(write_lines(tmp_path / "metrics.jsonl", [{"step": 3}]), tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
