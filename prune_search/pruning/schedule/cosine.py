from __future__ import annotations

import math

from prune_search.pruning.curve import Curve
from prune_search.pruning.registry import part


@part("schedule", "cosine", source="as in the literature on gradual pruning; our choice")
class Cosine(Curve):
    """Sparsity s_f * (1 - cos(pi * p)) / 2, with p the progress and s_f the final sparsity. Slow at both ends."""

    def sparsity(self, progress: float) -> float:
        return self.final_sparsity * (1 - math.cos(math.pi * progress)) / 2
