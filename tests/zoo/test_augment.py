from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from prune_search.errors import UserError
from prune_search.zoo.augment import random_crop, random_flip
from prune_search.zoo.data import load_data


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shift_of(before: Tensor, after: Tensor) -> tuple[int, int] | None:
    """By which (down, right) in [0, 8] a window of the padded image became ``after``."""
    height, width = before.shape[1:]
    padded = pad(before, (4,) * 4)
    windows = {(y, x): padded[:, y : y + height, x : x + width] for y in range(9) for x in range(9)}
    return next((offset for offset, window in windows.items() if torch.equal(window, after)), None)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_is_a_shift_with_zeros_moving_in_and_its_own_for_each_image(dtype):
    images = torch.randint(1, 256, (200, 3, 10, 12), generator=generator()).to(dtype)
    before = images.clone()
    cropped = random_crop(images, generator())
    shifts = [shift_of(*pair) for pair in zip(images, cropped, strict=True)]
    assert cropped.dtype == dtype and None not in shifts and torch.equal(images, before)
    assert {down for down, _ in shifts} == set(range(9)) == {right for _, right in shifts}


def test_flip_mirrors_about_half_of_the_images_exactly():
    images = torch.randint(0, 256, (400, 1, 3, 5), generator=generator(), dtype=torch.uint8)
    flipped = random_flip(images, generator())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all() and 150 < mirrored.sum() < 250


@pytest.mark.parametrize("kind", ["none", "flip", "crop", "crop+flip"])
def test_augmentation_follows_the_generator_and_nothing_else(kind):
    data = load_data("digits", root=".", train_size=64, validation_size=10, augment=kind)
    images = data.train.images
    state = torch.get_rng_state()
    first, again, other = (data.augmented(images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, other) == (kind == "none") and first.shape == images.shape


def test_augmentation_needs_images(user_module):
    name = user_module(
        "import torch\ndef build():\n    pair = (torch.rand(9, 4), torch.arange(9) % 2)\n    return pair, pair"
    )
    with pytest.raises(UserError, match=r"needs images \[C, H, W\].*\[4\]"):
        load_data(f"{name}:build", root=".", validation_size=2, augment="flip")
