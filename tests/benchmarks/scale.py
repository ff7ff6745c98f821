"""What does the driver pay for a report? A search whose trials do nothing, beside bare Ray Tune on the same trials, in one run.

    python -m tests.benchmarks.scale [--trials 2000] [--reports 20] [--concurrent 64] [--sampler random] [--rule none]

Both hand ``--trials`` stub trials of ``--reports`` epochs to ``--concurrent`` actors that hold next to no CPU and are reused. Bare
Tune samples at random and keeps nothing but its own files (no snapshots of all trials, which a search switches off, too); the search
asks Optuna, judges every report by ``--rule`` (early stopping: the reports are fewer then), tells the study and writes MLflow. The
first quarter of the trials warms up (imports, actors that start); of the rest, prints for each the CPU milliseconds of the driver's
process for a report, by how much its resident memory grows for 1,000 trials (least squares), and reports a second; for the search
also how long MLflow took after the last trial, how many trials it has with their end, and the longest that a call to the tracker took.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from prune_search.cost.metrics import Report

SPACE = """
name: scale
data: {name: digits, train_size: 300, validation_size: 200}
model: lenet-300-100
training: {epochs: EPOCHS, optimizer: {name: sgd, lr: {low: 0.01, high: 0.3, log: true}}}
recipe: {preset: magnitude, schedule.final_sparsity: {low: 0.5, high: 0.99}}
objectives: {accuracy: maximize, params: minimize}
resources: {cpus_per_worker: 0.01}
search: {trials: TRIALS, concurrency: CONCURRENT, sampler: SAMPLER, early_stopping: RULE}
"""
FIELDS = dict.fromkeys(Report.__dataclass_fields__, 1)


class Stub(tune.Trainable):
    """Reports figures by its number; trains nothing."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._number, self._epoch = config["number"], 0
        self._epochs = config["config"]["training"]["epochs"]
        draw = random.Random(str(self._number))
        self._accuracy, self._params = draw.random(), 10 ** draw.uniform(2.0, 5.0)

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        done = self._epoch == self._epochs
        own = {"epoch": self._epoch, "accuracy": self._accuracy, "params": round(self._params)}
        return {
            "number": self._number,
            "report": json.dumps(Report(**{**FIELDS, **own}).metrics()),
            "state": "completed" if done else "running",
            "reason": "epochs" if done else "",
            "rounds": "",
            "done": done,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to take up."""


class Meter:
    """What this process spends from the moment that a quarter of the trials have ended until all have."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._ended = self._reports = 0
        self._seen: list[tuple[int, int, float, float, float]] = []

    def reported(self) -> None:
        self._reports += 1

    def ended(self) -> None:
        self._ended += 1
        if self._ended >= self._options.trials / 4:
            now = (self._ended, self._reports, _resident(), time.process_time(), time.perf_counter())
            self._seen.append(now)

    def read(self) -> dict[str, float]:
        trials, reports, memory, cpu, wall = map(np.array, zip(*self._seen))
        number = reports[-1] - reports[0]
        return {
            "cpu_ms_per_report": 1000 * (cpu[-1] - cpu[0]) / number,
            "mib_per_1000_trials": 1000 * np.polyfit(trials, memory / 2**20, 1)[0],
            "reports_per_s": number / (wall[-1] - wall[0]),
            "reports": self._reports,
        }


class Told(tune.Callback):
    """Tells a meter what Tune sees."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self._meter.reported()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._meter.ended()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def bare(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    config = {"number": tune.uniform(0, 1), "config": {"training": {"epochs": options.reports}}}
    meter = Meter(options)
    tune.Tuner(
        tune.with_resources(Stub, {"cpu": 0.01}),
        param_space=config,
        tune_config=tune.TuneConfig(
            num_samples=options.trials, max_concurrent_trials=options.concurrent, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="bare",
            storage_path=str(folder),
            verbose=0,
            callbacks=[Told(meter)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    ).fit()
    return meter.read()


def ours(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    from prune_search.search import closing
    from prune_search.search.driver import Search
    from prune_search.search.mlflow import open_tracker
    from prune_search.training import worker

    worker.TrialWorker = Stub
    closing.on_cluster = lambda jobs, cpus, gpus: [closing.Tested(0.5, (), {})] * len(jobs)
    closing.log_front = lambda *arguments: None  # the front's checkpoints, which stubs do not have
    text = SPACE
    for word in ("trials", "concurrent", "sampler", "rule"):
        text = text.replace(word.upper(), str(getattr(options, word)))
    space = folder / "scale.yaml"
    space.write_text(text.replace("EPOCHS", str(options.reports)))
    search, meter = Search(space, runs=folder / "runs", name="scale"), Meter(options)
    ended, told = [], []
    note_end, note_report = search._ended, search._reported

    def at_end(job: Any, how: Any) -> None:
        note_end(job, how)
        meter.ended()
        ended.append(time.perf_counter())

    def at_report(job: Any, report: Report) -> None:
        begun = time.perf_counter()
        note_report(job, report)
        told.append(time.perf_counter() - begun)
        meter.reported()

    search._ended, search._reported = at_end, at_report
    search.run()
    done = time.perf_counter()
    tracker = open_tracker(search.layout, search.spec)
    known = tracker.known()
    tracker.close()
    whole = sum(info.status == "FINISHED" and info.last_epoch is not None for info in known.values())
    return meter.read() | {
        "mlflow_after_s": done - ended[-1],
        "trials_in_mlflow": whole,
        "longest_call_ms": 1000 * max(told),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--reports", type=int, default=20)
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--rule", default="none")
    options = parser.parse_args()
    from prune_search.search.execution import connected

    os.environ.setdefault(
        "RAY_worker_register_timeout_seconds", "900"
    )  # 64 processes that start at once on a few cores
    with tempfile.TemporaryDirectory() as folder, connected(None, 1, []):
        for name, run in (("bare Tune", bare), ("prune-search", ours)):
            figures = run(options, Path(folder))
            print(f"{name:13}" + "".join(f"  {key} {value:.2f}" for key, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
