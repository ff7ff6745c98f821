"""Syne Tune's multi-objective ASHA on a recorded table, beside ours: same clock, same stragglers, same answers.

    pip download --no-deps syne-tune && unzip syne_tune-*.whl -d FOLDER
    PYTHONPATH=FOLDER python -m tests.benchmarks.syne_tune TABLE [--seeds 20] [--workers 16] [--trials 200]

Its ``MOASHA`` samples at random, so it is told what a random sampler draws; it sees every report, objectives as logarithms where
they are counts. Printed as by ``prune-search simulate``; ``random+syne-tune`` is theirs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

from prune_search.cli.console import console
from prune_search.cli.tables import simulation_table
from prune_search.search.early import judge
from prune_search.search.early.standing import Standing
from prune_search.search.simulation.compare import Strategy, compare
from prune_search.search.simulation.table import load

OURS = ("tpe+moasha-schedule-aware", "random+moasha-schedule-aware", "random+moasha", "random")


class SyneTune:
    """Their scheduler as a rule of ours.

    Args:
        epochs: Of a whole trial.
        objectives: How many.
    """

    def __init__(self, epochs: int, objectives: int):
        self.shares = tuple(epoch / epochs for epoch in range(1, epochs))
        self._names = [f"loss{i}" for i in range(objectives)]
        self._scheduler = MOASHA(config_space={}, metrics=self._names, time_attr="epoch", max_t=epochs, random_seed=0)
        self._decisions: dict[tuple[int, int], str] = {}
        self._added: set[int] = set()

    def enter(self, stage: int, at: Standing) -> None:
        trial = SimpleNamespace(trial_id=str(at.number))
        if at.number not in self._added:
            self._added.add(at.number)
            self._scheduler.on_trial_add(trial)
        self._decisions[at.number, stage] = self._scheduler.on_trial_result(trial, self._result(at))

    def verdict(self, stage: int, at: Standing, last: int) -> str | None:
        return "stopped" if self._decisions.pop((at.number, stage)) == SchedulerDecision.STOP else None

    def finish(self, number: int, end: Standing | None) -> None:
        if end is not None and number in self._added:
            self._scheduler.on_trial_complete(SimpleNamespace(trial_id=str(number)), self._result(end))

    def _result(self, at: Standing) -> dict[str, float]:
        return dict(zip(self._names, at.losses, strict=True)) | {"epoch": at.epoch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--trials", type=int, default=200)
    arguments = parser.parse_args()
    table = load(arguments.table)
    epochs = max(len(entry.reports) for entry in table.entries)
    size = {"workers": arguments.workers, "trials": arguments.trials, "seeds": arguments.seeds}
    comparison = compare(table, [Strategy.parse(name) for name in OURS], **size)
    with patch.object(judge, "rule_of", lambda settings: SyneTune(epochs, len(table.spec.objectives))):
        theirs = compare(table, [Strategy.parse("random+moasha")], **size)
    comparison.traces["random+syne-tune"] = theirs.traces["random+moasha"]
    console.print(simulation_table(comparison))


if __name__ == "__main__":
    main()
