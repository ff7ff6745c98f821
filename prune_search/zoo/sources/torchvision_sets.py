"""Any image classification set of torchvision by its class name, decoded sample by sample, once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image

from prune_search.errors import UserError, nearest
from prune_search.zoo.decoded import Decoded, Form, Source
from prune_search.zoo.names import DATASETS, canonical
from prune_search.zoo.sources.download import download
from prune_search.zoo.sources.images import shape_for, to_array

_BASES = ("DatasetFolder", "ImageFolder", "VisionDataset")
_SPLITS = {"train": ("train", "trainval"), "test": ("test", "val")}


def source(name: str, root: Path, size: int | None) -> Source:
    """``torchvision.datasets.<name>`` with its official test part, if it has one.

    Raises:
        UserError: torchvision has no such data set.
    """
    kinds = {name: getattr(torchvision.datasets, name) for name in sorted(torchvision.datasets.__all__)}
    offered = [n for n, kind in kinds.items() if n not in _BASES and "root" in inspect.signature(kind).parameters]
    found = canonical(name, offered)
    if found is None:
        raise UserError(
            f"data.name '{name}' is unknown.{nearest(name, [*DATASETS, *offered])} Built in: "
            f"{', '.join(DATASETS)}. Or a classification set of torchvision ({', '.join(offered[:6])}, "
            "...), or your own function as package.module:function."
        )
    kind = kinds[found]
    parameters = inspect.signature(kind).parameters
    parts = ("train", "test") if "train" in parameters or "split" in parameters else ("train",)
    base = getattr(kind, "base_folder", None)
    folder = root / base if isinstance(base, str) else root
    return Source(found, parts, functools.partial(_decode, kind, root, size), size, dict.fromkeys(parts, folder))


def _decode(kind: type, root: Path, size: int | None, part: str, like: Form | None) -> Decoded:
    dataset = _open(kind, root, part)
    first, label = dataset[0]
    if not isinstance(first, Image.Image) or not isinstance(label, int):
        raise UserError(
            f"torchvision's {kind.__name__} gives ({type(first).__name__}, {type(label).__name__}) where an "
            "image and a class number are needed: it is no image classification set. Choose another "
            "data.name."
        )
    shape = like.shape if like else shape_for(first, size)
    images = torch.empty((len(dataset), *shape), dtype=torch.uint8)
    labels = torch.empty(len(dataset), dtype=torch.int64)
    view = images.numpy()
    for index in range(len(dataset)):
        try:
            image, labels[index] = dataset[index]
            view[index] = to_array(image, shape)
        except (OSError, SyntaxError) as error:
            raise UserError(
                f"Image {index} of {kind.__name__} ({part}) in {root} cannot be read: {error}. Fetch the files again."
            ) from error
    classes = like.classes if like else getattr(dataset, "classes", None) or range(int(labels.max()) + 1)
    if labels.min() < 0 or labels.max() >= len(classes):
        raise UserError(
            f"torchvision's {kind.__name__} has labels from {labels.min()} to {labels.max()} in {part} and "
            f"{len(classes)} classes. Load it in a function of your own, as package.module:function."
        )
    # some give a tuple of synonyms for a class
    names = (value[0] if isinstance(value, tuple) else value for value in classes)
    return Decoded(images, labels, tuple(map(str, names)))


def _open(kind: type, root: Path, part: str) -> Any:
    parameters = inspect.signature(kind).parameters
    for options in _options(parameters, part):
        make = functools.partial(kind, root, **options)
        try:
            return make()
        except TypeError as error:
            raise UserError(
                f"torchvision's {kind.__name__} needs more than a folder: {error}. Load it in a function of "
                "your own and give data.name as package.module:function."
            ) from error
        except Exception as error:  # missing files are told in as many ways as there are data sets
            if isinstance(error, ValueError) and "split" in str(error):
                continue
            expected = f"its files as torchvision lays them out in {root}"
            if "download" not in parameters:
                raise UserError(
                    f"{kind.__name__} was not found ({error}) and torchvision cannot download it. Expected {expected}."
                ) from error
            download(make, kind.__name__, expected)
            return make()
    raise UserError(
        f"torchvision's {kind.__name__} has no part called {' or '.join(_SPLITS[part])}. Load it in a "
        "function of your own and give data.name as package.module:function."
    )


def _options(parameters: Container[str], part: str) -> list[dict[str, Any]]:
    """How the constructor may be asked for a part, most likely first."""
    if "train" in parameters:
        return [{"train": part == "train"}]
    return [{"split": name} for name in _SPLITS[part]] if "split" in parameters else [{}]
