from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part, part


@part("backward", "all", source="every gradient is computed")
class All(Part):
    """Every gradient is computed."""

    def select(self, context: Context, state: dict) -> None:
        """Called at the start of every epoch: decide whose gradients are computed in it."""
