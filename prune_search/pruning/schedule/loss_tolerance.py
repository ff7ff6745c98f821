from __future__ import annotations

from prune_search.pruning.context import Context, Done
from prune_search.pruning.registry import Part, hyper, part

LITTLE, TWICE = 0.001, 2


@part(
    "schedule",
    "loss-tolerance",
    source="Tartaglione et al. 2022, LOBSTER, arXiv 2011.09905, authors' code; bisection on the rank instead of the "
    "threshold, and the end after two events that remove under 0.1 %, are our choice",
    needs=("evaluate",),
)
class LossTolerance(Part):
    """Removes the most lowest-scored weights that keep validation loss <= (1 + tolerance) times what it is now.

    Bisection on how many stay: 10 to 25 validation passes, until the interval is one weight or 0.1 % of the live ones. The
    loss after the event never exceeds the bound. Masks that would empty a layer count as beyond it.

    Attributes:
        tolerance: Relative increase of the loss allowed (TWT). Authors: 0 in the code, 0.05 in their example.
    """

    tolerance: float = hyper(0.05, low=0.001, high=0.5, log=True, at_least=0)

    def remaining(self, context: Context, state: dict) -> int | Done:
        live = context.live
        bound = context.evaluate(context.masks)[0] * (1 + self.tolerance)
        kept, lost = live, 0
        while kept - lost > max(1, LITTLE * live):
            middle = (kept + lost) // 2
            masks = context.candidate(middle)
            if masks is not None and context.evaluate(masks)[0] <= bound:
                kept = middle
            else:
                lost = middle
        state["small"] = state.get("small", 0) + 1 if live - kept < LITTLE * live else 0
        return Done("the loss tolerance leaves nothing to prune") if state["small"] >= TWICE else kept
