from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part, hyper, part


@part("stopping", "accuracy-regained", source="control for InfCoP (arXiv 2501.15592): its accuracy exit alone")
class AccuracyRegained(Part):
    """A round ends once validation accuracy >= the best before the first event - ``margin``.

    The dense round ends as soon as events may come (reason ``dense``).

    Attributes:
        margin: Accuracy, in [0, 1], that may be missing. Authors: 0.
    """

    margin: float = hyper(0.0, low=0.0, high=0.02, at_least=0, at_most=1)

    def ended(self, context: Context, state: dict) -> str | None:
        history = context.history
        if not history.events:
            return "dense"
        return "accuracy regained" if history.accuracies[-1] >= history.dense_accuracy - self.margin else None
