"""Is a network with half of its channels really faster? This project's removal beside Torch-Pruning's at the same widths.

    pip install torch-pruning
    python -m tests.benchmarks.latency [--models vgg-16 vgg-19 resnet18 resnet50] [--batch 32] [--device cpu] [--dtype float32]

The same channels go in both: a random half of every group of coupled channels, zeroed for ``remove`` (batch norms folded)
and sliced by Torch-Pruning (folded by ``torch.fx``). Dense (folded), ours and theirs are timed in turn, so that a slow minute
strikes all. Prints multiply-accumulates left, the median ratio of latencies over the rounds with its range, and that ratio
relative to the one of multiply-accumulates: 1 means that what was cut is saved in full.
"""

from __future__ import annotations

import argparse
import copy
import statistics

import torch
import torch_pruning
import torchvision
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from prune_search.cost import conditions, cost_of, latency_ms
from prune_search.removal import remove
from prune_search.removal.channels import channels
from prune_search.zoo.networks.vgg import vgg

DEPTHS = {"vgg-16": 16, "vgg-19": 19}


def build(name: str, pixels: int) -> nn.Module:
    torch.manual_seed(0)
    if name in DEPTHS:
        return vgg((3, pixels, pixels), 10, DEPTHS[name]).eval()
    return torchvision.models.get_model(name, weights=None).eval()


@torch.no_grad()
def gone(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """Weight -> rows that go, bool [O]: half of the channels of each family, at random."""
    found, generator = channels(model, example), torch.Generator().manual_seed(0)
    dead = torch.zeros(found.count + 1, dtype=torch.bool)
    for members in found.families(list(found.rows)).values():
        order = torch.randperm(len(members), generator=generator)
        dead[members[order[: len(members) // 2]]] = True
    return {name: dead[rows] for name, rows in found.rows.items()} | {
        name: dead[rows] for name, rows in found.beside.items()
    }


@torch.no_grad()
def ours(model: nn.Module, example: Tensor, rows: dict[str, Tensor]) -> nn.Module:
    masked = copy.deepcopy(model)
    for name, parameter in masked.named_parameters():
        if name in rows:
            parameter[rows[name].view(parameter.shape[0])] = 0
    return remove(masked, example)


def theirs(model: nn.Module, example: Tensor, rows: dict[str, Tensor]) -> nn.Module:
    small = copy.deepcopy(model)
    graph = torch_pruning.DependencyGraph().build_dependency(small, example_inputs=example)
    done: set[str] = set()
    for name, module in small.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and name not in done and rows[f"{name}.weight"].any():
            indices = rows[f"{name}.weight"].nonzero().squeeze(1).tolist()
            prune = (
                torch_pruning.prune_conv_out_channels
                if isinstance(module, nn.Conv2d)
                else torch_pruning.prune_linear_out_channels
            )
            group = graph.get_pruning_group(module, prune, idxs=indices)
            done |= {graph._module2name[dep.target.module] for dep, _ in group if dep.handler in (prune,)}
            group.prune()
    return fuse(small.eval())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["vgg-16", "vgg-19", "resnet18", "resnet50"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("| model | pixels | MACs left | latency ratio ours | theirs | ours / MACs | theirs / MACs | dense ms |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.models:
        pixels = 32 if name in DEPTHS else 128
        model, example = build(name, pixels), torch.randn(options.batch, 3, pixels, pixels)
        rows = gone(model, example)
        networks = {
            "dense": fuse(copy.deepcopy(model)),
            "ours": ours(model, example, rows),
            "theirs": theirs(model, example, rows),
        }
        macs = {which: cost_of(network, example[:1]).physical_macs for which, network in networks.items()}
        assert macs["ours"] == macs["theirs"], macs
        place = {"device": options.device, "dtype": getattr(torch, options.dtype)}
        example = example.to(**place)
        networks = {which: network.to(**place) for which, network in networks.items()}
        times = {which: [] for which in networks}
        for _ in range(options.rounds):
            for which, network in networks.items():
                times[which].append(latency_ms(network, example, warmup=2)[0])
        fewer = macs["dense"] / macs["ours"]
        cells = [name, str(pixels), f"{1 / fewer:.3f}"]
        ratios = {w: [d / t for d, t in zip(times["dense"], times[w])] for w in ("ours", "theirs")}
        cells += [f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios.values()]
        cells += [f"{statistics.median(r) / fewer:.2f}" for r in ratios.values()]
        print("| " + " | ".join([*cells, f"{statistics.median(times['dense']):.2f}"]) + " |", flush=True)
    print(conditions(example), "torch", torch.__version__, "torch-pruning", torch_pruning.__version__)


if __name__ == "__main__":
    main()
