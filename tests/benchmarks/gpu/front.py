"""How small does a network get on CIFAR-10 before it loses accuracy? A search that several calls go on with.

    python -m tests.benchmarks.gpu.front vgg-19 --archive cifar10-jpeg.tar.gz [--minutes 7] [--state DIR] [--out DIR] [--at-once 5]
    python -m tests.benchmarks.gpu.front vgg-19 --archive cifar10-jpeg.tar.gz --state DIR --out DIR --confirm

The first runs ``prune-search run``, or ``resume`` where ``--state`` has what an earlier call left in ``--out``, until the minutes are
over. The second trains the claimed configuration and the dense control on three new seeds: the most accurate trial that is small
enough, or where that loses too much, of those that do not the one that comes nearest to both ratios. Selection is by validation
accuracy; multiply-accumulates are those of the network after removal. The table comes last. ``--set`` goes to the search, as ``--set
training.epochs=2``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas

from prune_search import Result
from prune_search.search.confirm import CONFIRMED, Confirmed

from ..age import age
from .keeping import command, pack, pictures, restore, table

SPACES = Path(__file__).parents[3] / "search_spaces"
GRACE = 60  # seconds that trials get to end in after the last has begun
CLOSING = 40  # seconds for the front's test, the report and packing


@dataclass(frozen=True)
class Claim:
    """At least so many times fewer parameters and multiply-accumulates than dense at the loss of so many points."""

    space: str
    model: str
    params: float = 1.0
    macs: float = 1.0
    points: float = 1.0


CLAIMS = {
    "vgg-19": Claim("cifar10_vgg19.yaml", "vgg-19", 200.0, 60.0, 2.0),
    "resnet-18": Claim("cifar10_vgg19.yaml", "resnet-18-cifar", 200.0, 60.0, 2.0),
    "resnet-56": Claim("cifar10_resnet56.yaml", "resnet-56", 1.0, 2.1, 0.0),
    "methods-vgg-19": Claim("cifar10_methods.yaml", "vgg-19"),
    "methods-resnet-18": Claim("cifar10_methods.yaml", "resnet-18-cifar"),
}


def search(name: str, runs: Path, seconds: float, options: argparse.Namespace) -> None:
    claim, budget = CLAIMS[name], f"{max(1, round(seconds - GRACE - CLOSING))}s"
    if (runs / name / "space.yaml").exists():
        command(runs, "resume", name, "--time", budget)
        return
    values = [
        f"model.name={claim.model}",
        "data.name=folder",
        f"data.root={pictures(options.archive, options.work / 'cifar10')}",
        f"search.grace={GRACE}s",
        f"tracking.uri=sqlite:///{runs}/mlflow.db",
        *([f"resources.gpus_per_worker={1 / options.at_once}"] if options.device == "cuda" else []),
        *options.set,
    ]
    changed = [word for value in values for word in ("--set", value)]
    command(runs, "run", str(SPACES / claim.space), "--name", name, "--time", budget, *changed)


def compared(name: str, runs: Path) -> pandas.DataFrame:
    """Completed trials, the smallest last, each beside the most accurate dense one: ratios, and points of validation accuracy."""
    trials = Result.load(name, runs=runs).trials
    trials = trials[trials.state == "completed"].copy()
    if not (trials.recipe == "dense").any():
        sys.exit(f"{len(trials)} trials have completed, none of them dense: go on with --state first")
    dense = trials[trials.recipe == "dense"].sort_values("accuracy").iloc[-1]
    trials["control"] = trials.index == dense.name
    trials["params_ratio"] = dense.physical_params / trials.physical_params
    trials["macs_ratio"] = dense.physical_macs / trials.physical_macs
    trials["points"] = 100 * (trials.accuracy - dense.accuracy)
    return trials.sort_values("params_ratio")


def claimed(trials: pandas.DataFrame, claim: Claim) -> pandas.Series:
    """The most accurate small enough trial, if it loses no more than allowed; else the one furthest towards both ratios that does not."""
    small = trials[(trials.params_ratio >= claim.params) & (trials.macs_ratio >= claim.macs)]
    if len(small) and small.points.max() >= -claim.points:
        return small.loc[small.points.idxmax()]
    good = trials[trials.points >= -claim.points]
    reached = (good.params_ratio.clip(upper=claim.params) / claim.params) * (
        good.macs_ratio.clip(upper=claim.macs) / claim.macs
    )
    return good.loc[reached.idxmax()]


def confirmed(name: str, runs: Path) -> dict[int, Confirmed]:
    path = runs / name / CONFIRMED
    return {item["trial"]: Confirmed.of(item) for item in json.loads(path.read_text())} if path.exists() else {}


def shown(name: str, runs: Path) -> str:
    claim, trials = CLAIMS[name], compared(name, runs)
    head = ("trial", "recipe", "params, x fewer", "MACs, x fewer", "validation, %", "points", "test, %",
            "training FLOPs, x fewer", "s")  # fmt: skip
    rows = [
        (
            number,
            row.recipe,
            f"{row.params_ratio:.1f}",
            f"{row.macs_ratio:.1f}",
            f"{100 * row.accuracy:.2f}",
            f"{row.points:+.2f}",
            f"{100 * row.test_accuracy:.2f}" if not math.isnan(row.get("test_accuracy", math.nan)) else "",
            f"{1 / row.train_flops_ratio:.2f}",
            f"{row.device_seconds:.0f}",
        )
        for number, row in trials.iterrows()
    ]
    point = claimed(trials, claim)
    lines = [
        table(head, rows),
        f"asked: {claim.params:g} x fewer parameters and {claim.macs:g} x fewer MACs within {claim.points:g} points; trial {point.name}: "
        f"{point.params_ratio:.1f} x, {point.macs_ratio:.1f} x, {point.points:+.2f} points (validation, one seed)",
    ]
    means = confirmed(name, runs)
    control = means.get(trials.index[trials.control][0])
    for trial, item in means.items():
        difference, error = item.difference(control)
        lines.append(
            f"trial {trial}, {len(item.values['test_accuracy'])} new seeds, test accuracy: {100 * item.mean('test_accuracy'):.2f} "
            f"+- {100 * item.error('test_accuracy'):.2f} %, to dense {100 * difference:+.2f} +- {100 * error:.2f} points"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claim", choices=CLAIMS)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/prune-search-gpu"), help="the same in every call")
    parser.add_argument("--state", type=Path, help="where the last call's --out lies")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--at-once", type=int, default=5)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--confirm", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    deadline = time.monotonic() - age() + 60 * options.minutes
    runs = options.work / "runs"
    restore(options.state, runs)
    try:
        if options.confirm:
            pictures(options.archive, options.work / "cifar10")
            trials = compared(options.claim, runs)
            numbers = {int(claimed(trials, CLAIMS[options.claim]).name), int(trials.index[trials.control][0])}
            chosen = [word for number in sorted(numbers) for word in ("--trial", str(number))]
            command(runs, "confirm", options.claim, *chosen, "--seeds", "3")
        else:
            search(options.claim, runs, deadline - time.monotonic(), options)
    finally:
        left = pack(runs, options.out) if options.out else []
    if left:
        print(f"too large to keep: {', '.join(left)}")
    print(shown(options.claim, runs))


if __name__ == "__main__":
    main()
