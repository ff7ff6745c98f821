from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.growing import Growth
from prune_search.pruning.registry import part


@part(
    "growth",
    "random",
    source="Mocanu et al. 2018, SET, arXiv 1707.04780 (from memory of the paper); that dropped weights may come back at once "
    "is our choice",
    requires={"removal": ("at-end", "never"), "granularity": ("weight",)},
)
class RandomGrowth(Growth):
    """Uniformly at random. SET drops the smallest magnitudes, fraction 0.3, after every epoch, from an ERK start.

    Example: a layer of 10 weights at 50 % sparsity and fraction 0.4 drops 2 of its 5 and grows 2 of the 7 free ones.

    Attributes:
        fraction: Share of the weights that are exchanged at an event. Authors: 0.3.
    """

    def merit(self, context: Context) -> Masks:
        import torch

        return {
            name: torch.rand(mask.shape, generator=context.generator).to(mask.device)
            for name, mask in context.masks.items()
        }
