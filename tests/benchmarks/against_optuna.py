"""A real search against Ray Tune with OptunaSearch as its documentation shows it: equal wall time, alternating, new seeds.

    python -m tests.benchmarks.against_optuna [--space search_spaces/digits.yaml] [--seconds 90] [--seeds 5] [--workers 2]

Both train the same trials on the same workers; ours stops bad ones early, asks TPE as the space says and starts with the presets'
own values, the other is ``OptunaSearch`` with its defaults and no scheduler. The clock of both runs from the first call to Ray on
a cluster that is up, to the last; what has not completed does not count. Prints hypervolumes at the same fixed reference and
their ratio for each seed, and how many trials each completed and stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from prune_search.cost.metrics import Report
from prune_search.pareto import default_reference, front, hypervolume
from prune_search.search import execution
from prune_search.search.asking.samplers import suggest
from prune_search.search.driver import Search
from prune_search.search.results import dense_metrics, tells_dense
from prune_search.spec import Spec, load_spec

ROOT = Path(__file__).parents[2]


class Space:
    """Asks for a trial of a space, as OptunaSearch calls it; it pickles itself with the sampler."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self._spec, self._folder = spec, folder

    def __call__(self, trial: Any) -> dict[str, Any]:
        config = dict(self._spec.sample(suggest(trial)).plain)
        job = {"number": trial.number, "folder": str(self._folder / str(trial.number)), "config": config}
        return job | {"threads": 1, "cpus": 1, "gpus": 0, "measure": []}


def theirs(spec: Spec, seconds: float, workers: int, seed: int, folder: Path) -> tuple[list[Report], int]:
    """Reports of completed trials, and how many were begun."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    from prune_search.training.worker import TrialWorker

    class Reporting(TrialWorker):
        def step(self) -> dict[str, Any]:
            result = super().step()
            metrics = json.loads(result["report"] or "{}")
            return result | {name: metrics.get(name, float("nan")) for name in spec.objectives}

    modes = [{"maximize": "max", "minimize": "min"}[direction] for direction in spec.objectives.values()]
    searcher = OptunaSearch(Space(spec, folder), metric=list(spec.objectives), mode=modes, seed=seed)
    tuner = tune.Tuner(
        tune.with_resources(Reporting, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=-1, time_budget_s=seconds, max_concurrent_trials=workers, reuse_actors=True
        ),
        run_config=tune.RunConfig(name="theirs", storage_path=str(folder), verbose=0),
    )
    results = [result.metrics for result in tuner.fit() if result.metrics]
    done = [Report(**json.loads(m["report"])) for m in results if m.get("state") == "completed"]
    return done, len(results)


def ours(spec: Spec, folder: Path) -> tuple[list[Report], dict[str, int]]:
    search = Search(spec, runs=folder, name="ours")
    found = search.run()
    return [record.report for record in found.completed], dict(search.progress.counts)


def volume(spec: Spec, reports: list[Report]) -> float:
    if not reports:
        return 0.0
    points = [report.metrics() for report in reports]
    points = [points[i] for i in front(points, spec.objectives)]
    dense = next(dense_metrics(report) for report in reports if tells_dense(report))
    return hypervolume(points, spec.objectives, default_reference(spec.objectives, dense))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=ROOT / "search_spaces" / "digits.yaml")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    ratios = []
    with execution.connected(None, 1, [str(ROOT)]):
        for seed in range(100, 100 + arguments.seeds):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                changes = [
                    f"search.seed={seed}", "search.trials=null", f"search.time={arguments.seconds}s",
                    f"search.concurrency={arguments.workers}", "search.deterministic=false",
                    f"tracking.uri=sqlite:///{folder}/mlflow.db",
                ]  # fmt: skip
                spec = load_spec(arguments.space, changes)
                start = time.monotonic()
                reports, counts = ours(spec, folder)
                took = time.monotonic() - start
                other, begun = theirs(spec, arguments.seconds, arguments.workers, seed, folder)
                mine, yours = volume(spec, reports), volume(spec, other)
                ratios.append(mine / yours)
                print(
                    f"seed {seed}: ours {mine:.4f} ({counts}, {took:.0f} s), "
                    f"theirs {yours:.4f} ({len(other)} of {begun} completed), ratio {ratios[-1]:.3f}",
                    flush=True,
                )
    print(f"ratio: median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
