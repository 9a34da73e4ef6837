"""Segmentation: windows against plain loops, what is learned, what counts, and what chooses."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from csmoe_model.errors import ConfigError, DataError, TrainingError
from csmoe_model.evaluation import segment_batches
from csmoe_model.evaluation.crops import IGNORED, Scenes, nearest, stacked
from csmoe_model.evaluation.fitting import ahead
from csmoe_model.evaluation.heads import build_segmenter
from csmoe_model.evaluation.mask_pictures import chosen_images, draw_masks, mask_figure
from csmoe_model.evaluation.metrics.intervals import Resampling
from csmoe_model.evaluation.metrics.segmentation import PixelCounts
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.evaluation.segment_batches import SegmentConfig
from csmoe_model.evaluation.segmentation import num_images, predict, segment
from csmoe_model.evaluation.sliding import Slider
from csmoe_model.evaluation.windows import Mosaic, Place, cover, cut
from csmoe_model.train.config import OptimiserConfig
from model.evaluation_toys import CLASSES, PX, SHAPE, ToyExtractor, segmentation_set

CPU = torch.device("cpu")
HEADLINE = "miou/dataset"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def optimiser_of(lr):
    return OptimiserConfig(lr=lr, betas=(0.9, 0.999), warmup=0.05)


SLOW = optimiser_of(2e-3)


def config_of(**changes):
    settings = {"epochs": 3, "batch": 16, "workers": 0, "optimiser": optimiser_of(0.03), "layers": (3,), **changes}
    if settings.get("head", "linear") != "linear":
        del settings["layers"]
    return SegmentConfig(**settings)


def run(data=None, extractor=None, **changes):
    return segment(data or segmentation_set(), extractor or ToyExtractor(), config_of(**changes), device=CPU)


def slider_of(extractor=None, num_classes=4):
    extractor = extractor or ToyExtractor()
    torch.manual_seed(4)
    segmenter = build_segmenter(extractor, ["s1", "s2"], "linear", num_classes, width=8)
    segmenter.head.eval()
    return Slider(segmenter=segmenter, batch=3, device=CPU, precision="32-true")


def scenes_of(data, image_px=None):
    return Scenes(data, Preparation(data, ToyExtractor().inputs, image_px, "model"))


# Windows


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(1, 40),
    overlap=st.floats(0, 0.95, allow_nan=False),
)
def test_windows_cover_every_pixel_and_overlap_as_asked(height, width, size, overlap):
    places = cover((height, width), size, overlap)
    seen = np.zeros((height, width), bool)
    for top, left in places:
        seen[top : top + size, left : left + size] = True
    assert seen.all()
    assert len(set(places)) == len(places)
    for axis, length in enumerate((height, width)):
        starts = sorted({place[axis] for place in places})
        assert starts[0] == 0
        assert starts[-1] == max(0, length - size)  # nothing lies beyond an image that is large enough
        least = min(math.ceil(overlap * size - 1e-9), size - 1)
        assert all(one + size - other >= least for one, other in pairwise(starts))


@pytest.mark.parametrize(
    ("length", "overlap", "starts"),
    [(10, 0.0, [0]), (7, 0.5, [0]), (20, 0.0, [0, 10]), (20, 0.5, [0, 5, 10]), (21, 0.5, [0, 4, 7, 11])],
)
def test_where_windows_begin(length, overlap, starts):
    assert [place.left for place in cover((3, length), 10, overlap)] == starts


@pytest.mark.parametrize(
    ("height", "width", "overlap"), [(9, 9, 0.5), (5, 20, 0.0), (21, 12, 0.3), (19, 26, 0.5), (13, 4, 0.8)]
)
def test_a_mosaic_is_the_weighted_mean_of_a_plain_loop(height, width, overlap):
    size, places = 9, cover((height, width), 9, overlap)
    scores = torch.randn(len(places), 2, size, size, generator=torch.Generator().manual_seed(height * 31 + width))
    mosaic = Mosaic(2, places, (height, width), size)
    for place, one in zip(places, scores, strict=True):
        mosaic.add(place, one)
    hann = [math.sin(math.pi * (k + 0.5) / size) ** 2 for k in range(size)]
    values = scores.numpy()
    total, weights = np.zeros((2, height, width)), np.zeros((height, width))
    for k, (top, left) in enumerate(places):
        for row, column in product(range(size), range(size)):
            y, x = top + row, left + column
            if y < height and x < width:
                weight = hann[row] * hann[column]
                total[:, y, x] += weight * values[k, :, row, column]
                weights[y, x] += weight
    np.testing.assert_allclose(mosaic.scores.numpy(), total / weights, atol=1e-4)


def test_an_image_of_the_size_of_a_window_has_the_scores_of_a_plain_pass_to_the_bit():
    data, slider = segmentation_set(shape=(PX, PX)), slider_of()
    scene = scenes_of(data)(2)
    found = slider.scores(scene, slider.chunks(scene, 0.7), 0.7)
    plain = stacked([scene])
    with torch.no_grad():
        wanted = slider.segmenter.scores(slider.segmenter.maps(plain.images, plain.valid))[0]
    assert torch.equal(found, wanted)


def test_a_smaller_image_is_filled_up_as_invalid_and_cut_back():
    data, slider = segmentation_set(shape=(10, 12)), slider_of()
    scene = scenes_of(data)(2)
    window = scene.window(Place(0, 0), PX)
    for name in ("s1", "s2"):
        assert not window.valid[name][:, 10:].any()
        assert not window.valid[name][:, :, 12:].any()
        assert not window.images[name][:, 10:].any()
    assert (window.reference[10:] == IGNORED).all()
    assert torch.equal(window.reference[:10, :12], scene.reference)
    found = slider.scores(scene, slider.chunks(scene, 0.5), 0.5)
    plain = stacked([window])
    with torch.no_grad():
        wanted = slider.segmenter.scores(slider.segmenter.maps(plain.images, plain.valid))[0, :, :10, :12]
    assert torch.equal(found, wanted)


def test_a_larger_image_is_blended_of_windows_in_any_batches():
    data, slider = segmentation_set(), slider_of()
    scene = scenes_of(data)(1)
    found = slider.scores(scene, slider.chunks(scene, 0.5), 0.5)
    places = cover(SHAPE, PX, 0.5)
    mosaic = Mosaic(4, places, SHAPE, PX)
    with torch.no_grad():
        for place in places:
            one = stacked([scene.window(place, PX)])
            mosaic.add(place, slider.segmenter.scores(slider.segmenter.maps(one.images, one.valid))[0])
    assert torch.allclose(found, mosaic.scores, atol=1e-5)


def without(columns, *names):
    """Makes pixels of some columns invalid in some sensors."""

    def change(sample, images, mask):
        for name in names:
            images[name][:, :, columns] = np.nan
        return images, mask

    return change


def test_windows_that_see_nothing_are_not_computed():
    data, slider = segmentation_set(change=without(slice(0, 24), "s1", "s2")), slider_of()
    scene = scenes_of(data)(0)
    assert {place.left for place in slider.places(scene, 0.5)} == {16, 24}  # of 0, 8, 16, 24
    extractor = slider.segmenter.extractor
    extractor.calls.clear()
    scores = slider.scores(scene, slider.chunks(scene, 0.5), 0.5)
    assert sum(count for sensor, count in extractor.calls if sensor == "s1") == 2 * 2
    assert not scores[:, :, :16].any()
    assert scores[:, :, 16:].any()


# What is learned


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment": True, "workers": 2},
        {"frozen": False, "backbone_lr": 0.5},
        {"frozen": False, "augment": True, "precision": "bf16-mixed"},
        {"head": "upernet", "width": 16, "epochs": 5},
        {"head": "dpt", "width": 16, "epochs": 6, "overlap": 0.0},
    ],
    ids=["kept maps", "turned", "fine-tuned", "bf16", "upernet", "dpt"],
)
def test_a_mask_that_follows_from_the_pixels_is_learned(changes):
    assert run(**changes).figures[HEADLINE].value > 0.9


def test_one_sensor_cannot_tell_what_needs_both():
    alone = run(sensor="s2")
    assert alone.figures[HEADLINE].value < 0.5
    assert alone.segmenter.sensors == ("s2",)
    two = segmentation_set(classes=("left", "right"), change=lambda _, images, mask: (images, mask % 2))
    assert run(two, sensor="s2").figures[HEADLINE].value > 0.9


def test_resized_images_are_judged_at_the_size_of_the_mask():
    result = run(segmentation_set(shape=(30, 20)), resize=True, epochs=6)
    assert result.figures[HEADLINE].value > 0.75  # blurred by the resizing
    assert result.confusion.sum() == 5 * 30 * 20


def test_resized_images_may_have_another_size_than_their_masks():
    def enlarged(sample, images, mask):
        return images, mask.repeat(2, 0).repeat(2, 1)

    data = segmentation_set(shape=(PX, PX), change=enlarged)
    with pytest.raises(DataError, match="s1 has 16 x 16 px, the mask 32 x 32"):
        run(data)
    result = run(data, resize=True, batch=4, epochs=6)
    assert result.figures[HEADLINE].value > 0.9
    assert result.confusion.sum() == 5 * 4 * PX * PX


def test_a_sample_that_lacks_a_sensor_takes_part():
    def lacking(sample, images, mask):
        return ({"s2": images["s2"]} if sample % 3 == 0 else images), mask

    assert run(segmentation_set(change=lacking)).figures[HEADLINE].value > 0.6


# What is found again


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("changes", [{}, {"augment": True, "frozen": False}], ids=["kept maps", "fine-tuned"])
def test_equal_seeds_give_equal_weights_and_leave_chance_alone(changes):
    before = torch.get_rng_state()
    one, again = run(**changes, workers=0), run(**changes, workers=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(weights_of(one.segmenter.head), weights_of(again.segmenter.head))
    assert one.fitted == again.fitted
    assert (one.confusion == again.confusion).all()
    other = run(**changes, seed=1)
    assert not same(weights_of(one.segmenter.head), weights_of(other.segmenter.head))


@pytest.mark.parametrize("augment", [False, True])
def test_a_frozen_backbone_stays_as_it_is_to_the_bit(augment):
    extractor = ToyExtractor()
    before = weights_of(extractor.module)
    result = run(extractor=extractor, augment=augment)
    assert same(before, weights_of(extractor.module))
    assert result.segmenter.extractor is extractor


def test_a_fine_tuned_backbone_is_a_copy_that_has_changed():
    extractor = ToyExtractor()
    before = weights_of(extractor.module)
    result = run(extractor=extractor, frozen=False)
    assert same(before, weights_of(extractor.module))
    after = weights_of(result.segmenter.extractor.module)
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_predictions_of_a_result_are_those_that_were_judged():
    data, config = segmentation_set(), config_of()
    result = segment(data, ToyExtractor(), config, device=CPU)
    confusion = np.zeros((4, 4), int)
    for scene, predicted in predict(data, result.segmenter, config, result.samples.tolist(), CPU):
        np.add.at(confusion, (scene.reference.numpy(), predicted.numpy()), 1)
    assert (confusion == result.confusion).all()


def test_progress_ends_at_what_was_announced():
    for changes in ({}, {"augment": True}, {"resize": True}):
        data, config, steps = segmentation_set(), config_of(epochs=2, **changes), []
        segment(data, ToyExtractor(), config, device=CPU, advance=steps.append)
        assert sum(steps) == num_images(data, ToyExtractor(), config)


# What counts


def spoiled(code, *, where=slice(4, 30)):
    """All samples have a class at some columns that says nothing of the pixels."""

    def change(sample, images, mask):
        mask[:, where] = code
        return images, mask

    return change


def test_ignored_pixels_have_no_influence():
    wrong = run(segmentation_set(change=spoiled(3)))
    ignored = {code: run(segmentation_set(change=spoiled(code), ignore_index=code)) for code in (255, -1, -9)}
    first = ignored[255]
    assert first.figures[HEADLINE].value > 0.9 > wrong.figures[HEADLINE].value
    assert first.confusion.sum() == 5 * 24 * (40 - 26)
    for other in ignored.values():
        assert same(weights_of(first.segmenter.head), weights_of(other.segmenter.head))
        assert (first.confusion == other.confusion).all()
        assert first.fitted == other.fitted


def test_pixels_that_no_sensor_sees_count_for_nothing_and_are_told():
    lost = without(slice(0, 9), "s1", "s2")
    result = run(segmentation_set(change=lost))
    assert result.confusion.sum() == 5 * 24 * 31
    assert result.notes == ("22.50% of the labelled test pixels are seen by no sensor and count for nothing",)
    seen = run(segmentation_set(change=without(slice(0, 9), "s2")))
    assert seen.confusion.sum() == 5 * 24 * 40  # s1 sees them


def test_codes_that_are_no_class_are_refused():
    with pytest.raises(DataError, match=r"mask of sample scene-0: has codes 0 to 9 .* 4 classes \(and ignores 255\)"):
        run(segmentation_set(change=spoiled(9, where=slice(30, 31)), ignore_index=255))


def test_a_class_that_does_not_occur_is_left_out_of_the_mean():
    data = segmentation_set(classes=(*CLASSES, "glacier"))
    result = run(data)
    assert result.figures[HEADLINE].value > 0.9
    assert result.confusion.shape == (5, 5)
    assert "iou/class/glacier" not in result.figures
    assert result.figures["iou/class/ice"].value > 0.9


def test_smaller_test_images_are_told():
    result = run(segmentation_set(shape=(10, 40)))
    assert result.notes == ("5 of 5 test images are smaller than the model's 16 px",)
    assert result.confusion.sum() == 5 * 400


# What chooses


def of_split(split, change):
    """Changes the masks of a split of the usual counts."""
    numbers = {"train": range(12), "validation": range(12, 16), "test": range(16, 21)}[split]

    def changed(sample, images, mask):
        return images, change(mask) if sample in numbers else mask

    return changed


def test_validation_chooses_the_epoch_and_test_has_no_say():
    plain = run(epochs=5)
    inverted = segmentation_set(change=of_split("validation", lambda mask: 3 - mask))
    against = run(inverted, epochs=5, optimiser=SLOW)
    scores = [epoch.score for epoch in against.fitted.curve]
    assert against.fitted.best == int(np.argmax(scores)) < 4  # the better it learns, the worse these masks fit
    assert scores[-1] < scores[against.fitted.best]
    assert against.figures[HEADLINE].value < plain.figures[HEADLINE].value
    turned = run(segmentation_set(change=of_split("test", lambda mask: 3 - mask)), epochs=5)
    assert turned.fitted == plain.fitted
    assert same(weights_of(turned.segmenter.head), weights_of(plain.segmenter.head))
    assert turned.figures[HEADLINE].value < 0.1


def test_weights_are_those_of_the_chosen_epoch():
    data = segmentation_set(change=of_split("validation", lambda mask: 3 - mask))
    result = run(data, epochs=5, optimiser=SLOW)
    pixels = PixelCounts(CLASSES)
    for scene, predicted in predict(data, result.segmenter, config_of(), range(12, 16), CPU):
        pixels.add(predicted[None], scene.reference[None])
    assert pixels.figures()[HEADLINE].value == result.fitted.curve[result.fitted.best].score
    assert pixels.figures()[HEADLINE].value > result.fitted.curve[-1].score


def test_patience_ends_a_training():
    data = segmentation_set(change=of_split("validation", lambda mask: 3 - mask))
    fitted = run(data, epochs=9, patience=2, optimiser=SLOW).fitted
    assert len(fitted.curve) == fitted.best + 3 < 9


def test_intervals_are_over_images():
    data = segmentation_set()
    result = segment(data, ToyExtractor(), config_of(), device=CPU, resampling=Resampling(resamples=50))
    figure = result.figures[HEADLINE]
    assert figure.low < figure.value < figure.high
    assert len(result.image_miou) == len(result.samples) == 5
    assert np.nanmean(result.image_miou) == pytest.approx(result.figures["miou/image"].value)


# What is refused


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_missing_split_is_said_before_any_work(split):
    data = segmentation_set()
    data.split[data.split == split] = "train" if split != "train" else "test"
    with pytest.raises(DataError, match=f"0 samples of split '{split}'"):
        run(data)
    assert data.reader.reads == 0


def test_a_sensor_that_the_model_lacks_is_refused():
    with pytest.raises(ConfigError, match="toy: has no sensor 's3', but s1, s2"):
        run(sensor="s3")


def test_more_maps_than_can_be_kept_are_refused(monkeypatch):
    monkeypatch.setattr(segment_batches, "_MOST_KEPT_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"toy masks: maps of 12 images .*: augment"):
        run()
    run(augment=True, epochs=1)


def test_a_backbone_without_weights_cannot_be_fine_tuned():
    extractor = ToyExtractor()
    extractor.module = None
    with pytest.raises(ConfigError, match="toy: has nothing that can be trained"):
        run(extractor=extractor, frozen=False)


def test_upernet_needs_more_than_one_window_in_a_batch():
    with pytest.raises(ConfigError, match="2 windows in a batch"):
        run(head="upernet", width=8, batch=1)


def test_a_loss_that_is_not_finite_ends_the_training():
    extractor = ToyExtractor()
    extractor.module.patches["s2"].weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"toy: loss nan .* in epoch 1, step 1: give a lower optimiser\.lr"):
        run(extractor=extractor)


def test_masks_without_a_class_are_refused():
    with pytest.raises(DataError, match="no pixel of the training split counts"):
        run(segmentation_set(change=spoiled(255, where=slice(None)), ignore_index=255))
    nothing = segmentation_set(change=of_split("validation", lambda mask: mask * 0 + 255), ignore_index=255)
    with pytest.raises(TrainingError, match="score on validation is nan"):
        run(nothing)


# Crops and reading ahead


def test_crops_are_windows_of_the_scene_turned_alike():
    scenes = scenes_of(segmentation_set())
    whole = scenes(3)
    places = set()
    for seed in range(40):
        crop = scenes.crop(3, PX, torch.Generator().manual_seed(seed), turn=False)
        found = [
            place
            for place in cover(SHAPE, PX, 0.9999)
            if torch.equal(cut(whole.images["s2"], place, PX), crop.images["s2"])
        ]
        assert len(found) == 1
        places.update(found)
        window = whole.window(found[0], PX)
        assert torch.equal(window.reference, crop.reference)
        assert torch.equal(window.images["s1"], crop.images["s1"])
    assert len(places) > 20
    signs = set()
    for seed in range(40):
        turned = scenes.crop(3, PX, torch.Generator().manual_seed(seed), turn=True)
        assert ((turned.images["s2"][1] > 0).long() == turned.reference % 2).all()  # B8A of the model's three
        assert ((turned.images["s1"][0] > 0).long() == turned.reference // 2).all()
        signs.add(tuple(turned.reference.flatten().tolist()))
    assert len(signs) > 30


def test_nearest_takes_the_pixel_under_the_middle():
    image = torch.arange(12).view(3, 4)
    assert nearest(image, (3, 4)) is image
    assert nearest(image, (6, 4)).tolist() == image.repeat_interleave(2, 0).tolist()
    assert nearest(image, (1, 2)).tolist() == [[5, 7]]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_keeps_the_order_and_the_error(workers):
    def read(item):
        if item == 7:
            raise DataError("seven")
        return item * 2

    assert list(ahead(read, range(7), workers)) == [0, 2, 4, 6, 8, 10, 12]
    found = ahead(read, range(20), workers)
    assert [next(found) for _ in range(7)] == [0, 2, 4, 6, 8, 10, 12]
    with pytest.raises(DataError, match="seven"):
        next(found)


# Pictures


@given(scores=st.lists(st.floats(0, 1) | st.just(math.nan), max_size=12), each=st.integers(1, 3))
def test_pictured_images_are_the_best_the_middle_and_the_worst(scores, each):
    chosen = chosen_images(np.array(scores), each)
    known = sorted((value for value in scores if not math.isnan(value)), reverse=True)
    assert len({place for place, _ in chosen}) == len(chosen) == min(len(known), 3 * each)
    kinds = {kind: [scores[place] for place, own in chosen if own == kind] for kind in ("best", "median", "worst")}
    assert kinds["best"] == known[:each]
    if len(known) >= 3 * each:
        assert kinds["worst"] == known[-each:]
        assert len(kinds["median"]) == each
    assert [scores[place] for place, _ in chosen] == sorted((scores[place] for place, _ in chosen), reverse=True)


def test_a_picture_shows_reference_prediction_and_error(tmp_path):
    data = segmentation_set(change=spoiled(255, where=slice(0, 5)), ignore_index=255)
    config = config_of(epochs=1)
    result = segment(data, ToyExtractor(), config, device=CPU)
    figure = mask_figure(data, result, config, device=CPU, each=1)
    assert len(figure.axes) == 3 * 5
    labels = [axes.get_title() for axes in figure.axes[:5]]
    assert labels == ["s1", "s2", "reference", "prediction", "error"]
    reference, error = (figure.axes[k].images[0].get_array() for k in (2, 4))
    assert (reference[:, :5] == reference[0, 0]).all()
    assert (error[:, :5] == reference[0, 0]).all()
    draw_masks(data, result, config, tmp_path / "masks.png", device=CPU, each=1)
    first = (tmp_path / "masks.png").read_bytes()
    draw_masks(data, result, config, tmp_path / "masks.png", device=CPU, each=1)
    assert (tmp_path / "masks.png").read_bytes() == first
