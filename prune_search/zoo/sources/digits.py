"""scikit-learn's 1797 handwritten digits: 8x8 pixels, ten classes, part of the installed package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from prune_search.zoo.decoded import Decoded, Form, Source


def source() -> Source:
    """Its file is named so that the next process need not import scikit-learn (2 s of a core)."""
    (package,) = find_spec("sklearn").submodule_search_locations
    return Source("digits", ("train",), _decode, files={"train": Path(package) / "datasets" / "data"})


def _decode(part: str, like: Form | None) -> Decoded:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * 15).to(torch.uint8)  # 0..16 to 0..240: uint8, and exactly linear
    return Decoded(images[:, None], torch.from_numpy(bunch.target).long(), tuple(map(str, bunch.target_names)))
