"""Is every classifier of torchvision the same after removal, and how much is left of it?

    python -m tests.benchmarks.removal [MODEL ...] [--shares 0.25 0.5 0.9]

Zeroes that share of the channels of every Conv and Linear but the last, draws norms and biases at random, estimates batch
norm statistics on two batches, removes, and prints for each model: MACs and parameters left; the largest difference in
float32 as a share of the logits' scale, beside how far the masked network in float32 is from itself in float64 (less than that
means nothing); the largest difference in float64 as a share of the logits' spread between 8 inputs, and that spread as a share
of their scale; seconds that removal took in float32; what stayed whole, and why. Models of more than 100 million parameters are
done at 0.5 only.
"""

from __future__ import annotations

import argparse
import copy
import re
import time
from collections import Counter

import torch
import torchvision

from prune_search.cost import cost_of
from prune_search.removal import explain, remove
from tests.removal.zeroed import zeroed

PIXELS = {"inception_v3": 299, "alexnet": 224, "vit_h": 56, "maxvit": 224}
HUGE = 100_000_000


def pixels(name: str) -> int:
    return next((size for prefix, size in PIXELS.items() if name.startswith(prefix)), 64)


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name.startswith("vit"):
        options["image_size"] = pixels(name)
    model = torchvision.models.get_model(name, weights=None, **options)
    heads = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and not m.weight.any()]
    for head in heads:  # some models start with a head of zeros: every input has the same logits
        torch.nn.init.normal_(head.weight, 0, 0.02)
    for key, value in model.named_parameters():
        if key.endswith("layer_scale"):  # starts at 1e-6: nobody would hear the block
            torch.nn.init.uniform_(value, 0.1, 0.3)
    return model


@torch.no_grad()
def row(name: str, share: float) -> list[str]:
    size = pixels(name)
    model = zeroed(build(name), share, linear=True, shape=(8, 3, size, size))
    x = torch.rand(2, 3, size, size)
    started = time.perf_counter()
    small = remove(model, x, fold_batchnorm=False)
    seconds = time.perf_counter() - started
    before, after = model(x), small(x)
    single = float((before - after).abs().max() / before.abs().max())
    dense, left = cost_of(model, x), cost_of(small, x)
    whole = Counter(re.sub("'[^']*'", "a step", reason) for _, reason in explain(model, x))
    model = model.double()
    rounding = float((before - model(x.double())).abs().max() / before.abs().max())
    small = remove(model, x.double(), fold_batchnorm=False)
    x = torch.rand(8, 3, size, size, dtype=torch.float64)
    before, after = model(x), copy.deepcopy(small)(x)
    spread = float(before.std(0).max())
    double = float((before - after).abs().max()) / spread if spread else float("nan")
    return [
        name,
        f"{share:.0%}",
        f"{left.physical_macs / dense.physical_macs:.3f}",
        f"{left.physical_params / dense.physical_params:.3f}",
        f"{single:.1e}",
        f"{rounding:.1e}",
        f"{double:.1e}",
        f"{spread / float(before.abs().max()):.1e}",
        f"{seconds:.1f}",
        "; ".join(f"{count} x {reason}" for reason, count in whole.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.25, 0.5, 0.9])
    options = parser.parse_args()
    print("| model | zeroed | MACs left | params left | float32 | its rounding | float64 | spread | s | whole |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.models or torchvision.models.list_models(module=torchvision.models):
        huge = sum(parameter.numel() for parameter in build(name).parameters()) > HUGE
        for share in [0.5] if huge else options.shares:
            try:
                cells = row(name, share)
            except Exception as error:  # the table goes on
                cells = [name, f"{share:.0%}", f"FAILED {type(error).__name__}: {error}"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
