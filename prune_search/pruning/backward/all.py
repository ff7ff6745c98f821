from __future__ import annotations

from prune_search.pruning.backpropagation import Backward
from prune_search.pruning.registry import part


@part("backward", "all", source="every gradient is computed")
class All(Backward):
    """Every gradient is computed."""
