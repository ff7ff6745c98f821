"""Growing parts: at every event they take a share more than the schedule asks for, and as much comes back elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from prune_search.pruning.context import Context, Masks, Pool
from prune_search.pruning.history import History
from prune_search.pruning.registry import Part, hyper


@dataclass(frozen=True)
class Growth(Part, ABC):
    """Drops the lowest-scored ``fraction`` of what would stay, and grows as many from all that do not live then.

    Dropping and growing happen within the pools of the distribution (each layer by itself with ERK), so their counts stay
    what the schedule says. What is dropped may come back at once and keeps its value then; anything else begins at zero, its
    optimizer state too.

    Attributes:
        fraction: Share of the weights that are exchanged at an event.
    """

    fraction: float = hyper(0.3, low=0.05, high=0.5, above=0, below=1)

    def share(self, history: History) -> float:
        """Share exchanged at this event."""
        return self.fraction

    @abstractmethod
    def merit(self, context: Context) -> Masks:
        """A float for every prunable weight: the largest grow."""

    def regrow(self, context: Context, state: dict, masks: Masks, pools: Sequence[Pool]) -> Masks:
        """The masks grown until every pool keeps what it should."""
        import torch

        from prune_search.pruning.selection import smallest

        merit, grown = self.merit(context), dict(masks)
        for pool in pools:
            missing = pool.total - sum(int(masks[name].sum()) for name in pool.layers)
            free = torch.cat([(~masks[name]).flatten() for name in pool.layers])
            offers = torch.cat([merit[name].flatten() for name in pool.layers])[free]
            grow = torch.zeros_like(free)
            grow[free] = smallest(-offers, min(missing, len(offers)))
            for name, part in zip(pool.layers, grow.split([masks[name].numel() for name in pool.layers]), strict=True):
                grown[name] = masks[name] | part.view_as(masks[name])
        return grown
