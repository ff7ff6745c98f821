from __future__ import annotations

from prune_search.pruning.context import Context, Done, Pool
from prune_search.pruning.registry import Part, part


@part(
    "schedule",
    "fixed",
    source="for patterns that admit one amount only: our choice",
    requires={"granularity": ("n-m",)},
)
class Fixed(Part):
    """One event, as early as events may come; the granularity says what stays."""

    def remaining(self, context: Context, state: dict) -> list[Pool] | Done:
        if context.history.events:
            return Done("the pattern is there")
        return []
