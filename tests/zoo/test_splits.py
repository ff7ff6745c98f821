from __future__ import annotations

import pickle

import pytest
import torch
from sklearn.datasets import load_digits

from prune_search.errors import UserError
from prune_search.zoo.data import load_data
from prune_search.zoo.statistics import channel_statistics


def digits(**changes):
    return load_data("digits", **({"root": "none", "train_size": 1200, "validation_size": 300} | changes))


def rows(split) -> list[bytes]:
    return [image.numpy().tobytes() + bytes([label]) for image, label in zip(split.images, split.labels, strict=True)]


def test_digits_are_cut_into_three_parts_that_hold_every_image_once():
    data = digits(train_size=None)
    parts = [data.train, data.validation, data.test()]
    assert [len(part.labels) for part in parts] == [1228, 300, 269]
    bunch = load_digits()
    everything = [
        (image * 15).astype("uint8").tobytes() + bytes([label])
        for image, label in zip(bunch.images, bunch.target, strict=True)
    ]
    assert sorted(row for part in parts for row in rows(part)) == sorted(everything)
    assert data.input_shape == (1, 8, 8) and data.classes == tuple("0123456789")
    assert data.train.images.dtype == torch.uint8 and data.train.labels.dtype == torch.int64


def test_the_split_is_the_same_in_every_version():
    assert digits().train.labels[:12].tolist() == [0, 1, 7, 2, 0, 9, 6, 0, 4, 2, 0, 7]
    assert digits().fingerprint == "7edcd125dd3f8b1c42ad7ff52bc12c9dc10af49709dc9bf69c09182eaf49bc1d"


def test_validation_and_test_do_not_depend_on_the_training_size():
    small, large = digits(train_size=100), digits()
    assert torch.equal(small.validation.images, large.validation.images)
    assert torch.equal(small.test().images, large.test().images)
    assert torch.equal(small.train.images, large.train.images[:100])


def test_fingerprint_tells_splits_apart():
    prints = [
        digits(**c).fingerprint for c in ({}, {}, {"split_seed": 1}, {"train_size": 1199}, {"validation_size": 299})
    ]
    assert prints[0] == prints[1] and len(set(prints)) == 4


def test_mean_and_std_are_those_of_the_training_images_only():
    data = digits()
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx((pixels.mean().item(),), abs=1e-12)
    assert data.std == pytest.approx((pixels.std(correction=0).item(),), abs=1e-12)
    normal = data.inputs(data.train.images)
    assert normal.dtype == torch.float32 and normal.mean().abs() < 1e-5 and (normal.std() - 1).abs() < 1e-3


def test_channel_statistics_on_numbers_by_hand():
    images = torch.tensor([[[[0, 255]], [[51, 51]]]], dtype=torch.uint8)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((0.5, 0.2)) and std == pytest.approx((0.5, 1.0))  # constant: divide by one
    assert channel_statistics(images.float())[0] == pytest.approx((127.5, 51))


def test_inputs_leave_float_images_as_they_were():
    data = digits()
    images = torch.rand(3, 1, 8, 8)
    before = images.clone()
    data.inputs(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"train_size": 1300}, "validation_size is 300; digits has 228 images for it beside train_size 1300"),
        ({"train_size": 9000}, "train_size is 9000; digits has 1527 images"),
        ({"train_size": None, "validation_size": 1528}, "from 1 to 1527"),
        ({"validation_size": 0}, "validation_size is 0"),
        ({"train_size": None, "validation_size": None}, "Set validation_size"),
        ({"augment": "flop"}, "Did you mean 'flip'. Allowed: none, flip, crop, crop\\+flip"),
        ({"size": 32}, "leave 'size' out"),
        ({"options": {"colour": True}}, "data.colour is unknown"),
    ],
)
def test_wrong_sizes_and_options(sizes, said):
    with pytest.raises(UserError, match=said):
        digits(**sizes)


def test_unknown_name_lists_what_there_is():
    with pytest.raises(UserError, match="'CIFAR11' is unknown. Did you mean 'CIFAR10'") as error:
        load_data("CIFAR11", root=".", validation_size=1)
    assert "digits, MNIST" in str(error.value) and "package.module:function" in str(error.value)


def test_data_can_be_pickled_and_moved():
    data = pickle.loads(pickle.dumps(digits())).to("cpu")
    assert torch.equal(data.test().labels, digits().test().labels)
    assert torch.equal(data.inputs(data.validation.images), digits().inputs(digits().validation.images))
