from __future__ import annotations

from prune_search.pruning.context import Context, Done
from prune_search.pruning.registry import Part, hyper, part


@part(
    "schedule",
    "per-round",
    source="Frankle & Carbin 2019, arXiv 1803.03635: the same share of the survivors at every event",
)
class PerRound(Part):
    """After event i, ``round(total * (1 - rate)^i)`` prunable weights stay (counts, so that rounding does not drift).

    Attributes:
        rate: Share of the surviving weights removed at every event. Authors: 0.2.
    """

    rate: float = hyper(0.2, low=0.1, high=0.6, above=0, below=1)

    def remaining(self, context: Context, state: dict) -> int | Done:
        history = context.history
        target = round(history.total * (1 - self.rate) ** (len(history.events) + 1))
        return target if target > 0 else Done("nothing left to prune")
