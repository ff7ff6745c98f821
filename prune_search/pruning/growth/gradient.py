from __future__ import annotations

import math

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.growing import Growth
from prune_search.pruning.history import History
from prune_search.pruning.registry import hyper, part


@part(
    "growth",
    "gradient",
    source="Evci et al. 2020, RigL, arXiv 1911.11134 (from memory of the paper and code); gradients on a fixed probe instead "
    "of the last batch are our choice",
    requires={"removal": ("at-end", "never"), "granularity": ("weight",)},
    needs=("gradient",),
)
class GradientGrowth(Growth):
    """Where the loss has the largest absolute gradient.

    The fraction falls as a cosine, fraction / 2 * (1 + cos(pi * p)), with p the share of the window for events that has
    passed (the authors: t / T_end, T_end 75 % of training). Example: fraction 0.3 is 0.15 half-way and 0 at the end.

    Attributes:
        fraction: Share of the weights exchanged at the start. Authors: 0.3.
        images: Images of the probe that the gradient is taken on. Authors: one batch.
    """

    fraction: float = hyper(0.3, low=0.05, high=0.5, above=0, below=1)
    images: int = hyper(256, low=64, high=1024, log=True, at_least=1)

    def share(self, history: History) -> float:
        return self.fraction * (1 + math.cos(math.pi * history.progress)) / 2

    def merit(self, context: Context) -> Masks:
        return {name: value.abs() for name, value in context.measure("gradient", images=self.images).items()}
