"""Counts, best values, front and hypervolume of a search, kept up to date trial by trial."""

from __future__ import annotations

import math
from collections import Counter

import moocore
import numpy as np

from prune_search.errors import UserError
from prune_search.pareto import default_reference, hypervolume
from prune_search.pareto.scale import Objectives, losses
from prune_search.search.results import Found, Record, dense_metrics, tells_dense

HOPELESS, SAME_MISTAKE = 10, 3


class Tally:
    """What is known of the trials that have ended; another one costs as much as the front is long.

    Attributes:
        counts: Trials by state.
        best: Best value of each objective among completed trials, and the trial that has it.
        hypervolume: Of the front; see :attr:`prune_search.search.results.Found.hypervolume`.
        device_seconds: Held by all of them together.
        since_gain: Trials in a row that added nothing to the hypervolume.
        failures: Trials in a row that failed.
        mistakes: Of the last of them, how many by the same mistake of the user's.
    """

    def __init__(self, objectives: Objectives):
        self._objectives = dict(objectives)
        self._front: dict[int, dict[str, float]] = {}
        self._reference: dict[str, float] | None = None
        self.counts: Counter[str] = Counter()
        self.best: dict[str, tuple[float, int]] = {}
        self.hypervolume = 0.0
        self.device_seconds = 0.0
        self.since_gain = 0
        self.failures = self.mistakes = 0
        self._reason = ""

    @classmethod
    def of(cls, found: Found) -> Tally:
        tally = cls(found.objectives)
        for record in found.records:
            if record.state != "running":
                tally.add(record)
        return tally

    @property
    def front(self) -> list[int]:
        """Trials on the front, in the order of their first objective, the best first."""
        first, direction = next(iter(self._objectives.items()))
        return sorted(self._front, key=lambda n: self._front[n][first], reverse=direction == "maximize")

    @property
    def points(self) -> list[dict[str, float]]:
        """Metrics of the trials on the front."""
        return list(self._front.values())

    @property
    def hopeless(self) -> bool:
        """Whether ten trials in a row have failed, or three by the same mistake of the user's, and none before did anything else (our
        choice): it is not for their values.
        """
        enough = self.failures >= HOPELESS or self.mistakes >= SAME_MISTAKE
        return enough and self.counts.total() == self.counts["failed"]

    def add(self, record: Record) -> None:
        """A trial has ended."""
        self.counts[record.state] += 1
        self.failures = self.failures + 1 if record.state == "failed" else 0
        again = self.mistakes if record.reason == self._reason else 0
        self.mistakes = again + 1 if record.mistaken else 0
        self._reason = record.reason
        self.since_gain += 1
        if record.report is None:
            return
        self.device_seconds += record.report.device_seconds
        if self._reference is None and tells_dense(record.report):
            self._reference = self._default(record)
        if record.state == "completed":
            self._complete(record)

    def _complete(self, record: Record) -> None:
        metrics = record.metrics()
        for name, direction in self._objectives.items():
            sign = -1.0 if direction == "maximize" else 1.0
            if name not in self.best or sign * metrics[name] < sign * self.best[name][0]:
                self.best[name] = (metrics[name], record.number)
        numbers = [*self._front, record.number]
        table = losses([*self._front.values(), metrics], self._objectives)
        if not np.isfinite(table[-1]).all():
            return
        kept = moocore.is_nondominated(table, keep_weakly=True)
        if not kept[-1]:
            return
        self._front[record.number] = metrics
        for number in np.array(numbers)[~kept].tolist():
            del self._front[number]
        if not self._reference:
            self.hypervolume = math.nan
            return
        volume = hypervolume(self.points, self._objectives, self._reference)
        if volume > self.hypervolume:
            self.since_gain = 0
        self.hypervolume = volume

    def _default(self, record: Record) -> dict[str, float]:
        try:
            return default_reference(self._objectives, dense_metrics(record.report))
        except UserError:
            return {}
