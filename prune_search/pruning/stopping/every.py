from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.recipe import length
from prune_search.pruning.registry import Part, hyper, part


@part("stopping", "every", source="control: rounds of fixed length")
class Every(Part):
    """A round ends after ``epochs`` epochs.

    Attributes:
        epochs: Length of a round; below 1 a fraction of the trial's epochs.
    """

    epochs: float = hyper(1, low=1, high=10, above=0)

    def ended(self, context: Context, state: dict) -> str | None:
        history = context.history
        return "epochs" if history.round_epochs >= length(self.epochs, history.epochs) else None
