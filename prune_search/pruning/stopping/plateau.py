from __future__ import annotations

import math

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part, hyper, part


@part("stopping", "plateau", source="common practice, as torch's ReduceLROnPlateau; our choice of defaults")
class Plateau(Part):
    """A round ends when validation loss has not improved for ``patience`` epochs of this round.

    Attributes:
        patience: Epochs without improvement.
        threshold: Relative improvement that counts: a loss below best * (1 - threshold).
    """

    patience: int = hyper(2, low=1, high=8, at_least=1)
    threshold: float = hyper(0.01, low=0.001, high=0.1, log=True, at_least=0, below=1)

    def ended(self, context: Context, state: dict) -> str | None:
        history = context.history
        best, bad = math.inf, 0
        for loss in history.losses[history.epoch - history.round_epochs :]:
            if loss < best * (1 - self.threshold):
                best, bad = loss, 0
            else:
                bad += 1
        return "plateau" if bad >= self.patience else None
