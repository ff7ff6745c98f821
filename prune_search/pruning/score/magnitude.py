from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import Part, part


@part("score", "magnitude", source="Han et al. 2015, arXiv 1506.02626; absolute value of single weights")
class Magnitude(Part):
    """The absolute value of a weight."""

    def score(self, context: Context, state: dict) -> Masks:
        return {name: weight.abs() for name, weight in context.weights().items()}
