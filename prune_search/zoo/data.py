"""A data set as the other rooms see it: tensors, split once, normalised and augmented on their device."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from prune_search.errors import UserError, nearest
from prune_search.zoo import cache
from prune_search.zoo.augment import augment as augment_batch
from prune_search.zoo.decoded import Decoded, Form, Source
from prune_search.zoo.importing import call_accepted, is_import_path, load_object
from prune_search.zoo.names import AUGMENTATIONS
from prune_search.zoo.sources import find_source, function
from prune_search.zoo.statistics import channel_statistics

TEST_SHARE = 0.15  # cut off where a data set has no test part of its own (digits); our choice


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 [N, C, H, W] or float32 [N, ...], and their labels, int64 [N]."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Data:
    """One data set, split.

    Args:
        name: as in the YAML.
        classes: names of the classes by label.
        input_shape: of one image, [C, H, W] or any.
        mean, std: per channel (axis 1 of a batch) of the training split; uint8 counts as value / 255.
        fingerprint: sha256 (hex) of all images and labels outside the test part and of how they were split.
        train, validation: what training, stopping and selection may see.
        augment: none, flip, crop (4 pixels) or crop+flip.
        read_test: reads the test split; called by :meth:`test` only.
    """

    name: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    train: Split
    validation: Split
    augment: str = "none"
    read_test: Callable[[], Split] = field(kw_only=True, repr=False)
    _scale: Tensor = field(init=False, repr=False)
    _shift: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.augment not in AUGMENTATIONS:
            raise UserError(
                f"data.augment '{self.augment}' is unknown.{nearest(self.augment, AUGMENTATIONS)} Allowed: "
                f"{', '.join(AUGMENTATIONS)}."
            )
        if self.augment != "none" and len(self.input_shape) != 3:
            raise UserError(
                f"data.augment '{self.augment}' needs images [C, H, W]; {self.name} has inputs of the shape "
                f"{list(self.input_shape)}. Set it to none."
            )
        device = self.train.images.device
        unit = 255.0 if self.train.images.dtype == torch.uint8 else 1.0
        shape = (1, -1) + (1,) * (len(self.input_shape) - 1)
        mean, std = (torch.tensor(v, dtype=torch.float64).reshape(shape) for v in (self.mean, self.std))
        object.__setattr__(self, "_scale", (1 / (unit * std)).float().to(device))
        object.__setattr__(self, "_shift", (-mean / std).float().to(device))

    def test(self) -> Split:
        """The test split, read now, on the device of the other two."""
        return self.read_test().to(self.train.images.device)

    def inputs(self, images: Tensor) -> Tensor:
        """What a model takes: (images - mean) / std as float32, uint8 divided by 255 first."""
        scale, shift = self._scale.to(images.device), self._shift.to(images.device)
        return torch.mul(images.float(), scale).add_(shift)

    def augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A batch [N, C, H, W] augmented on its device, in its dtype; ``generator`` may be of any device."""
        return images if self.augment == "none" else augment_batch(images, self.augment, generator)

    def to(self, device: torch.device | str) -> Data:
        return replace(self, train=self.train.to(device), validation=self.validation.to(device))


