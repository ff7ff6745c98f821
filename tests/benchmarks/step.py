"""What does a training step cost, and what would make it cheaper? Ratios to this project's own step, alternating.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.step [--models NAME ...] [--rounds 7] [--steps 40] [--device cpu]

lenet-300-100 (batch 64) and ResNet-20 (batch 128) on random images, a layer's smallest half masked: the loop of a trial (fused
optimizer, masks at parameters, channels_last); the same without masks, with the other layout in memory, under bfloat16 autocast,
with an optimizer that takes one tensor at a time; a loop of plain torch; and torch.compile, whose seconds of compiling are printed
beside the steps after which they are earned back.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch.nn import functional as F

from prune_search.pruning.pruner import Pruner
from prune_search.pruning.recipe import resolve
from prune_search.spec.config import SgdConfig
from prune_search.training.optim import build_optimizer
from prune_search.zoo.networks import BUILDERS
from tests.benchmarks.neq import ratios, show

TASKS = {"lenet-300-100": (64, (1, 28, 28)), "resnet-20": (128, (3, 32, 32))}
SGD = SgdConfig(lr=0.01, momentum=0.9, weight_decay=5e-4)
RECIPE = {"preset": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.5}}, "dense_epochs": 1}


def loop(
    name: str, steps: int, device: str, *, masks: bool = True, last: bool = True, half: bool = False, how: str = "fused"
) -> Callable[[], None]:
    """So many training steps as a call."""
    batch, shape = TASKS[name]
    torch.manual_seed(0)
    model = BUILDERS[name](shape, 10).to(device)
    inputs, labels = torch.randn(batch, *shape, device=device), torch.randint(10, (batch,), device=device)
    if last:
        model.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last)
    if how == "fused":
        optimizer = build_optimizer(model.parameters(), SGD)
    else:
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4, foreach=how == "foreach")
    if masks:
        pruner = Pruner(model, resolve(RECIPE), optimizer=optimizer, epochs=10)
        pruner.epoch_start()
        pruner.epoch_end(loss=1.0, accuracy=0.5)
        model = pruner.model
    trained = torch.compile(model) if how == "compiled" else model
    model.train()

    def run() -> None:
        for _ in range(steps):
            with torch.autocast(device, torch.bfloat16) if half else nullcontext():
                loss = F.cross_entropy(trained(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print(f"{options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in options.models:
        steps = options.steps if name == "lenet-300-100" else max(1, options.steps // 20)
        make = lambda name=name, steps=steps, **how: loop(name, steps, options.device, **how)
        compiled = make(how="compiled")
        started = time.perf_counter()
        compiled()
        first = time.perf_counter() - started
        runs = {
            "of a trial": make(),
            "without masks": make(masks=False),
            "channels first": make(last=False),
            "bfloat16": make(half=True),
            "optimizer for each": make(how="for"),
            "optimizer foreach": make(how="foreach"),
            "plain torch": make(masks=False, last=False, how="foreach"),
            "compiled": compiled,
        }
        started = time.perf_counter()
        found = ratios(options.rounds, options.device, runs)
        show(f"{name}: {steps} steps, masks at half of the weights", found)
        own = (time.perf_counter() - started) / (options.rounds + 1) / sum(map(statistics.median, found.values()))
        gain = (1 - statistics.median(found["compiled"])) * own / steps
        earned = f"earned back after {first / gain:.0f} steps" if gain > 0 else "never earned back"
        print(f"  a trial's step {own / steps * 1e6:.0f} us; compiling {first:.1f} s, {earned}", flush=True)


if __name__ == "__main__":
    main()
