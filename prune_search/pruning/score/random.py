from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import Part, part


@part("score", "random", source="control")
class Random(Part):
    """A number drawn uniformly from [0, 1), anew at every event."""

    def score(self, context: Context, state: dict) -> Masks:
        import torch

        return {
            name: torch.rand(weight.shape, generator=context.generator).to(weight.device)
            for name, weight in context.weights().items()
        }
