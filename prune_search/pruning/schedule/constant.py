from __future__ import annotations

from prune_search.pruning.context import Context, Done
from prune_search.pruning.registry import Part, part


@part(
    "schedule",
    "constant",
    source="dynamic sparse training: Mocanu et al. 2018; Evci et al. 2020 (from memory of the papers)",
    requires={"growth": ("random", "gradient")},
)
class Constant(Part):
    """As many weights stay as live now: only growth changes the masks. Begins sparse by ``at_start``."""

    def remaining(self, context: Context, state: dict) -> int | Done:
        return context.live
