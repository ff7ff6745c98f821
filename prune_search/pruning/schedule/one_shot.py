from __future__ import annotations

from prune_search.pruning.curve import Curve
from prune_search.pruning.registry import part


@part("schedule", "one-shot", source="control: everything at one event")
class OneShot(Curve):
    """All of ``final_sparsity`` at the first event."""

    def sparsity(self, progress: float) -> float:
        return self.final_sparsity if progress > 0 else 0.0
