from __future__ import annotations

import math

from prune_search.pruning.context import Context
from prune_search.pruning.registry import hyper, part
from prune_search.pruning.rewinding import Rewind, put_back, snapshot


@part(
    "rewind",
    "best-state",
    source="Tartaglione et al. 2022, LOBSTER, arXiv 2011.09905, authors' code: best validation loss since the last event",
)
class BestState(Rewind):
    """When a round ends, the network of its best validation loss comes back before anything is scored.

    Attributes:
        optimizer: State at an event, as for ``none``. Authors keep all of it; clearing pruned entries is our choice.
    """

    optimizer: str = hyper("zero", choices=("slice", "zero", "fresh"))

    def remember(self, context: Context, state: dict) -> None:
        losses = context.history.losses
        if losses and losses[-1] < state.get("loss", math.inf):
            state.update(loss=losses[-1], model=snapshot(context.model))

    def before(self, context: Context, state: dict) -> None:
        if "model" in state:
            put_back(context.model, state["model"])
        state.clear()
