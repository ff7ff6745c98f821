"""How far a recorded neighbour is from the truth: the error with which a simulation answers what was not recorded.

    python -m tests.benchmarks.neighbours TABLE [--held-out 0.2] [--seeds 5]

Holds a share of the trials out, answers each with its nearest remaining trial, and compares the ends: median and 90 %
quantile of the difference in accuracy and in decades of parameters, and the rank correlation.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from prune_search.search.simulation.pool import Neighbours
from prune_search.search.simulation.table import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--held-out", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    table = load(arguments.table)
    entries = [entry for entry in table.entries if entry.state == "completed"]
    ends = np.array([(e.reports[-1].accuracy, np.log10(max(1, e.reports[-1].params))) for e in entries])
    rows = []
    for seed in range(arguments.seeds):
        order = np.random.default_rng(seed).permutation(len(entries))
        held = order[: round(arguments.held_out * len(entries))]
        known = np.setdiff1d(order, held)
        near = Neighbours(table.spec, [entries[i] for i in known])
        answers = [known[near.distances(near.encode(entries[i].params)).argmin()] for i in held]
        away = np.abs(ends[answers] - ends[held])
        ranks = [spearmanr(ends[answers][:, k], ends[held][:, k]).statistic for k in range(2)]
        rows.append([*np.median(away, axis=0), *np.quantile(away, 0.9, axis=0), *ranks])
    names = (
        "accuracy, median",
        "decades, median",
        "accuracy, 90 %",
        "decades, 90 %",
        "accuracy, rank",
        "decades, rank",
    )
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        print(f"{name:18s} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
