from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.registry import hyper, part
from prune_search.pruning.regularizing import Regularizer, penalise


@part("regularizer", "l1", source="the lasso, Tibshirani 1996; Han et al. 2015, arXiv 1506.02626; our choice of range")
class L1(Regularizer):
    """Adds strength * sign(w) to the gradient of every prunable weight: the penalty strength * sum |w|.

    Attributes:
        strength: Weight of the penalty beside the mean loss.
    """

    strength: float = hyper(1e-5, low=1e-7, high=1e-3, log=True, at_least=0)

    def before_step(self, context: Context, state: dict) -> None:
        import torch

        penalise(context, self.strength, torch._foreach_sign)
