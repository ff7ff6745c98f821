from __future__ import annotations

import math

from prune_search.pruning.context import Context, Done
from prune_search.pruning.registry import Part, hyper, part


def rate(live: int, a: float = 6.0, b: float = 10.0, min_rate: float = 0.0, max_rate: float = 0.9) -> float:
    """DyPrune's rate: (ln live - a) / b, held between ``min_rate`` and ``max_rate``; 0 for live <= 1."""
    if live <= 1:
        return 0.0
    return min(max_rate, max(min_rate, (math.log(live) - a) / b))


@part("schedule", "size-scaled", source="Jonker et al., DyPrune, EPIA 2023; constants read in the authors' code")
class SizeScaled(Part):
    """Remove round(r * N) of the N live prunable weights, with r = (ln N - a) / b: less as the network shrinks.

    Attributes:
        a: Offset. Networks of e^a weights (403 at 6) are left alone. Authors: 6, hard-wired.
        b: Scale; larger is gentler. Authors: 10, hard-wired.
        min_rate: Least rate. Authors: 0.
        max_rate: Largest rate. Authors: 0.9.
        pool: ``live`` ranks the live weights only. ``stale`` also ranks what the tensors of earlier events held, as
            the authors' code does by mistake, so that less than r goes (kept to measure it).
    """

    a: float = hyper(6.0, low=4.5, high=8.0, at_least=0)
    b: float = hyper(10.0, low=7.0, high=25.0, log=True, above=0)
    min_rate: float = hyper(0.0, at_least=0, below=1)
    max_rate: float = hyper(0.9, low=0.3, high=0.95, above=0, below=1)
    pool: str = hyper("live", choices=("live", "stale"))

    def remaining(self, context: Context, state: dict) -> int | Done:
        live = context.live
        share = rate(live, self.a, self.b, self.min_rate, self.max_rate)
        removed = round(share * live) if self.pool == "live" else _of_stale_pool(share, context, state)
        if removed == 0:
            return Done(f"the rate is 0 at {live} weights")
        return live - removed


def _of_stale_pool(share: float, context: Context, state: dict) -> int:
    """How many live weights are among the round(share * pool) smallest of live and discarded weights."""
    import torch

    weights = context.weights()
    live = torch.cat([weights[name][mask].abs() for name, mask in context.masks.items()])
    stale = state.get("stale", live[:0])
    pool = torch.cat([live, stale])
    kept = torch.ones_like(pool, dtype=torch.bool)
    kept[pool.argsort()[: round(share * len(pool))]] = False
    state["stale"] = pool[kept]
    return int((~kept[: len(live)]).sum())
