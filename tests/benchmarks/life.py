"""Where does a trial's time go? A real search, every phase of its workers timed.

    python -m tests.benchmarks.life --root data [--trials 20] [--model lenet-300-100] [--preset magnitude] [--images 12000] [--epochs 8]
    py-spy record --pid PID --duration 10 --format speedscope -o life.json     # meanwhile, PID of a ray::ResourceTrainable: flames

MNIST, or with ``--folder`` any folder of images. Prints seconds from the call of the search to the first trial, then for each phase
the mean seconds of a trial and their share: process start and imports (once for each worker, shared by its trials), data, building
the trial, training, validation, report (removal with proof, cost), checkpoint, decision (scores, events), what is left of an epoch,
and waiting for the driver (early stopping, study, tracking, the next configuration).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prune_search.search.driver import Search
from prune_search.spec import load_spec
from prune_search.training import worker
from prune_search.training.worker import TrialWorker
from tests.benchmarks.age import age

ROOT = Path(__file__).parents[2]
METHODS = {
    "__init__": "build",
    "_train": "train",
    "_validate": "validate",
    "_report": "report",
    "_save": "save",
    "_decide": "decide",
}
PHASES = ("process", "imports", "data", *METHODS.values(), "rest", "wait")


class Timed(TrialWorker):
    """Writes one JSON line for each trial that ends: seconds by phase."""

    def setup(self, config: dict[str, Any]) -> None:
        self._seconds: dict[str, float] = {"process": age()}
        self._out = Path(os.environ["LIFE"]) / f"{os.getpid()}.jsonl"
        started = time.perf_counter()
        from prune_search.training import data
        from prune_search.training.trial import Trial

        self._add("imports", time.perf_counter() - started)
        data.cached_data = self._timing("data", data.cached_data)
        for name, phase in METHODS.items():
            setattr(Trial, name, self._timing(phase, getattr(Trial, name)))
        self._begun = time.time()
        super().setup(config)
        self._left = time.perf_counter()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._add("wait", time.perf_counter() - self._left)
        super().reset_config(new_config)
        self._left = time.perf_counter()
        return True

    def step(self) -> dict[str, Any]:
        entered = time.perf_counter()
        self._add("wait", entered - self._left)
        before = sum(self._seconds.get(phase, 0.0) for phase in METHODS.values())
        result = super().step()
        self._left = time.perf_counter()
        inside = sum(self._seconds.get(phase, 0.0) for phase in METHODS.values()) - before
        self._add("rest", self._left - entered - inside)
        if result["state"] != "running":
            with open(self._out, "a") as file:
                file.write(json.dumps({"begun": self._begun, **self._seconds}) + "\n")
            self._seconds = {}
        return result

    def _add(self, phase: str, seconds: float) -> None:
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds

    def _timing(self, phase: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._add(phase, time.perf_counter() - started)

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--folder", action="store_true")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="lenet-300-100")
    parser.add_argument("--preset", default="magnitude")
    parser.add_argument("--images", type=int, default=12000)
    parser.add_argument("--validation", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    worker.TrialWorker = Timed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LIFE"] = name
        data = {"name": "folder" if options.folder else "MNIST", "root": str(options.root.absolute())}
        space = {
            "data": {**data, "train_size": options.images, "validation_size": options.validation},
            "model": options.model,
            "training": {
                "epochs": options.epochs,
                "batch_size": options.batch,
                "optimizer": {"name": "sgd", "lr": {"low": 0.02, "high": 0.2, "log": True}},
            },
            "recipe": options.preset,
            "objectives": {"accuracy": "maximize", "params": "minimize"},
            "search": {"trials": options.trials, "concurrency": options.workers, "early_stopping": "none"},
        }
        (folder / "life.yaml").write_text(json.dumps(space))
        called = time.time()
        Search(load_spec(folder / "life.yaml"), runs=folder, name="life").run()
        whole = time.time() - called
        lines = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    begun = min(line.pop("begun") for line in lines) - called
    means = {phase: sum(line.get(phase, 0.0) for line in lines) / len(lines) for phase in PHASES}
    total = sum(means.values())
    print(f"{len(lines)} trials in {whole:.1f} s on {options.workers} workers; the first began after {begun:.1f} s")
    print("| phase | s a trial | share |\n|---|---|---|")
    for phase, seconds in means.items():
        print(f"| {phase} | {seconds:.3f} | {seconds / total:.1%} |")
    pure = means["train"] * len(lines) / options.workers
    print(f"| all | {total:.3f} | |\nwall time over that of training alone on all workers: {whole / pure:.2f}")


if __name__ == "__main__":
    main()
