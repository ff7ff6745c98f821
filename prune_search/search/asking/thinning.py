"""Which finished trials a sampler is shown, so that asking costs the same after ten thousand trials as after five hundred."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence

import moocore
import numpy as np


class Thinning:
    """The best finished trials, and a fair sample of the others.

    TPE builds one density of its (at most 25) best trials and another of all others: the first stays as it was, the second is
    estimated from a sample. Which trials are kept does not depend on the order in which they are told.

    Args:
        best: How many are kept for their values, by non-dominated sorting.
        others: How many are kept by lot.
        signs: -1 for each objective to maximise, 1 to minimise.
    """

    def __init__(self, best: int, others: int, signs: Sequence[float]):
        self.best, self.others, self._signs = best, others, np.array(signs)
        self._values: dict[int, np.ndarray] = {}
        self._lot: list[tuple[float, int]] = []

    def add(self, number: int, values: Sequence[float] | None) -> None:
        """A trial finished, with these values if it completed."""
        if values is not None:
            self._values[number] = np.array(values) * self._signs
            if len(self._values) > 2 * self.best:
                self._cut()
        entry = (-random.Random(number).random(), number)
        if len(self._lot) < self.others:
            heapq.heappush(self._lot, entry)
        else:
            heapq.heappushpop(self._lot, entry)

    def kept(self) -> frozenset[int]:
        return frozenset(self._values).union(number for _, number in self._lot)

    def _cut(self) -> None:
        numbers = sorted(self._values)
        layers = moocore.pareto_rank(np.array([self._values[number] for number in numbers]))
        keep = np.argsort(layers, kind="stable")[: self.best]
        self._values = {numbers[index]: self._values[numbers[index]] for index in sorted(keep)}
