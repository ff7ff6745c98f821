from __future__ import annotations

import math

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part, hyper, part


@part(
    "stopping",
    "slack-plateau",
    source="Tartaglione et al. 2022, LOBSTER, arXiv 2011.09905: plateau detector of the authors' code",
)
class SlackPlateau(Part):
    """A round ends after ``patience`` bad epochs in a row: validation loss at or above (1 + slack) times the round's best.

    Unlike ``plateau``, an epoch just above the best is not bad. A loss that is not finite is bad. When it fires it begins
    anew, whether or not an event came of it. With rewind ``best-state`` the best network comes back first, as the authors do.

    Attributes:
        patience: Bad epochs in a row (PWE). Authors: 0 in the code (every epoch), 20 of 10 000 epochs in their example.
        slack: Relative distance from the best loss that still counts as good. Authors: 0.01, fixed.
    """

    patience: int = hyper(3, low=1, high=20, log=True, at_least=0)
    slack: float = hyper(0.01, low=0.0, high=0.05, at_least=0)

    def ended(self, context: Context, state: dict) -> str | None:
        history = context.history
        start = max(state.get("since", 0), history.epoch - history.round_epochs)
        best, bad = math.inf, 0
        for loss in history.losses[start:]:
            bad = 0 if loss < best * (1 + self.slack) else bad + 1
            best = min(best, loss) if math.isfinite(loss) else best
        if bad < self.patience:
            return None
        state["since"] = history.epoch
        return "plateau"
