from __future__ import annotations

from prune_search.pruning.context import Context, Done
from prune_search.pruning.registry import Part, part


@part("schedule", "none", source="control: nothing is pruned during training")
class NoPruning(Part):
    """No event ever comes: the network stays as dense as ``at_start`` left it."""

    def remaining(self, context: Context, state: dict) -> int | Done:
        return Done("no further event")
