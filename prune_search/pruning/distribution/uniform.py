from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.context import Masks, Pool, apportion, uniform_shares
from prune_search.pruning.registry import Part, part


@part("distribution", "uniform", source="the same sparsity in every layer (Zhu & Gupta 2017, arXiv 1710.01878)")
class Uniform(Part):
    """Every layer keeps the same share of its weights; layers that have fewer left pass the rest on."""

    partition: ClassVar[str] = "layer"

    def pools(self, remaining: int, masks: Masks) -> list[Pool]:
        keep = apportion(uniform_shares(masks), [int(mask.sum()) for mask in masks.values()], remaining)
        return [Pool((name,), count) for name, count in zip(masks, keep, strict=True)]
