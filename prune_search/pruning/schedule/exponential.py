from __future__ import annotations

from prune_search.pruning.curve import Curve
from prune_search.pruning.registry import part


@part("schedule", "exponential", source="Tanaka et al. 2020, SynFlow, arXiv 2006.05467, code")
class Exponential(Curve):
    """Sparsity 1 - (1 - s_f)^p, with p the progress and s_f the final sparsity. The same share of what is left at every event."""

    def sparsity(self, progress: float) -> float:
        return 1 - (1 - self.final_sparsity) ** progress
