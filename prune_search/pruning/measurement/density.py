"""The share of activations that are not zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from prune_search.pruning.context import Context, Passes, measurement
from prune_search.pruning.measurement.gradient import BATCH
from prune_search.pruning.traceless import traceless
from prune_search.removal.activations import gives_zeros
from prune_search.removal.channels import Channels

SMALL = 0.01


@measurement("density", needs=("example_input", "probe"))
def density(context: Context, *, images: int) -> tuple[Tensor, Passes]:
    """Activation density of every channel, float64 [count] on the CPU: non-zero entries of all activations that follow the
    channel, over all their entries; NaN for a channel that none follows.

    Counted behind the activation and before any pooling, on the probe in eval mode, summed over batches in int64 on the
    device. Activations without exact zeros (GELU, SiLU, tanh, ...) count an entry from 0.01 of the batch's root mean square
    on. A residual stream pools the counts of all its activations.
    """
    channels, (inputs, _) = context.measure("channels"), context.probe(images)
    with traceless(context.model), torch.no_grad():
        counter = _Counter(channels, inputs.device)
        for batch in inputs.split(BATCH):
            counter.run(batch)
    found, entries = counter.counts[:, :-1].cpu().double()
    return found / entries, Passes(forward=len(inputs))


class _Counter(fx.Interpreter):
    """Runs the graph; ``counts``: int64 [2, count + 1], non-zero and all entries of each channel, and of the others."""

    def __init__(self, channels: Channels, device: torch.device) -> None:
        super().__init__(channels.graph)
        self._modules = dict(channels.graph.named_modules())
        self._watched = {
            name: (axis, torch.where(ids < 0, channels.count, ids).to(device))
            for name, (axis, ids) in channels.activations.items()
        }
        self.counts = torch.zeros(2, channels.count + 1, dtype=torch.int64, device=device)

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        if node.name in self._watched:
            axis, ids = self._watched[node.name]
            module = self._modules.get(node.target) if node.op == "call_module" else None
            values = result.detach().movedim(axis, 0).flatten(1)
            least = 0.0 if gives_zeros(node, module) else SMALL * values.float().square().mean().sqrt()
            nonzero = (values.abs() > least).sum(1)
            self.counts[0].index_add_(0, ids, nonzero)
            self.counts[1].index_add_(0, ids, torch.full_like(nonzero, values.shape[1]))
        return result
