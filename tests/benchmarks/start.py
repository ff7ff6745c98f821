"""How long from the command to the first training step? Beside a bare Ray that imports torch in a worker, alternating.

    python -m tests.benchmarks.start --root data [--rounds 5]

``bare``: ``import ray.tune; ray.init()`` and one remote task that imports torch, from command to answer. ``ours``: ``prune-search run`` on MNIST
with a lenet-300-100 of one trial, from command to the first call of the network in training mode. Prints both for each round, and the
median of the differences with its range.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torch import Tensor, nn

from prune_search.zoo.networks import BUILDERS

ROOT = Path(__file__).parents[2]
BARE = """
import ray, ray.tune, time
ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
@ray.remote
def torch_there():
    import torch
    return time.time()
print(ray.get(torch_there.remote()))
"""


class Stamping(nn.Module):
    """Writes the time of its first call in training mode to a file."""

    def __init__(self, network: nn.Module, stamp: str) -> None:
        super().__init__()
        self.network, self._stamp = network, Path(stamp)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self._stamp.exists():
            self._stamp.write_text(str(time.time()))
        return self.network(x)


def build(input_shape: tuple[int, ...], num_classes: int, stamp: str) -> nn.Module:
    return Stamping(BUILDERS["lenet-300-100"](input_shape, num_classes), stamp)


def command(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout


def bare() -> float:
    started = time.time()
    return float(command("-c", BARE)) - started


def ours(root: Path) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder, stamp = Path(name), Path(name) / "stamp"
        space = {
            "data": {"name": "MNIST", "root": str(root), "train_size": 2000, "validation_size": 1000},
            "model": {"name": "tests.benchmarks.start:build", "stamp": str(stamp)},
            "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": {"low": 0.01, "high": 0.1}}},
            "recipe": "dense",
            "objectives": {"accuracy": "maximize", "params": "minimize"},
            "search": {"trials": 1},
        }
        (folder / "space.yaml").write_text(json.dumps(space))
        started = time.time()
        command("-m", "prune_search.cli.main", "run", str(folder / "space.yaml"), "--name", "start", "--runs", name)
        return float(stamp.read_text()) - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    root, differences = options.root.absolute(), []
    for number in range(options.rounds + 1):
        plain, whole = bare(), ours(root)
        if number:  # the first warms the disk's cache
            differences.append(whole - plain)
            print(f"bare {plain:.1f} s, ours {whole:.1f} s: {whole - plain:+.1f} s", flush=True)
    print(f"median {statistics.median(differences):+.1f} s ({min(differences):+.1f} to {max(differences):+.1f})")


if __name__ == "__main__":
    main()
