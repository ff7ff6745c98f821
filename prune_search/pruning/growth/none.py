from __future__ import annotations

from collections.abc import Sequence

from prune_search.pruning.context import Context, Masks, Pool
from prune_search.pruning.history import History
from prune_search.pruning.registry import Part, part


@part("growth", "none", source="removed weights never come back")
class NoGrowth(Part):
    """Nothing comes back."""

    def share(self, history: History) -> float:
        """Share of the weights that an event exchanges."""
        return 0.0

    def regrow(self, context: Context, state: dict, masks: Masks, pools: Sequence[Pool]) -> Masks:
        """The masks after growth, given those after pruning and what each pool should keep."""
        return masks
