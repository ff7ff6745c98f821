from __future__ import annotations

from prune_search.pruning.context import Context, Done
from prune_search.pruning.registry import Part, part


@part("schedule", "none", source="control: nothing is pruned")
class NoPruning(Part):
    """No event ever comes."""

    def remaining(self, context: Context, state: dict) -> int | Done:
        return Done("dense")
