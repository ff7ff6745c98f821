"""What a rule of early stopping sees of a trial at a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prune_search.cost.metrics import Report
from prune_search.pareto.scale import scaled
from prune_search.spec.conditions import Condition


@dataclass(frozen=True)
class Standing:
    """One trial at one of its reports.

    Attributes:
        number: The trial.
        epoch: Epochs done.
        losses: The objectives, each to be minimised, counts in decades (:func:`prune_search.pareto.scale.scaled`).
        violation: By how much the constraints are broken, summed; 0 where all hold.
        planned: Decades of weights that the recipe itself says will go (:attr:`Recipe.planned_sparsity`).
    """

    number: int
    epoch: int
    losses: tuple[float, ...]
    violation: float = 0.0
    planned: float = 0.0

    @property
    def finite(self) -> bool:
        return all(math.isfinite(loss) for loss in self.losses)


def standing(
    number: int, report: Report, objectives: Mapping[str, str], constraints: Sequence[Condition], planned: float
) -> Standing:
    """The standing that a report amounts to.

    Args:
        planned: The sparsity the recipe aims at, in [0, 1).
    """
    metrics = report.metrics()
    losses = tuple(scaled([metrics], objectives)[0].tolist())
    violation = sum(max(0.0, condition.violation(metrics)) for condition in constraints)
    return Standing(number, report.epoch, losses, violation, -math.log10(1.0 - planned))


class Rule(Protocol):
    """Decides at stages of a trial, which are shares of its epochs; the end is no stage.

    Attributes:
        shares: The stages, ascending, in (0, 1).
    """

    shares: tuple[float, ...]

    def enter(self, stage: int, at: Standing) -> None:
        """A trial reached a stage. Told twice, it counts once."""

    def verdict(self, stage: int, at: Standing, last: int) -> str | None:
        """Why a trial that has entered shall stop here; None: it goes on.

        Args:
            last: Trials with greater numbers, other than this one, must not count (a deterministic search).
        """

    def finish(self, number: int, end: Standing | None) -> None:
        """A trial has ended: completed as ``end``, or otherwise (None)."""
