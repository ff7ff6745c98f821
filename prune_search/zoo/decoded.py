"""What every source of images delivers: its parts, decoded to one array each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Decoded:
    """One part of a data set in its own order.

    Args:
        images: uint8 [N, C, H, W] or float32 [N, ...].
        labels: int64 [N], each in [0, len(classes)).
        classes: names of the classes by label.
        digest: sha256 (hex) of the three above in the order of the source; filled in by :func:`.cache.read`.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    digest: str = ""

    @property
    def form(self) -> Form:
        return Form(tuple(self.images.shape[1:]), self.classes)


@dataclass(frozen=True)
class Form:
    """What all parts of a data set share: the shape of one image ([C, H, W] or any) and the classes."""

    shape: tuple[int, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where a data set lies. Making one reads no image.

    Args:
        name: as the user wrote it, in the built-in spelling.
        parts: ``train``, and ``validation`` and ``test`` where the data set has official ones.
        decode: ``decode(part, like)`` reads one part; ``like`` is the form of ``train``, None for ``train``
            itself.
        size: height and width in pixels that images are resized to; None: that of the first one.
        files: by part, the folder whose files are decoded; empty where decoding is too cheap to cache.
    """

    name: str
    parts: tuple[str, ...]
    decode: Callable[[str, Form | None], Decoded]
    size: int | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
