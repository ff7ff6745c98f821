from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.registry import hyper, part
from prune_search.pruning.regularizing import Regularizer, penalise


@part("regularizer", "l2", source="ridge; Han et al. 2015, arXiv 1506.02626; our choice of range")
class L2(Regularizer):
    """Adds strength * w to the gradient of every prunable weight: the penalty strength / 2 * sum w^2.

    Like the weight decay of ``sgd``, but on prunable weights only, and coupled with ``adamw`` too.

    Attributes:
        strength: Weight of the penalty beside the mean loss.
    """

    strength: float = hyper(1e-4, low=1e-6, high=1e-2, log=True, at_least=0)

    def before_step(self, context: Context, state: dict) -> None:
        penalise(context, self.strength, lambda weights: weights)
