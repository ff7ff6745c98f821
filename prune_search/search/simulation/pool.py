"""Answers a sampler with recorded trials: the nearest one that this search has not had yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import Trial

from prune_search.search.asking.asker import Asker
from prune_search.search.asking.samplers import distribution
from prune_search.search.simulation.table import Entry, Table
from prune_search.spec import Spec
from prune_search.spec.domains import Domain, Float, Int
from prune_search.spec.space import base_name


class Neighbours:
    """Distances between configurations of one space.

    A parameter that both have counts the share of its range between them (of its logarithm where it is sampled so), or 0 or 1
    for a choice; one that only one of them has counts 1.
    """

    def __init__(self, spec: Spec, entries: Sequence[Entry]):
        self._domains = {base_name(name): domain for name, domain in spec.parameters().items()}
        self._columns = {name: column for column, name in enumerate(self._domains)}
        self._ranges = np.array([isinstance(domain, (Int, Float)) for domain in self._domains.values()])
        self.rows = np.array([self.encode(entry.params) for entry in entries])

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """[parameters] place in the range, or number of the choice; NaN where it is not asked."""
        row = np.full(len(self._columns), np.nan)
        for name, value in params.items():
            domain = self._domains[base_name(name)]
            row[self._columns[base_name(name)]] = _place(domain, value)
        return row

    def distances(self, row: np.ndarray) -> np.ndarray:
        """[entries] from a configuration to each."""
        here, there = np.isnan(row), np.isnan(self.rows)
        away = np.abs(np.nan_to_num(self.rows) - np.nan_to_num(row))
        away = np.where(self._ranges, away, away > 0)
        return np.where(here & there, 0.0, np.where(here | there, 1.0, away)).sum(axis=1)


def _place(domain: Domain, value: Any) -> float:
    if not isinstance(domain, (Int, Float)):
        return float(domain.options.index(value))
    scale = np.log if domain.log else float
    low, high = scale(domain.low), scale(domain.high)
    return float((scale(value) - low) / (high - low)) if high > low else 0.0


@dataclass(frozen=True)
class Known:
    """What the search sees of a recorded trial's configuration."""

    config: dict[str, Any]
    distributions: dict[str, BaseDistribution]


class Pool:
    """The recorded trials of a table, each to be had again only when all have been had.

    Attributes:
        taken: Trial of the simulated search -> entry.
    """

    def __init__(self, table: Table):
        self.entries = table.entries
        self.known = [_known(table.spec, entry) for entry in table.entries]
        self._neighbours = Neighbours(table.spec, table.entries)
        self._left = np.ones(len(table.entries), dtype=bool)
        self.taken: dict[int, int] = {}

    def refill(self) -> None:
        self._left[:] = True
        self.taken.clear()

    def take(self, number: int, wish: Mapping[str, Any]) -> int:
        """The entry for trial ``number``: the nearest of those that are left; it is left no longer."""
        if not self._left.any():
            self._left[:] = True
        distances = self._neighbours.distances(self._neighbours.encode(wish))
        index = int(np.where(self._left, distances, np.inf).argmin())
        self._left[index] = False
        self.taken[number] = index
        return index


def _known(spec: Spec, entry: Entry) -> Known:
    distributions: dict[str, BaseDistribution] = {}

    def answer(name: str, domain: Domain) -> Any:
        distributions[name] = distribution(domain)
        return entry.params[name]

    return Known(dict(spec.sample(answer).plain), distributions)


class PoolStorage(InMemoryStorage):
    """A study in memory whose trials' parameters can be replaced."""

    def replace(self, trial_id: int, params: dict[str, Any], distributions: dict[str, BaseDistribution]) -> None:
        with self._lock:
            trial = self._get_trial(trial_id)
            trial.params, trial.distributions = params, distributions


class PoolAsker(Asker):
    """Takes what the sampler wants for a wish: the trial gets the configuration and the results of the nearest recorded one.

    So the sampler learns true values at true places; only its wishes are rounded.
    """

    def __init__(self, spec: Spec, study: str, storage: PoolStorage, chosen: str, back: int, pool: Pool):
        super().__init__(spec, study, storage, chosen, back, threaded=False)
        self._pool = pool

    def _sample(self, trial: Trial) -> dict[str, Any]:
        super()._sample(trial)
        index = self._pool.take(trial.number, trial.params)
        known = self._pool.known[index]
        self._storage.replace(trial._trial_id, dict(self._pool.entries[index].params), known.distributions)
        return known.config
