"""One search on recorded trials, with a simulated clock: the real source, sampler and rule, no training."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path

from optuna.storages import InMemoryStorage

from prune_search.pareto import hypervolume
from prune_search.search.asking.asker import Asker
from prune_search.search.jobs import Ended, Job, NoMore, Wait
from prune_search.search.layout import Layout
from prune_search.search.results import Record
from prune_search.search.simulation.surrogate import Surrogate
from prune_search.search.simulation.table import Entry, Table
from prune_search.search.source import StudySource
from prune_search.search.storage import quiet
from prune_search.search.tally import Tally
from prune_search.spec.settings import EarlyStopping, ResourcesConfig

STRAGGLERS, SLOWER = 0.05, 3.0
"""One trial in twenty runs on a machine three times slower (our choice)."""


@dataclass
class Trace:
    """What a simulated search found, and when.

    Attributes:
        gains: (device seconds, hypervolume) after each gain.
        counts: Trials by state.
    """

    gains: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def final(self) -> float:
        return self.gains[-1][1]

    def at(self, seconds: float) -> float:
        """Hypervolume after so many device seconds."""
        return max((volume for when, volume in self.gains if when <= seconds), default=0.0)

    def reached(self, volume: float) -> float:
        """Device seconds until the hypervolume was at least ``volume``; infinite if it never was."""
        return next((when for when, gained in self.gains if gained >= volume - 1e-12), float("inf"))


def simulate(
    table: Table, surrogate: Surrogate, sampler: str, stopping: EarlyStopping, *, workers: int, trials: float, seed: int
) -> Trace:
    """Search until ``workers`` machines have been held as long as ``trials`` whole trials take on average.

    A machine that waits is held, too. Trials in flight at the end do not count.

    Args:
        surrogate: Of this table.
        sampler: As ``search.sampler`` in a YAML file.
        seed: Of the sampler and of which trials are slow.
    """
    quiet()
    return _Simulation(table, surrogate, sampler, stopping, workers, seed).run(trials * table.full_seconds)


class _Simulation:
    def __init__(
        self, table: Table, surrogate: Surrogate, sampler: str, stopping: EarlyStopping, workers: int, seed: int
    ):
        settings = table.spec.search.model_copy(
            update={"sampler": sampler, "early_stopping": stopping, "seed": seed, "trials": None}
        )
        self._spec = replace(table.spec, search=settings, resources=ResourcesConfig())
        self._surrogate, self._workers, self._seed, self._reference = surrogate, workers, seed, table.reference
        self._running: dict[int, Entry] = {}
        self._source = StudySource(
            self._spec,
            Layout(Path("simulated"), "simulated"),
            InMemoryStorage(),
            workers,
            started=lambda job: None,
            reported=lambda job, report: None,
            ended=self._ended,
            asking=partial(Asker, threaded=False),
        )
        self._events: list[tuple[float, int, Job, Iterator[float], int]] = []
        self._order = count()
        self._tally = Tally(self._spec.objectives)
        self._trace = Trace()
        self._now = 0.0

    def run(self, budget: float) -> Trace:
        free = self._workers
        while True:
            while free and self._start():
                free -= 1
            if not self._events:
                break
            self._now, _, job, epochs, done = heapq.heappop(self._events)
            if self._now * self._workers > budget * (1 + 1e-9):
                break
            free += self._report(job, epochs, done)
        self._trace.counts = self._tally.counts
        return self._trace

    def _start(self) -> bool:
        job = self._source.next()
        if isinstance(job, (NoMore, Wait)):
            return False
        entry = self._running[job.number] = self._surrogate.answer(job.params)
        slow = SLOWER if random.Random(f"{self._seed} {job.number}").random() < STRAGGLERS else 1.0
        self._schedule(job, (slow * seconds for seconds in entry.seconds), 0)
        return True

    def _schedule(self, job: Job, epochs: Iterator[float], done: int) -> None:
        heapq.heappush(self._events, (self._now + next(epochs, 0.0), next(self._order), job, epochs, done + 1))

    def _report(self, job: Job, epochs: Iterator[float], done: int) -> bool:
        """An epoch is over; whether the trial is, too."""
        entry = self._running[job.number]
        report = entry.reports[done - 1] if entry.reports else None
        if done >= len(entry.reports):
            self._source.end(job, Ended("failed" if entry.state == "failed" else "completed", entry.reason, report))
            return True
        if reason := self._source.judge(job, report):
            self._source.end(job, Ended("stopped", reason, report))
            return True
        self._source.report(job, report)
        self._schedule(job, epochs, done)
        return False

    def _ended(self, job: Job, ended: Ended) -> None:
        del self._running[job.number]
        front = set(self._tally.front)
        self._tally.add(Record(job.number, ended.state, ended.reason, ended.report, job.config, job.params))
        if set(self._tally.front) != front:
            volume = hypervolume(self._tally.points, self._spec.objectives, self._reference)
            if volume > self._trace.final:
                self._trace.gains.append((self._now * self._workers, volume))
