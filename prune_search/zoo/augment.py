"""Batch augmentation on the device that holds the images, without Python for each sample."""

from __future__ import annotations

import torch
from torch import Tensor

PADDING = 4  # pixels on each side before a random crop; He et al. 2016, section 4.2


def random_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts each image of [N, C, H, W] by its own offset in [-4, 4] pixels per axis, zeros moving in."""
    height, width = images.shape[-2:]
    offsets = torch.randint(2 * PADDING + 1, (2, len(images)), generator=generator, device=generator.device)
    down, right = offsets.to(images.device)
    padded = torch.nn.functional.pad(images, (PADDING,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, down, right]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image of [N, C, H, W] left to right with probability one half."""
    flipped = torch.randint(2, (len(images), 1, 1, 1), generator=generator, device=generator.device) == 1
    return torch.where(flipped.to(images.device), images.flip(-1), images)


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """``kind``: none, flip, crop or crop+flip."""
    if "crop" in kind:
        images = random_crop(images, generator)
    return random_flip(images, generator) if "flip" in kind else images
