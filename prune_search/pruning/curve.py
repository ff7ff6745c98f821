"""Schedules that run from the dense network to ``final_sparsity`` over the window for events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from prune_search.pruning.context import Context, Done
from prune_search.pruning.registry import Part, hyper


@dataclass(frozen=True)
class Curve(Part, ABC):
    """Sparsity as a function of progress p in [0, 1]: 0 at 0, ``final_sparsity`` at 1.

    Progress is the share of the window for events (from ``dense_epochs`` to ``epochs - final_epochs``) that has passed,
    whatever the stopping part; the engine sees to an event at the window's end, so that ``final_sparsity`` is reached
    exactly (our choice). At an event, ``round(total * (1 - sparsity))`` prunable weights stay.

    Attributes:
        final_sparsity: Share of the prunable weights that is zero in the end, in (0, 1).
    """

    final_sparsity: float = hyper(0.9, low=0.5, high=0.99, above=0, below=1)

    @abstractmethod
    def sparsity(self, progress: float) -> float:
        """Sparsity at ``progress``."""

    def remaining(self, context: Context, state: dict) -> int | Done:
        history = context.history
        target = round(history.total * (1 - self.sparsity(history.progress)))
        if history.progress >= 1 and target >= context.live:
            return Done("final sparsity reached")
        return target
