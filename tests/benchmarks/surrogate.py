"""How far a simulation's answers are from the truth, and what that does to what a search finds.

    python -m tests.benchmarks.surrogate TABLE [--held-out 0.2] [--seeds 5]

Holds a share of the trials out, asks a surrogate of the others for each, and compares the ends: median and 90 % quantile of
the difference in accuracy and in decades of parameters, and the rank correlation; beside the control, the nearest other
trial (sum of differences of what it reads). Then the hypervolume of the trials that were held out, beside that of the answers.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from prune_search.pareto import hypervolume
from prune_search.search.simulation.surrogate import Surrogate
from prune_search.search.simulation.table import Entry, load

FIGURES = (
    "accuracy, median",
    "decades, median",
    "accuracy, 90 %",
    "decades, 90 %",
    "accuracy, rank",
    "decades, rank",
    "hypervolume",
    "true hypervolume",
    "milliseconds",
)


def ends(entries: list[Entry]) -> np.ndarray:
    """[trials, 2] accuracy and decades of parameters."""
    return np.array([(entry.reports[-1].accuracy, np.log10(max(1, entry.reports[-1].params))) for entry in entries])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--held-out", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    table = load(arguments.table)
    entries = np.array([entry for entry in table.entries if entry.state == "completed"], dtype=object)

    def volume(trials: list[Entry]) -> float:
        return hypervolume([t.reports[-1].metrics() for t in trials], table.spec.objectives, table.reference)

    rows: dict[str, list[list[float]]] = {"surrogate": [], "nearest": []}
    for seed in range(arguments.seeds):
        order = np.random.default_rng(seed).permutation(len(entries))
        cut = round(arguments.held_out * len(entries))
        held, known = entries[order[:cut]], entries[order[cut:]]
        surrogate = Surrogate(dataclasses.replace(table, entries=tuple(known)))
        places = np.array([surrogate.encode(entry.params) for entry in known])

        def nearest(entry: Entry) -> Entry:
            return known[np.abs(places - surrogate.encode(entry.params)).sum(axis=1).argmin()]

        for name, answer in (("surrogate", lambda entry: surrogate.answer(entry.params)), ("nearest", nearest)):
            began = time.perf_counter()
            answers = [answer(entry) for entry in held]
            cost = 1000 * (time.perf_counter() - began) / len(held)
            away = np.abs(ends(answers) - ends(held))
            ranks = [spearmanr(ends(answers)[:, k], ends(held)[:, k]).statistic for k in range(2)]
            errors = [*np.median(away, axis=0), *np.quantile(away, 0.9, axis=0)]
            rows[name].append([*errors, *ranks, volume(answers), volume(held), cost])
    for name, runs in rows.items():
        for figure, values in zip(FIGURES, zip(*runs, strict=True), strict=True):
            print(f"{name:9s} {figure:16s} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
