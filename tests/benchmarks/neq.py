"""What does a frozen neuron save, and what does watching cost? NEq beside the plain loop, alternating.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.neq [--rounds 7] [--steps 10] [--device cpu]

First: the weight gradient alone of a 3x3 convolution of 64 to 64 channels at 32x32, batch 32, by rows that are active. Then
whole training steps of ResNet-20 on random images, batch 128: the plain loop, NEq with nothing frozen (threshold -1), and
with shares of every layer's rows frozen; and an epoch of NEq with nothing frozen and its two probe passes of 50 images.
Ratios to the plain loop of the same round: median (least to most).
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_search.pruning.backward.neq import NEq
from prune_search.pruning.pruner import Pruner
from prune_search.pruning.recipe import resolve
from prune_search.pruning.sliced import slice_gradient
from prune_search.zoo.networks.resnet import cifar_resnet


def seconds(run: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def ratios(rounds: int, device: str, runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each run as a ratio to those of the first, round by round, another one first in each; one untimed round before."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for i in range(rounds + 1):
        turn = i % len(names)
        times = {name: seconds(runs[name], device) for name in names[turn:] + names[:turn]}
        if i:
            for name, value in times.items():
                found[name].append(value / times[next(iter(runs))])
    return found


def show(title: str, found: dict[str, list[float]]) -> None:
    print(title)
    for name, values in found.items():
        print(f"  {name:24} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})", flush=True)


def weight_gradients(rounds: int, device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(32, 64, 32, 32, generator=generator).to(device)
    runs = {}
    for active in (64, 48, 32, 16, 8, 1):
        layer = nn.Conv2d(64, 64, 3, padding=1, bias=False).to(device)
        if active < 64:
            slice_gradient(layer, torch.arange(active, device=device))
        output = layer(value)
        slope = torch.randn_like(output)

        def run(output: Tensor = output, layer: nn.Module = layer, slope: Tensor = slope) -> None:
            for _ in range(5):
                torch.autograd.grad(output, layer.weight, slope, retain_graph=True)

        runs[f"{active} of 64 rows"] = run
    show("weight gradient, by active rows", ratios(rounds, device, runs))


def training(rounds: int, steps: int, device: str) -> None:
    torch.manual_seed(0)
    inputs, labels = torch.randn(128, 3, 32, 32, device=device), torch.randint(10, (128,), device=device)
    base = cifar_resnet((3, 32, 32), 10, 20).to(device)

    def loop(share: float | None) -> tuple[nn.Module, torch.optim.Optimizer, Pruner | None]:
        model = copy.deepcopy(base)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        if share is None:
            return model, optimizer, None
        recipe = resolve({"preset": "neq", "backward": {"neq": {"threshold": -1.0}}})
        probe = lambda images, **_: (inputs[:images], labels[:images])
        return model, optimizer, Pruner(model, recipe, optimizer=optimizer, epochs=1000, probe=probe)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        model.train()
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()

    def still(share: float) -> Callable:
        def chosen(part: NEq, context: object, still: dict) -> dict[str, Tensor]:
            widths = {n: len(m.weight) for n, m in base.named_modules() if hasattr(m, "weight") and n != "fc"}
            head = [name for name, module in base.named_modules() if isinstance(module, nn.Linear)][-1]
            return {
                f"{n}.weight": torch.arange(w, device=device) < round(share * w) for n, w in widths.items() if n != head
            }

        return chosen

    runs: dict[str, Callable[[], object]] = {}
    plain = loop(None)
    runs["plain"] = lambda: train(*plain[:2])
    for share in (0.0, 0.5, 0.875, 1.0):
        model, optimizer, pruner = loop(share)
        with mock.patch.object(NEq, "_chosen", still(share)):
            pruner.epoch_start()
        runs[f"{share:.1%} frozen"] = lambda model=model, optimizer=optimizer: train(model, optimizer)
    model, optimizer, pruner = loop(0.0)

    def epoch() -> None:
        pruner.epoch_start()
        train(model, optimizer)
        pruner.record(loss=1.0, accuracy=0.5)

    runs[f"epoch of {steps} steps"] = epoch
    show(f"{steps} training steps of ResNet-20, batch 128", ratios(rounds, device, runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print(f"{options.device}, float32, {torch.get_num_threads()} threads, torch {torch.__version__}")
    weight_gradients(options.rounds, options.device)
    training(options.rounds, options.steps, options.device)


if __name__ == "__main__":
    main()
