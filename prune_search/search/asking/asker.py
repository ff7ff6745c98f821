"""Asking a study for configurations: one ahead, in a thread of its own, so that nobody waits for a sampler."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import Trial

from prune_search.search.asking.history import History
from prune_search.search.asking.samplers import THINNED, sampler, suggest
from prune_search.search.asking.thinning import Thinning
from prune_search.spec import Spec

CONFIG = "config"


@dataclass(frozen=True)
class Asked:
    """A trial of the study and its configuration."""

    trial: Trial
    config: dict[str, Any]


class Asker:
    """Asks for trial after trial; nothing but the numbers and what it was told decides what it answers.

    Args:
        spec: The space, the sampler, what is enqueued.
        study: The study's name.
        storage: The study's storage.
        chosen: The sampler's name, never ``auto``.
        back: In a deterministic search trial n is asked from the trials up to n - ``back``.
        threaded: Ask in a thread; else at once, as a simulation does.
    """

    def __init__(self, spec: Spec, study: str, storage: BaseStorage, chosen: str, back: int, threaded: bool = True):
        self._spec, self._study, self._storage, self._sampler, self._back = spec, study, storage, chosen, back
        self._grid = list(islice(spec.grid(), spec.search.trials)) if chosen == "grid" else None
        signs = [-1.0 if direction == "maximize" else 1.0 for direction in spec.objectives.values()]
        self._thinning = Thinning(*THINNED[chosen], signs) if chosen in THINNED else None
        self._told: dict[int, Iterable[float] | None] = {}
        self.threaded = threaded
        self._thread = ThreadPoolExecutor(1, "ask") if threaded else None
        self._coming: dict[int, Future[Asked]] = {}

    @property
    def size(self) -> int | None:
        """How many configurations there are, where they are counted."""
        return None if self._grid is None else len(self._grid)

    def tell(self, number: int, values: Iterable[float] | None) -> None:
        """A trial has finished, feasible with these values, or otherwise."""
        self._told[number] = values

    def prepare(self, number: int, known: int | None = None) -> None:
        """Begin to ask for a trial, which is new unless its id in the storage is ``known``."""
        if number not in self._coming:
            last = number - self._back if self._spec.search.deterministic else sys.maxsize
            view = History(self._storage, last, self._kept(last), list(self._spec.objectives))
            if self._thread:
                self._coming[number] = self._thread.submit(self._ask, number, known, view)
            else:
                self._coming[number] = Future()
                self._coming[number].set_result(self._ask(number, known, view))

    def take(self, number: int, wait: bool = False) -> Asked | None:
        """The trial that was prepared; while it is being asked for, None, or ``wait``."""
        coming = self._coming[number]
        if not wait and not coming.done():
            return None
        del self._coming[number]
        return coming.result()

    def close(self) -> list[Asked]:
        """End the thread; what was asked for and never taken."""
        if self._thread:
            self._thread.shutdown(cancel_futures=True)
        return [coming.result() for coming in self._coming.values() if not coming.cancelled()]

    def _kept(self, last: int) -> frozenset[int] | None:
        if self._thinning is None:
            return None
        for number in sorted(number for number in self._told if number <= last):
            self._thinning.add(number, self._told.pop(number))
        return self._thinning.kept()

    def _ask(self, number: int, known: int | None, view: History) -> Asked:
        made = sampler(self._sampler, self._spec.search.seed, number, self._fixed(number))
        study = optuna.load_study(study_name=self._study, storage=view, sampler=made)
        trial = study.ask() if known is None else Trial(study, known)
        plain = trial.user_attrs.get(CONFIG)
        if plain is not None:
            return Asked(trial, json.loads(plain))
        config = self._sample(trial)
        trial.set_user_attr(CONFIG, json.dumps(config))
        return Asked(trial, config)

    def _sample(self, trial: Trial) -> dict[str, Any]:
        return dict(self._spec.sample(suggest(trial)).plain)

    def _fixed(self, number: int) -> Mapping[str, Any]:
        if self._grid is not None:
            return self._grid[number]
        return self._spec.enqueue[number] if number < len(self._spec.enqueue) else {}
