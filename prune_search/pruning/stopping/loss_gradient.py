from __future__ import annotations

import math
from collections.abc import Sequence

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part, hyper, part


def flat(
    losses: Sequence[float],
    events: Sequence[int],
    *,
    min_gradient: float = 0.0,
    max_gradient: float = 0.05,
    cooldown: int = 2,
    reference: str = "all",
) -> bool:
    """DyPrune's trigger after the last of ``losses``: has the fall of the loss slowed down?

    Args:
        losses: Validation loss of every epoch so far.
        events: Epochs (from 1) that ended in an event.
        min_gradient, max_gradient, cooldown, reference: As in :class:`LossGradient`.
    """
    cooling = {event + i for event in events for i in range(1, cooldown + 1)}
    falls = []
    for epoch in range(2, len(losses) + 1):
        difference = losses[epoch - 1] - losses[epoch - 2]
        if math.isfinite(difference) and (reference == "all" or epoch not in cooling):
            falls.append(difference)
    epoch = len(losses)
    if epoch < 2 or epoch in cooling or not math.isfinite(losses[-1] - losses[-2]):
        return False
    steepest = min(falls, default=0.0)
    return steepest < 0 and min_gradient <= (losses[-1] - losses[-2]) / steepest <= max_gradient


@part("stopping", "loss-gradient", source="Jonker et al., DyPrune, EPIA 2023; read in the authors' code")
class LossGradient(Part):
    """A round ends when the last change of validation loss is flat against the steepest one-epoch fall so far.

    With d the last difference of validation losses and D all of them, it ends if
    min_gradient <= d / min(D) <= max_gradient, min(D) < 0, and no event came in the last ``cooldown`` epochs.
    A rising loss has a negative gradient and never ends a round at the defaults; non-finite losses are passed over.

    Attributes:
        min_gradient: Authors: 0. Below 0 a slight rise counts as flat too.
        max_gradient: Authors: 0.05.
        cooldown: Epochs after an event that are skipped. Authors: 2, hard-wired.
        reference: Authors: ``all``; ``exclude_cooldown`` leaves the recovery after events out of D (our choice).
    """

    min_gradient: float = hyper(0.0, low=-0.2, high=0.02, at_least=-1, at_most=1)
    max_gradient: float = hyper(0.05, low=0.005, high=0.5, log=True, at_least=0, at_most=1)
    cooldown: int = hyper(2, low=0, high=8, at_least=0)
    reference: str = hyper("all", choices=("all", "exclude_cooldown"))

    def ended(self, context: Context, state: dict) -> str | None:
        history = context.history
        fires = flat(
            history.losses,
            history.events,
            min_gradient=self.min_gradient,
            max_gradient=self.max_gradient,
            cooldown=self.cooldown,
            reference=self.reference,
        )
        return "loss flat" if fires else None
