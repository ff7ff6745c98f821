from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part, hyper, part


@part("stopping", "periodic", source="Jonker et al., DyPrune, EPIA 2023, authors' code: the static schedule")
class Periodic(Part):
    """Events after epochs ``period`` + 1, 2 * ``period`` + 1, ..., but none before the validation loss first fell.

    Attributes:
        period: Epochs between events. Authors: 4 (class), 2 (example).
    """

    period: int = hyper(4, low=1, high=10, at_least=1)

    def ended(self, context: Context, state: dict) -> str | None:
        history = context.history
        fell = any(after < before for before, after in zip(history.losses, history.losses[1:]))
        return "period" if fell and history.epoch > 1 and (history.epoch - 1) % self.period == 0 else None
