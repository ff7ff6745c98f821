from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.registry import hyper, part
from prune_search.pruning.rewinding import Rewind


@part(
    "rewind",
    "learning-rate",
    source="Renda, Frankle & Carbin 2020, arXiv 2003.02389 and authors' code",
)
class RewindLearningRate(Rewind):
    """At every event weights stay and the learning rate goes back: every round runs the end of the schedule again.

    Attributes:
        retrain: Share t/N of the first round's schedule that every later round runs. Authors: 1.
    """

    retrain: float = hyper(1.0, low=0.1, high=1.0, above=0, at_most=1)
    learning_rate: ClassVar[str] = "at"
    optimizer: ClassVar[str] = "fresh"

    def position(self, first: int, epochs: int) -> int:
        return first - max(1, round(self.retrain * first))
