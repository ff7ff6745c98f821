from __future__ import annotations

from prune_search.pruning.registry import part
from prune_search.pruning.regularizing import Regularizer


@part("regularizer", "none", source="nothing beyond the optimizer's weight decay")
class NoRegularizer(Regularizer):
    """Weights are left to the optimizer."""
