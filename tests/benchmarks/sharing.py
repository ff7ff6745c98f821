"""What does it save that trials take over epochs of each other? A search over pruning only, with and without, alternating.

    python -m tests.benchmarks.sharing --root data [--trials 40] [--rounds 3] [--workers 2]

MNIST, lenet-300-100, 12,000 images, 10 epochs of which the first 3 are dense; rates, scores, schedules and stopping thresholds are
sampled at random, nobody is stopped. Prints the device seconds of all trials with sharing over those without, for each round, the
share of training FLOPs really spent, and whether all reports are the same, seconds aside.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

from prune_search.search.driver import Search
from prune_search.search.layout import Layout
from prune_search.spec import load_spec
from prune_search.training.files import read_reports

SPACE = """
name: sharing
data: {name: MNIST, root: ROOT, train_size: 12000, validation_size: 2000}
model: lenet-300-100
training: {epochs: 10, batch_size: 64, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
recipe:
  choices:
    magnitude:
      dense_epochs: 3
      score: {choices: [magnitude, layer-magnitude, loss-sensitivity]}
      schedule: {choices: {one-shot: {final_sparsity: {low: 0.5, high: 0.99}}, cubic: {final_sparsity: {low: 0.5, high: 0.99}}}}
    dyprune: {dense_epochs: 3, schedule.b: {low: 7.0, high: 20.0}, stopping.max_gradient: {low: 0.01, high: 0.3, log: true}}
objectives: {accuracy: maximize, params: minimize}
"""
SPENT = ("seconds", "device_seconds", "train_flops_spent")


def searched(options: argparse.Namespace, folder: Path, reuse: bool) -> tuple[float, float, list[list[dict]]]:
    """Device seconds, training FLOPs spent over those needed, reports by trial."""
    path = folder / "sharing.yaml"
    path.write_text(SPACE.replace("ROOT", str(options.root.absolute())))
    changes = [
        f"search={{sampler: random, trials: {options.trials}, concurrency: {options.workers}, early_stopping: none, deterministic: true}}",
        f"search.reuse={str(reuse).lower()}",
    ]
    layout: Layout
    search = Search(load_spec(path, changes), runs=folder, name=f"reuse-{reuse}")
    search.run()
    layout = search.layout
    trials = [read_reports(layout.trial(number)) for number in range(options.trials)]
    last = [reports[-1] for reports in trials]
    spent = sum(report.train_flops_spent for report in last) / sum(report.train_flops for report in last)
    kept = [[{k: v for k, v in asdict(r).items() if k not in SPENT} for r in reports] for reports in trials]
    return sum(report.device_seconds for report in last), spent, kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            both = (True, False) if number % 2 else (False, True)
            found = {reuse: searched(options, Path(name), reuse) for reuse in both}
        ratios.append(found[True][0] / found[False][0])
        same = found[True][2] == found[False][2]
        print(
            f"with {found[True][0]:.1f} s, without {found[False][0]:.1f} s: {ratios[-1]:.3f}; FLOPs spent {found[True][1]:.3f}; "
            f"reports {'the same' if same else 'DIFFER'}",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
