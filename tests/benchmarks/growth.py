"""What grows with the number of trials: time of a question to the sampler, of a verdict, of an end; memory.

    python -m tests.benchmarks.growth [--trials 10000] [--samplers tpe random nsgaii] [--all]

Plays a search of ``search_spaces/recombination.yaml`` without training: every trial gets figures by a formula of its
parameters, two thirds are stopped after two of eight epochs. Prints for each decade of trials the median milliseconds over
its last 20 questions and ends, the microseconds of a verdict, and the process's peak memory. ``--all`` shows the sampler
every trial, as without thinning.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import time
from functools import partial
from pathlib import Path

from optuna.storages import InMemoryStorage

from prune_search.cost.metrics import Report
from prune_search.search.asking import asker
from prune_search.search.asking.asker import Asker
from prune_search.search.jobs import Ended
from prune_search.search.layout import Layout
from prune_search.search.source import StudySource
from prune_search.search.storage import quiet
from prune_search.spec import load_spec

SPACE = Path(__file__).parents[2] / "search_spaces" / "recombination.yaml"
SHOWN = (50, 100, 200, 500, 1000, 2000, 5000, 10000)
FIELDS = dict.fromkeys(Report.__dataclass_fields__, 1)


def reports(number: int) -> list[Report]:
    draw = random.Random(number)
    accuracy, decades = draw.uniform(0.5, 0.99), draw.uniform(2.0, 5.0)
    return [
        Report(**{**FIELDS, "epoch": epoch, "accuracy": accuracy - 0.02 * (8 - epoch), "params": round(10**decades)})
        for epoch in range(1, 9)
    ]


def play(sampler: str, trials: int) -> None:
    rule = "search.early_stopping=moasha-schedule-aware"
    spec = load_spec(SPACE, [f"search.sampler={sampler}", f"search.trials={trials}", rule])
    silent = {"started": lambda job: None, "reported": lambda job, report: None, "ended": lambda job, ended: None}
    source = StudySource(
        spec, Layout(Path("none"), sampler), InMemoryStorage(), 16, **silent, asking=partial(Asker, threaded=False)
    )
    asked, judged, told = [], [], []
    for number in range(trials):
        start = time.perf_counter()
        job = source.next()
        asked.append(time.perf_counter() - start)
        seen = reports(number)
        for report in seen:
            start = time.perf_counter()
            source.judge(job, report)
            judged.append(time.perf_counter() - start)
            if number % 3 and report.epoch == 2:
                break
        start = time.perf_counter()
        source.end(job, Ended("completed" if report.epoch == 8 else "stopped", "", report))
        told.append(time.perf_counter() - start)
        if number + 1 in SHOWN:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{sampler:8s} {number + 1:6d} trials: question {1e3 * statistics.median(asked[-20:]):7.1f} ms, "
                f"verdict {1e6 * statistics.median(judged[-50:]):6.0f} us, end {1e3 * statistics.median(told[-20:]):5.1f} ms, "
                f"peak {memory:.0f} MiB",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"])
    parser.add_argument("--all", action="store_true", help="No thinning.")
    arguments = parser.parse_args()
    quiet()
    if arguments.all:
        asker.THINNED.clear()
    for sampler in arguments.samplers:
        play(sampler, arguments.trials)


if __name__ == "__main__":
    main()
