"""Answers for configurations that were not recorded: averages of recorded trials, weighed by a forest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np

from prune_search.cost.metrics import Report
from prune_search.pareto.scale import LOGARITHMIC, scaled
from prune_search.search.simulation.table import Entry, Table
from prune_search.spec.domains import Domain, Float, Int
from prune_search.spec.space import base_name

FIELDS = dataclasses.fields(Report)
DECADES = np.array([field.name in LOGARITHMIC for field in FIELDS])


class Surrogate:
    """A recorded configuration gets its own trial, any other a weighed average of recorded trials.

    Extremely randomised trees (Geurts et al. 2006; scikit-learn's, with its defaults) learn the curves of the objectives from the
    configurations; in an answer a trial weighs the share of trees in which it stands in the same leaf. In which state a
    trial ends, and after how many epochs, is what most of the weight says; the average is over those that ended so, counts in
    decades. Two trainings of one configuration differ, two answers do not: a simulation is smoother than training is.
    """

    def __init__(self, table: Table):
        from sklearn.ensemble import ExtraTreesRegressor

        self._entries = table.entries
        self._domains = {base_name(name): domain for name, domain in table.spec.parameters().items()}
        self._ends = [(entry.state, len(entry.reports)) for entry in table.entries]
        self._curves = [_numbers(entry) for entry in table.entries]
        rows = np.array([self.encode(entry.params) for entry in table.entries])
        forest = ExtraTreesRegressor(random_state=0).fit(rows, _targets(table, self._ends))
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._leaves = [_members(tree.apply(rows)) for tree in self._trees]

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """float32 [columns]: a number's place in its range, -1 where it is not asked; a column of 0 or 1 for each option."""
        given = {base_name(name): value for name, value in params.items()}
        cells = [_cells(domain, given.get(name)) for name, domain in self._domains.items()]
        return np.concatenate(cells).astype(np.float32)

    def weights(self, params: Mapping[str, Any]) -> np.ndarray:
        """[recorded trials] that sum to 1."""
        row = self.encode(params)[None]
        weights = np.zeros(len(self._entries))
        for tree, leaves in zip(self._trees, self._leaves, strict=True):
            members = leaves[tree.apply(row)[0]]
            weights[members] += 1 / len(members) / len(self._trees)
        return weights

    def answer(self, params: Mapping[str, Any]) -> Entry:
        """A trial of this configuration, as far as the recorded ones tell."""
        weights = self.weights(params)
        near = np.flatnonzero(weights)
        shares: dict[tuple[str, int], float] = {}
        for index in near:
            shares[self._ends[index]] = shares.get(self._ends[index], 0.0) + weights[index]
        end = max(shares, key=lambda each: shares[each])
        near = [index for index in near if self._ends[index] == end]
        likest = self._entries[max(near, key=lambda index: weights[index])]
        if len(near) == 1:
            return likest
        mean = np.average([self._curves[index] for index in near], axis=0, weights=weights[near])
        return Entry(dict(params), end[0], likest.reason, tuple(_report(row) for row in mean))


def _cells(domain: Domain, value: Any) -> np.ndarray:
    if not isinstance(domain, (Int, Float)):
        return np.array([float(option == value) for option in domain.options])
    if value is None:
        return np.array([-1.0])
    scale = np.log if domain.log else float
    low, high = scale(domain.low), scale(domain.high)
    return np.array([(scale(value) - low) / (high - low) if high > low else 0.0])


def _numbers(entry: Entry) -> np.ndarray:
    """[epochs, fields of a report], what counts in decades as its logarithm, NaN where there is nothing."""
    rows = [[getattr(report, field.name) for field in FIELDS] for report in entry.reports]
    table = np.array(rows, dtype=float).reshape(len(rows), len(FIELDS))
    table[:, DECADES] = np.log10(np.maximum(table[:, DECADES], 1.0))
    return table


def _report(row: np.ndarray) -> Report:
    row = row.copy()
    row[DECADES] = 10.0 ** row[DECADES]
    values = {}
    for field, value in zip(FIELDS, row.tolist(), strict=True):
        whole = field.type.startswith("int")
        values[field.name] = None if np.isnan(value) and "None" in field.type else round(value) if whole else value
    return Report(**values)


def _targets(table: Table, ends: list[tuple[str, int]]) -> np.ndarray:
    """[trials, objectives at each epoch and a column for each kind of end], each in units of its spread."""
    epochs = max(length for _, length in ends)
    curves = np.full((len(ends), epochs, len(table.spec.objectives)), np.nan)
    for curve, entry in zip(curves, table.entries, strict=True):
        if entry.reports:
            points = scaled([report.metrics() for report in entry.reports], table.spec.objectives)
            curve[: len(points)], curve[len(points) :] = points, points[-1]
    kinds = [[end == kind for kind in sorted(set(ends))] for end in ends]
    columns = np.hstack([curves.reshape(len(ends), -1), kinds])
    columns = np.where(np.isfinite(columns), columns, np.nan)
    spread = np.nanstd(columns, axis=0)
    return np.nan_to_num((columns - np.nanmean(columns, axis=0)) / np.where(spread > 1e-9, spread, 1.0))


def _members(leaves: np.ndarray) -> dict[int, np.ndarray]:
    """Leaf -> the trials in it."""
    order = leaves.argsort(kind="stable")
    return {leaf: np.array(list(members)) for leaf, members in groupby(order, key=lambda index: leaves[index])}
