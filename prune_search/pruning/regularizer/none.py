from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part, part


@part("regularizer", "none", source="nothing beyond the optimizer's weight decay")
class NoRegularizer(Part):
    """Weights are left to the optimizer."""

    def after_step(self, context: Context, state: dict) -> None:
        """Called after every optimizer step, before the masks are applied."""
