"""Heads: which layers they see, what they make of them, and that none is silently left out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.extractors.own import untrained
from csmoe_model.evaluation.heads import (
    LEVELS,
    Beside,
    DPTHead,
    LinearHead,
    UPerNetHead,
    build_segmenter,
    spread_layers,
)
from model.evaluation_toys import PX, ToyExtractor
from model.small_models import model_config

HEADS = ["linear", "upernet", "dpt"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs_of(extractor, count=3, seed=5):
    chance = torch.Generator().manual_seed(seed)
    px = extractor.image_px
    images = {name: torch.randn(count, s.num_bands, px, px, generator=chance) for name, s in extractor.inputs.items()}
    return images, {name: torch.ones_like(image, dtype=torch.bool) for name, image in images.items()}


@pytest.mark.parametrize(
    ("depth", "count", "layers"),
    [
        (12, 4, (2, 5, 8, 11)),
        (24, 4, (5, 11, 17, 23)),
        (10, 4, (2, 4, 7, 9)),
        (4, 4, (0, 1, 2, 3)),
        (2, 4, (0, 0, 1, 1)),
        (12, 1, (11,)),
    ],
)
def test_layers_are_spread_over_the_depth(depth, count, layers):
    assert spread_layers(depth, count) == layers


@given(depth=st.integers(1, 60), count=st.integers(1, 8))
def test_the_last_layer_is_always_one_of_them_and_none_is_out_of_range(depth, count):
    layers = spread_layers(depth, count)
    assert len(layers) == count
    assert layers[-1] == depth - 1
    assert layers[0] >= 0
    assert list(layers) == sorted(layers)


@pytest.mark.parametrize("layers", [(2,), (0, -1), (5, 11, 17, 23)], ids=["one past the last", "negative", "of 24"])
def test_layers_out_of_range_are_refused_never_clipped(layers):
    own = untrained(model_config())
    assert own.num_layers == 2
    with pytest.raises(ConfigError, match="encoder of 2 blocks: count from 0 to 1"):
        build_segmenter(own, ["s2"], "linear" if len(layers) < LEVELS else "dpt", 3, width=8, layers=layers)


@pytest.mark.parametrize("head", ["upernet", "dpt"])
def test_a_decoder_takes_four_layers(head):
    with pytest.raises(ConfigError, match="takes 4 layers, 2 are given"):
        build_segmenter(ToyExtractor(), ["s2"], head, 3, width=8, layers=(0, 1))


def test_without_dense_features_there_is_nothing_to_segment():
    extractor = ToyExtractor()
    extractor.num_layers = 0
    with pytest.raises(ConfigError, match="no dense features"):
        build_segmenter(extractor, ["s2"], "linear", 3, width=8)


def test_maps_are_those_of_the_layers_asked_sensor_by_sensor():
    extractor = ToyExtractor()
    segmenter = build_segmenter(extractor, ["s2", "s1"], "linear", 3, width=8, layers=(3, 1))
    images, valid = inputs_of(extractor)
    valid["s1"][1] = False
    maps = segmenter.maps(images, valid)
    for place, sensor in enumerate(["s2", "s1"]):
        wanted = extractor(sensor, images[sensor], valid[sensor], [0, 1, 2, 3]).dense
        for found, layer in zip(maps[2 * place : 2 * place + 2], (3, 1), strict=True):
            rows = [0, 1, 2] if sensor == "s2" else [0, 2]
            assert torch.equal(found[rows], wanted[layer][rows])
    assert not maps[2][1].any()  # nothing of s1 there
    assert not maps[3][1].any()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("sensors", [["s1"], ["s2", "s1"]], ids=["one sensor", "two"])
def test_scores_have_the_size_of_the_images(head, sensors):
    own = untrained(model_config())
    segmenter = build_segmenter(own, sensors, head, 5, width=8)
    scores = segmenter.scores(segmenter.maps(*inputs_of(own)))
    assert scores.shape == (3, 5, 32, 32)
    assert scores.dtype == torch.float32


@pytest.mark.parametrize("head", [UPerNetHead, DPTHead, LinearHead])
@pytest.mark.parametrize(
    "shapes",
    [[(6, 4, 4)] * 4, [(6, 7, 7)] * 4, [(6, 5, 6)] * 4, [(4, 28, 28), (6, 14, 14), (8, 7, 7), (10, 4, 4)]],
    ids=["even", "odd", "not square", "a pyramid"],
)
def test_every_layer_and_every_weight_has_a_part_in_the_scores(head, shapes):
    torch.manual_seed(1)
    built = head(shapes, 3, 8)
    maps = [torch.randn(2, *shape, requires_grad=True) for shape in shapes]
    built(maps).square().sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in maps)
    assert all(parameter.grad is not None for parameter in built.parameters())


def test_every_head_sees_the_depth_unless_layers_are_named():
    extractor = ToyExtractor()
    for head in ("linear", "upernet", "dpt"):
        assert build_segmenter(extractor, ["s1"], head, 3, width=8).layers == (0, 1, 2, 3)
    assert build_segmenter(extractor, ["s1"], "linear", 3, width=8, layers=(2,)).layers == (2,)
    extractor.num_layers = 1
    assert build_segmenter(extractor, ["s1"], "linear", 3, width=8).layers == (0,)


def test_the_linear_head_is_standardisation_a_product_and_an_enlargement():
    torch.manual_seed(2)
    extractor = ToyExtractor()
    segmenter = build_segmenter(extractor, ["s1", "s2"], "linear", 3, width=8, layers=(3,))
    images, valid = inputs_of(extractor)
    maps = [one.detach() for one in segmenter.maps(images, valid)]
    linear = segmenter.head[1]
    for _ in range(200):  # running statistics come to those of the batch
        segmenter.head(maps)
    segmenter.head.eval()
    found = segmenter.scores(maps)
    count = maps[0].numel() / maps[0].shape[1]
    standard = []
    for one in maps:
        mean = one.mean((0, 2, 3), keepdim=True)
        variance = one.var((0, 2, 3), correction=0, keepdim=True) * count / (count - 1)
        standard.append((one - mean) / (variance + 1e-5).sqrt())
    scores = torch.einsum("kd,bdhw->bkhw", linear.classify.weight[..., 0, 0], torch.cat(standard, 1))
    scores = scores + linear.classify.bias[:, None, None]
    wanted = functional.interpolate(scores, (PX, PX), mode="bilinear", align_corners=False)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_sensors_of_other_scale_weigh_alike():
    torch.manual_seed(3)
    beside = Beside([[(4, 6, 6)], [(4, 6, 6)]])
    one, other = torch.randn(5, 4, 6, 6), torch.randn(5, 4, 6, 6)
    found = beside([one, 3 + 100 * other])[0]
    assert torch.allclose(found, beside([one, other])[0], atol=1e-3)
    assert found.shape == (5, 8, 6, 6)
