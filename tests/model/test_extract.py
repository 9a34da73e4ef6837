"""Features of samples, batch by batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from csmoe_model.errors import DataError
from csmoe_model.evaluation.extract import JOINT, extract, load
from csmoe_model.evaluation.extractor import Extracted
from csmoe_model.evaluation.prepare import Preparation
from model.evaluation_readers import Lacking, Torn, Whole
from model.evaluation_toys import PX, ToyExtractor, labelled_set, segmentation_set

CPU = torch.device("cpu")


def data_of(reader=None):
    return replace(segmentation_set((9, 2, 3)), reader=reader or Lacking())


def features(data, samples, extractor=None, **options):
    extractor = extractor or ToyExtractor()
    preparation = Preparation(data, extractor.inputs, PX, "model")
    return extract(data, samples, extractor, preparation, device=CPU, **options)


def plain(data, sample, sensor, extractor):
    image, valid = Preparation(data, extractor.inputs, PX, "model")(data.reader.images(sample))[sensor]
    with torch.no_grad():
        return extractor(sensor, image[None], valid[None]).pooled[0]


def test_features_are_those_of_one_image_after_the_other_in_the_order_asked():
    data, extractor, samples = data_of(Whole()), ToyExtractor(), [7, 0, 3, 12, 1]
    done = []
    found = features(data, samples, extractor, batch=2, advance=done.append)
    assert found.samples.tolist() == samples
    assert done == [2, 2, 1]
    for row, sample in enumerate(samples):
        for sensor in ("s1", "s2"):
            expected = plain(data, sample, sensor, extractor)
            torch.testing.assert_close(found.pooled[sensor][row], expected, atol=1e-5, rtol=1e-4)
    assert all(has.all() for has in found.has.values())


def test_processes_that_load_bring_batches_in_order_and_errors_as_they_are():
    data, samples = data_of(Torn()), np.array([3, 7, 2, 4, 5, 0, 1, 8])
    preparation = Preparation(data, ToyExtractor().inputs, PX, "model")
    before = torch.get_rng_state()
    alone, together = (load(data, samples, preparation, batch=2, workers=workers) for workers in (0, 2))
    for first in (0, 2, 4):
        one, other = next(alone), next(together)
        assert one.samples.tolist() == other.samples.tolist() == samples[first : first + 2].tolist()
        for name in ("s1", "s2"):
            assert torch.equal(one.images[name], other.images[name])
            assert torch.equal(one.valid[name], other.valid[name])
    for batches in (alone, together):
        with pytest.raises(DataError, match=r"^sample 8 is torn$"):
            next(batches)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_what_a_sample_lacks_is_nothing_and_has_no_part(batch):
    found = features(data_of(), range(7), batch=batch)
    assert found.has["s1"].tolist() == [True, True, False, True, False, True, True]
    assert found.has["s2"].tolist() == [True, True, True, True, False, False, True]
    for name in ("s1", "s2"):
        assert (found.pooled[name].abs().sum(1) > 0).tolist() == found.has[name].tolist()
    assert found.num_empty == 1
    whole = features(data_of(Whole()), range(7), batch=batch)
    torch.testing.assert_close(found.pooled["s2"][3], whole.pooled["s2"][3])


def test_a_batch_in_which_nobody_has_a_sensor():
    found = features(data_of(), [2, 4, 5], batch=1)
    assert found.has["s1"].tolist() == [False, False, True]
    assert not found.pooled["s1"][:2].any()


def test_the_joint_view_is_unit_lengths_side_by_side_of_those_that_have_all():
    found = features(data_of(), range(7))
    assert found.views == ["s1", "s2", JOINT]
    view, has = found.view(JOINT)
    assert has.tolist() == [True, True, False, True, False, False, True]
    expected = torch.cat([functional.normalize(found.pooled[name]) for name in ("s1", "s2")], 1)
    torch.testing.assert_close(view, expected)
    assert view[0].norm() == pytest.approx(2**0.5, rel=1e-5)
    assert found.view("s2")[0] is found.pooled["s2"]


def test_one_sensor_has_no_joint_view():
    data = data_of(Whole())
    alone = replace(data, sensors={"s2": data.sensors["s2"]})
    assert features(alone, [0, 1]).views == ["s2"]


def test_features_that_are_not_finite_name_the_sample():
    class Broken(ToyExtractor):
        def __call__(self, sensor, images, valid, layers=()):
            pooled = super().__call__(sensor, images, valid).pooled
            return Extracted(torch.where(torch.arange(len(pooled))[:, None] == 1, torch.inf, pooled))

    with pytest.raises(DataError, match="toy: features of s1 of sample scene-5 are not finite"):
        features(data_of(Whole()), [4, 5, 6], Broken())


def test_evaluation_mode_and_no_gradient():
    extractor = ToyExtractor()
    extractor.module.train()
    found = features(labelled_set((4, 1, 1)), range(4), extractor)
    assert not extractor.module.training
    assert not found.pooled["s1"].requires_grad


def test_images_of_several_sizes_need_one():
    class Growing(Whole):
        def images(self, sample):
            return {name: image[:, : 8 + sample] for name, image in super().images(sample).items()}

    data = data_of(Growing())
    mixed = load(data, [0, 1], Preparation(data, ToyExtractor().inputs, None, "model"), batch=2)
    with pytest.raises(DataError, match="sample scene-1 has another size than its neighbours: give a size"):
        next(mixed)
    assert features(data, [0, 1]).has["s1"].all()
