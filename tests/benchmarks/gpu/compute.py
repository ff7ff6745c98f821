"""What does shrinking while it trains save, in seconds and in FLOPs? Whole trials in turn, one at a time on the device.

    python -m tests.benchmarks.gpu.compute --archive cifar10-jpeg.tar.gz [--models vgg-19 resnet-18-cifar] [--rounds 3] [--epochs 20] \\
        [--recipes density density-8 narrow neq-neuron neq-layer neq-prefix]

Each round trains the dense network and each recipe from the start to the last report, events and removal included. Prints medians and
ranges of the seconds of a trial and their ratios to the dense one's of the same round; the share that training alone saves; and how many
times fewer training FLOPs. A trial of one epoch comes before, untimed: it makes the kernels known.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from prune_search.cost.metrics import Report
from prune_search.spec.config import TrialConfig
from prune_search.training.data import cached_data
from prune_search.training.trial import Trial

from .keeping import pictures, table
from .life import timed

RECIPES = {
    "dense": "dense",
    "density": {"preset": "activation-density", "schedule": {"density": {"exponent": 0.75}}},
    "density-8": {
        "preset": "activation-density",
        "schedule": {"density": {"exponent": 0.4}},
        "max_events": 8,
        "round": {"min_epochs": 1, "max_epochs": 0.075},
    },
    "narrow": {
        "preset": "dense",
        "granularity": "channel",
        "at_start": {
            "score": "random",
            "schedule": {"one-shot": {"final_sparsity": 0.95}},
            "distribution": "uniform",
        },
        "removal": "at-events",
    },
    **{
        f"neq-{policy}": {"preset": "neq", "backward": {"neq": {"policy": policy}}}
        for policy in ("neuron", "layer", "prefix")
    },
}


def trained(model: str, recipe: str, epochs: int, options: argparse.Namespace) -> tuple[float, float, Report]:
    """Seconds of a trial, those of training alone, and its last report."""
    config = TrialConfig.from_dict(
        {
            "seed": 0,
            "data": {
                "name": "folder",
                "root": str(options.root),
                "train_size": options.images,
                "validation_size": options.images // 9,
                "augment": "crop+flip",
            },
            "model": {"name": model},
            "training": {
                "epochs": epochs,
                "batch_size": options.batch,
                "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
                "schedule": "onecycle",
            },
            "recipe": RECIPES[recipe],
        }
    )
    data, seconds = cached_data(config.data, options.device), {}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        trial = Trial(config, data, Path(folder), device=options.device)
        timed(trial, seconds, None)
        while not trial.finished:
            report = trial.run_epoch()
        return time.perf_counter() - started, seconds["train"], report


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--root", type=Path, default=Path("/tmp/prune-search-gpu/cifar10"))
    parser.add_argument("--models", nargs="*", default=["vgg-19", "resnet-18-cifar"])
    parser.add_argument("--recipes", nargs="*", choices=RECIPES, default=["density", "density-8", "narrow"])
    parser.add_argument("--images", type=int, default=45_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    pictures(options.archive, options.root)
    torch.set_num_threads(1)
    names, rows = ["dense", *(name for name in options.recipes if name != "dense")], []
    for model in options.models:
        trained(model, "dense", 1, options)
        rounds = []
        for _ in range(options.rounds):
            rounds.append({name: trained(model, name, options.epochs, options) for name in names})
            told = ", ".join(f"{name} {whole:.1f} s" for name, (whole, _, _) in rounds[-1].items())
            print(f"{model}: {told}", flush=True)
        dense = rounds[0]["dense"][2]
        for name in names:
            last = rounds[0][name][2]
            whole, train = ([each["dense"][part] / each[name][part] for each in rounds] for part in (0, 1))
            rows.append(
                (
                    model,
                    name,
                    f"{dense.physical_params / last.physical_params:.1f}",
                    f"{dense.physical_macs / last.physical_macs:.1f}",
                    f"{100 * last.accuracy:.2f}",
                    spread([each[name][0] for each in rounds]),
                    spread(whole),
                    spread(train),
                    f"{1 / last.train_flops_ratio:.2f}",
                )
            )
    head = ("network", "recipe", "params, x fewer", "MACs, x fewer", "validation, %", "s a trial", "x less time",
            "x less time in training steps", "x fewer training FLOPs")  # fmt: skip
    print(table(head, rows))


if __name__ == "__main__":
    main()
