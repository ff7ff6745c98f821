"""Image files and PIL images to one uint8 array."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from prune_search.errors import UserError

_RUN = 256


def shape_for(first: Image.Image, size: int | None) -> tuple[int, int, int]:
    """[C, H, W] of a data set: channels and, without ``size``, height and width of its first image."""
    channels = 1 if first.mode in ("L", "1") else 3
    return (channels, size or first.height, size or first.width)


def to_array(image: Image.Image, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 [C, H, W], grey or RGB; another size is scaled, its ratio kept, and cut around the centre."""
    channels, height, width = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def open_image(path: Path) -> Image.Image:
    """A decoded image.

    Raises:
        UserError: the file is no image that PIL can read.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}. Replace or delete it.") from error


def decode_files(paths: list[Path], shape: tuple[int, ...]) -> Tensor:
    """All images as uint8 [N, C, H, W]: a thread per core, each taking a run of images at a time."""
    images = torch.empty((len(paths), *shape), dtype=torch.uint8)
    view = images.numpy()

    def decode(start: int) -> None:
        for index, path in enumerate(paths[start : start + _RUN], start):
            view[index] = to_array(open_image(path), shape)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, range(0, len(paths), _RUN)))
    return images
