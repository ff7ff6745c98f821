"""MNIST and its relatives in the IDX form, packed (.gz) or unpacked, in torchvision's folder layout.

Format: http://yann.lecun.com/exdb/mnist (two zero bytes, type, number of dimensions, big-endian sizes,
    bytes).
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

import numpy as np
import torch

from prune_search.errors import UserError
from prune_search.zoo.decoded import Decoded, Form, Source
from prune_search.zoo.sources.download import download

FAMILY = ("MNIST", "FashionMNIST", "KMNIST")
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def source(name: str, root: Path) -> Source:
    """A set under ``root/<name>/raw``. A missing file of either part is noticed when ``train`` is read."""
    raw = root / name / "raw"
    return Source(name, ("train", "test"), functools.partial(_decode, name, root), files={"train": raw, "test": raw})


def _decode(name: str, root: Path, part: str, like: Form | None) -> Decoded:
    from torchvision import datasets

    kind = getattr(datasets, name)
    raw = root / name / "raw"
    stems = [stem for stems in _FILES.values() for stem in stems]
    if any(_find(raw, stem) is None for stem in stems):
        expected = f"{', '.join(stems)}, each as it is or as .gz, in {raw}"
        download(functools.partial(kind, root), name, expected)
    image_file, label_file = (_find(raw, stem) for stem in _FILES[part])
    images, labels = read_idx(image_file), read_idx(label_file)
    classes = tuple(kind.classes)
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) >= len(classes):
        raise UserError(
            f"{image_file} has the shape {images.shape}, {label_file} {labels.shape} with labels up to "
            f"{labels.max(initial=0)}; expected [N, H, W] and [N] with labels below {len(classes)}. Replace "
            "the files."
        )
    return Decoded(torch.from_numpy(images)[:, None], torch.from_numpy(labels).long(), classes)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in one IDX file, unpacked in memory where it ends in .gz.

    Raises:
        UserError: the file is cut off or no IDX file of bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        dimensions = content[3]
        if content[:3] != b"\x00\x00\x08" or not dimensions:
            raise ValueError("it does not begin like an IDX file of unsigned bytes")
        shape = np.frombuffer(content, ">i4", dimensions, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise UserError(f"{path} cannot be read: {error}. Delete it and fetch it again.") from error


def _find(raw: Path, stem: str) -> Path | None:
    return next((path for path in (raw / stem, raw / f"{stem}.gz") if path.is_file()), None)
