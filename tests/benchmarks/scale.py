"""What does the driver pay for a report? A search whose trials do nothing, beside bare Ray Tune on the same trials, in one run.

    python -m tests.benchmarks.scale [--trials 2000] [--reports 20] [--concurrent 64] [--sampler random] [--rule none]

Both hand ``--trials`` stub trials of ``--reports`` epochs to ``--concurrent`` actors that hold next to no CPU and are reused. Bare
Tune samples at random and keeps nothing but its own files; the search asks Optuna, judges every report by ``--rule`` (early stopping:
the reports are fewer then), tells the study and writes MLflow. Prints for each the CPU milliseconds of the driver's process for a
report, its memory for 1,000 trials, reports a second, and for the search how long MLflow took after the last trial, and how many
trials it has with their end.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

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
    """CPU seconds, resident bytes and wall time of this process between its begin and :meth:`read`."""

    def __init__(self) -> None:
        self._cpu, self._rss, self._wall = time.process_time(), _resident(), time.perf_counter()

    def read(self, trials: int, reports: int) -> dict[str, float]:
        wall = time.perf_counter() - self._wall
        return {
            "cpu_ms_per_report": 1000 * (time.process_time() - self._cpu) / reports,
            "mib_per_1000_trials": (_resident() - self._rss) / 2**20 / trials * 1000,
            "reports_per_s": reports / wall,
            "wall_s": wall,
        }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def bare(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    config = {"number": tune.uniform(0, 1), "config": {"training": {"epochs": options.reports}}}
    meter = Meter()
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
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    ).fit()
    return meter.read(options.trials, options.trials * options.reports)


def ours(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    from prune_search.search import closing
    from prune_search.search.driver import Search
    from prune_search.search.mlflow import open_tracker
    from prune_search.training import worker

    worker.TrialWorker = Stub
    closing.on_cluster = lambda jobs, cpus, gpus: [0.5] * len(jobs)
    closing.log_front = lambda *arguments: None  # the front's checkpoints, which stubs do not have
    text = SPACE
    for word in ("trials", "concurrent", "sampler", "rule"):
        text = text.replace(word.upper(), str(getattr(options, word)))
    space = folder / "scale.yaml"
    space.write_text(text.replace("EPOCHS", str(options.reports)))
    search = Search(space, runs=folder / "runs", name="scale")
    ended, reported = [], []
    note_end, note_report = search._ended, search._reported
    search._ended = lambda job, how: (ended.append(time.perf_counter()), note_end(job, how))
    search._reported = lambda job, report: (reported.append(job.number), note_report(job, report))
    meter = Meter()
    search.run()
    done = time.perf_counter()
    found = meter.read(options.trials, len(reported))
    tracker = open_tracker(search.layout, search.spec)
    known = tracker.known()
    tracker.close()
    whole = sum(info.status == "FINISHED" and info.last_epoch is not None for info in known.values())
    return found | {"reports": len(reported), "mlflow_after_s": done - ended[-1], "trials_in_mlflow": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--reports", type=int, default=20)
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--rule", default="none")
    options = parser.parse_args()
    from prune_search.search.execution import connected

    with tempfile.TemporaryDirectory() as folder, connected(None, 1, []):
        for name, run in (("bare Tune", bare), ("prune-search", ours)):
            figures = run(options, Path(folder))
            print(f"{name:13}" + "".join(f"  {key} {value:.2f}" for key, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
