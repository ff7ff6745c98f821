from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import Part, part


@part("growth", "none", source="removed weights never come back")
class NoGrowth(Part):
    """Nothing comes back."""

    def regrow(self, context: Context, state: dict, masks: Masks) -> Masks:
        """The masks after growth, given those after pruning."""
        return masks
