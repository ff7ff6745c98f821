from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prune_search.pruning.context import Masks, Units
from prune_search.pruning.registry import Part, part

if TYPE_CHECKING:
    from torch import Tensor


@part("granularity", "weight", source="unstructured: every weight by itself")
class Weight(Part):
    """Single weights."""

    def units(self, scores: Masks, masks: Masks) -> dict[str, Units]:
        """The units of each layer with their scores."""
        return {name: Units(scores[name].flatten(), mask.flatten(), 1) for name, mask in masks.items()}

    def masks(self, kept: Mapping[str, Tensor], masks: Masks) -> Masks:
        """Weight masks in which just the ``kept`` units (bool [U] for each layer) live."""
        return {name: kept[name].view_as(mask) for name, mask in masks.items()}
