"""Arrays from the user's own function, checked before anything trusts them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prune_search.errors import UserError
from prune_search.zoo.decoded import Decoded, Form, Source

FORMS = (
    "Return a Data, or {'train': (images, labels), 'test': (images, labels)} with 'validation' and "
    "'classes' as you "
    "like, or ((train_images, train_labels), (test_images, test_labels)); tensors or NumPy arrays."
)


def source(path: str, result: Any) -> Source:
    """A source from what ``path`` returned: a mapping or a pair of pairs, as in ``FORMS``.

    Images are uint8 or float [N, ...] (uint8 [N, H, W] becomes [N, 1, H, W], floats become float32), labels
    are integers [N] in [0, classes). ``classes`` are their names; without them, numbers up to the largest
    train label.

    Raises:
        UserError: anything else came, with its name and shape.
    """
    parts, classes = _parts(path, result)
    arrays = {part: _pair(f"{path}: {part}", pair) for part, pair in parts.items()}
    if classes is None:
        classes = range(int(arrays["train"][1].max()) + 1)
    form = Form(tuple(arrays["train"][0].shape[1:]), tuple(map(str, classes)))
    for part, (images, labels) in arrays.items():
        _check(f"{path}: {part}", images, labels, form, arrays["train"][0].dtype)
    return Source(path, tuple(arrays), functools.partial(_decode, arrays, form.classes))


def _decode(
    arrays: dict[str, tuple[Tensor, Tensor]], classes: tuple[str, ...], part: str, like: Form | None
) -> Decoded:
    return Decoded(*arrays[part], classes)


def _parts(path: str, result: Any) -> tuple[dict[str, Any], Any]:
    if isinstance(result, dict):
        allowed = ("train", "validation", "test", "classes")
        if unknown := [key for key in result if key not in allowed]:
            raise UserError(f"{path} returned the key {unknown[0]!r}; allowed are {', '.join(allowed)}. {FORMS}")
        parts = {part: result[part] for part in allowed[:3] if part in result}
        if "train" not in parts:
            raise UserError(f"{path} returned no 'train', only {', '.join(map(repr, result)) or 'nothing'}. {FORMS}")
        return parts, result.get("classes")
    if isinstance(result, (tuple, list)) and len(result) == 2:
        return {"train": result[0], "test": result[1]}, None
    raise UserError(f"{path} returned a {type(result).__name__}. {FORMS}")


def _pair(what: str, pair: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise UserError(f"{what} is a {type(pair).__name__}, not a pair (images, labels). {FORMS}")
    if wrong := [value for value in pair if not isinstance(value, (Tensor, np.ndarray))]:
        raise UserError(f"{what} holds a {type(wrong[0]).__name__}, not a tensor or NumPy array. {FORMS}")
    images, labels = (torch.as_tensor(value).detach().cpu() for value in pair)
    if images.is_floating_point():
        images = images.float()
    elif images.dtype != torch.uint8:
        raise UserError(f"{what}: images are {images.dtype}; give uint8 (0 to 255) or floating-point numbers.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"{what}: labels are {labels.dtype}; give integers, one class number for each image.")
    if images.ndim == 3 and images.dtype == torch.uint8:
        images = images[:, None]
    if images.ndim < 2 or labels.shape != images.shape[:1] or not labels.numel():
        raise UserError(
            f"{what}: images have the shape {list(images.shape)} and labels {list(labels.shape)}; give [N, "
            "...] and [N] with the same N above 0."
        )
    return images.contiguous(), labels.long()


def _check(what: str, images: Tensor, labels: Tensor, form: Form, dtype: torch.dtype) -> None:
    if tuple(images.shape[1:]) != form.shape or images.dtype != dtype:
        raise UserError(
            f"{what}: one image is {list(images.shape[1:])} {images.dtype}, in train {list(form.shape)} "
            f"{dtype}. All parts must be alike."
        )
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= len(form.classes):
        raise UserError(
            f"{what}: labels go from {low} to {high}; with {len(form.classes)} classes they must lie in 0 "
            f"to {len(form.classes) - 1}. Renumber them, or return 'classes' with all names."
        )
    if images.is_floating_point() and not images.isfinite().all():
        raise UserError(f"{what}: images hold NaN or infinity. Clean them in the function.")
