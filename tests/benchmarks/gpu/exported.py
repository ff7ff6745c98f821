"""Are the networks that a search wrote faster than the dense one where they will run?

    python -m tests.benchmarks.gpu.exported vgg-19 resnet-18 [--state DIR] [--batches 1 64 512] [--dtypes float32 bfloat16]

Takes searches of ``tests.benchmarks.gpu.front`` and the networks of their fronts, as data (batch norms folded), beside the dense network with its
batch norms folded; timed in turn. Prints the median ratio of latencies over the rounds with its range, and as a share of the
ratio of multiply-accumulates: 1 means that what was cut is saved in full.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from torch import nn

from prune_search import Result
from prune_search.cost import conditions, cost_of, latency_ms
from prune_search.export import NETWORK
from prune_search.export.load_safetensors import load
from prune_search.removal import remove
from prune_search.zoo.networks import BUILDERS

from .front import CLAIMS
from .keeping import restore, table

SHAPE = (3, 32, 32)


def networks(name: str, runs: Path, most: int) -> dict[str, nn.Module]:
    """The dense network, and those of the front, evenly chosen from the largest to the smallest."""
    example, found = torch.randn(2, *SHAPE), Result.load(name, runs=runs)
    torch.manual_seed(0)
    chosen = {"dense": remove(BUILDERS[CLAIMS[name].model](SHAPE, 10).eval(), example)}
    front = found.front.sort_values("physical_macs", ascending=False).index
    kept = [n for n in front if all((found.folder / "trials" / str(n) / file).exists() for file in NETWORK)]
    steps = [round(i * (len(kept) - 1) / max(1, most - 1)) for i in range(min(most, len(kept)))]
    return chosen | {f"trial {kept[i]}": load(found.folder / "trials" / str(kept[i])) for i in dict.fromkeys(steps)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("searches", nargs="+", choices=CLAIMS)
    parser.add_argument("--work", type=Path, default=Path("/tmp/prune-search-gpu"))
    parser.add_argument("--state", type=Path)
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 64, 512])
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--networks", type=int, default=4, help="of each front, at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    runs, rows = options.work / "runs", []
    restore(options.state, runs)
    for name in options.searches:
        made = networks(name, runs, options.networks)
        macs = {which: cost_of(network, torch.randn(1, *SHAPE)).physical_macs for which, network in made.items()}
        for dtype in options.dtypes:
            place = {"device": options.device, "dtype": getattr(torch, dtype)}
            moved = {which: network.to(**place).eval() for which, network in made.items()}
            for batch in options.batches:
                example = torch.randn(batch, *SHAPE).to(**place)
                times: dict[str, list[float]] = {which: [] for which in moved}
                for _ in range(options.rounds):
                    for which, network in moved.items():
                        times[which].append(latency_ms(network, example, min_seconds=0.2)[0])
                for which, own in times.items():
                    ratios, fewer = [d / t for d, t in zip(times["dense"], own)], macs["dense"] / macs[which]
                    median = statistics.median(ratios)
                    told = f"{median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})", f"{median / fewer:.2f}"
                    rows.append((name, which, f"{fewer:.1f}", dtype, batch, f"{statistics.median(own):.3f}", *told))
    print(conditions(example), "torch", torch.__version__)
    print(table(("search", "network", "MACs, x fewer", "dtype", "batch", "ms", "x faster", "of the MACs' ratio"), rows))


if __name__ == "__main__":
    main()
