from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from prune_search.pruning.context import Context, Masks, Units
from prune_search.pruning.ranking import Granularity, View
from prune_search.pruning.registry import part

if TYPE_CHECKING:
    from torch import Tensor


@part("granularity", "weight", source="unstructured: every weight by itself")
class Weight(Granularity):
    """Single weights."""

    def view(self, context: Context, scores: Masks) -> View:
        return _Weights(context.masks, scores)


class _Weights(View):
    alone: ClassVar[bool] = True

    def __init__(self, masks: Masks, scores: Masks) -> None:
        self.layers = masks
        self.units = {name: Units(scores[name].flatten(), mask.flatten(), 1) for name, mask in masks.items()}

    def masks(self, kept: Mapping[str, Tensor]) -> Masks:
        return {name: kept[name].view_as(mask) for name, mask in self.layers.items()}

    def live(self, kept: Mapping[str, Tensor]) -> int:
        return sum(int(stays.sum()) for stays in kept.values())
