from __future__ import annotations

from prune_search.pruning.curve import Curve
from prune_search.pruning.registry import part


@part("schedule", "cubic", source="Zhu & Gupta 2017, arXiv 1710.01878")
class Cubic(Curve):
    """Sparsity s_f * (1 - (1 - p)^3), with p the progress and s_f the final sparsity. Much at first, little at the end."""

    def sparsity(self, progress: float) -> float:
        return self.final_sparsity * (1 - (1 - progress) ** 3)
