from __future__ import annotations

from prune_search.pruning.curve import Curve
from prune_search.pruning.registry import part


@part("schedule", "linear", source="our choice")
class Linear(Curve):
    """Sparsity s_f * p, with p the progress and s_f the final sparsity. Sparsity grows by the same amount per epoch."""

    def sparsity(self, progress: float) -> float:
        return self.final_sparsity * progress
