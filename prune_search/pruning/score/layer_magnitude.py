from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import Part, part


@part("score", "layer-magnitude", source="our choice: makes magnitudes of layers with different fan-in comparable")
class LayerMagnitude(Part):
    """|w| / sqrt(mean of w^2 over the layer's live weights): a layer with smaller initial weights is not pruned first.

    Example: live weights 3 and 4 have the root mean square 3.536 and score 0.849 and 1.131. A layer of zeros scores 0.
    """

    def score(self, context: Context, state: dict) -> Masks:
        import torch

        scores = {}
        for name, weight in context.weights().items():
            mean_square = (weight * context.masks[name]).square().sum() / context.masks[name].sum()
            scores[name] = weight.abs() / mean_square.sqrt().clamp_min(torch.finfo(weight.dtype).tiny)
        return scores