def load_data(
    name: str,
    *,
    root: str | Path,
    train_size: int | None = None,
    validation_size: int | None,
    augment: str = "none",
    split_seed: int = 0,
    size: int | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Data:
    """Reads and splits a data set; its test part is not touched before :meth:`Data.test`.

    Train and validation are cut from the official train part, shuffled by ``split_seed``: validation first,
    so that it stays the same at every ``train_size``. A folder with ``val`` and ``test`` has a validation
    part of its own. Without an official test part (digits), 15 % of all images are the test split.

    Args:
        name: a built-in name, a class of torchvision.datasets (upper or lower case) or
            ``package.module:function``. The function is called with those of ``root, train_size,
            validation_size, augment, split_seed, size`` that it takes and with all ``options``. What it may
            return: a :class:`Data`, or arrays as in :func:`prune_search.zoo.sources.function.source`.
        root: the folder that holds it; for digits and functions it need not exist.
        train_size, validation_size: number of images; None: all that remain. One must be given where both
            are cut from the same images.
        augment: none, flip, crop or crop+flip.
        split_seed: decides which image goes where.
        size: height and width in pixels to resize to; None: those of the first image. Image files only.

    Raises:
        UserError: unknown names, missing or unreadable files, sizes that are too large.
    """
    if is_import_path(name):
        offered = {
            "root": root,
            "train_size": train_size,
            "validation_size": validation_size,
            "augment": augment,
            "split_seed": split_seed,
            "size": size,
        }
        result = call_accepted(load_object(name), name, offered, dict(options))
        if isinstance(result, Data):
            return _checked_sizes(replace(result, name=name, augment=augment), train_size, validation_size)
        source = function.source(name, result)
    elif options:
        raise UserError(f"data.{next(iter(options))} is unknown for '{name}'; only functions of your own take options.")
    else:
        source = find_source(name, root, size)
    return _split(source, train_size, validation_size, augment, split_seed)


def _split(source: Source, train_size: int | None, validation_size: int | None, augment: str, seed: int) -> Data:
    pool = cache.read(source, "train", seed=seed)
    available = len(pool.labels)
    tested = 0 if "test" in source.parts else max(1, int(TEST_SHARE * available))
    available -= tested
    own = cache.read(source, "validation", seed=seed, like=pool.form) if "validation" in source.parts else None
    if own is None:
        train_count, validation_count = _cut(source.name, available, train_size, validation_size)
        validation = _slice(pool, 0, validation_count)
        train = _slice(pool, validation_count, validation_count + train_count)
    else:
        train = _slice(pool, 0, _at_most("train_size", train_size, available, source.name))
        validation = _slice(own, 0, _at_most("validation_size", validation_size, len(own.labels), source.name))
    mean, std = channel_statistics(train.images)
    identity = [pool.digest, own and own.digest, seed, len(train.labels), len(validation.labels), tested]
    return Data(
        name=source.name,
        classes=pool.classes,
        input_shape=pool.form.shape,
        mean=mean,
        std=std,
        fingerprint=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        train=train,
        validation=validation,
        augment=augment,
        read_test=functools.partial(_read_test, source, pool.form, seed, tested),
    )


def _read_test(source: Source, form: Form, seed: int, tested: int) -> Split:
    if not tested:
        part = cache.read(source, "test", like=form)
        return Split(part.images, part.labels)
    pool = cache.read(source, "train", seed=seed)
    return _slice(pool, len(pool.labels) - tested, len(pool.labels))


def _slice(decoded: Decoded, start: int, stop: int) -> Split:
    return Split(decoded.images[start:stop], decoded.labels[start:stop])


def _cut(name: str, available: int, train_size: int | None, validation_size: int | None) -> tuple[int, int]:
    """Numbers of train and validation images out of ``available``."""
    if available < 2:
        raise UserError(f"data: {name} has {available} images for train and validation; give two or more.")
    if train_size is None and validation_size is None:
        raise UserError(
            f"data: {name} has {available} images for train and validation together and neither train_size "
            "nor validation_size is given. Set validation_size."
        )
    if train_size is None:
        validation = _at_most("validation_size", validation_size, available - 1, name)
        return available - validation, validation
    train = _at_most("train_size", train_size, available - 1, name)
    remaining = available - train
    hint = f" beside train_size {train}"
    return train, _at_most("validation_size", validation_size, remaining, name, hint)


def _at_most(key: str, wanted: int | None, available: int, name: str, hint: str = "") -> int:
    if wanted is None:
        return available
    if not 1 <= wanted <= available:
        raise UserError(
            f"data.{key} is {wanted}; {name} has {available} images for it{hint}. Give a number from 1 to {available}."
        )
    return wanted


def _checked_sizes(data: Data, train_size: int | None, validation_size: int | None) -> Data:
    """A Data that the user's function made has the sizes that the YAML asks for."""
    for key, wanted, split in (
        ("train_size", train_size, data.train),
        ("validation_size", validation_size, data.validation),
    ):
        if wanted is not None and wanted != len(split.labels):
            raise UserError(
                f"data.{key} is {wanted}, but {data.name} returned a Data with {len(split.labels)}. Let the "
                f"function take {key}, or set it to {len(split.labels)}."
            )
    return data
