"""The channels of a network that can be pruned, each with all the entries that go with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from prune_search.removal.network import follow


@dataclass(frozen=True)
class Channels:
    """Channels numbered from 0; one is all that goes together: rows of coupled layers, entries of norms and biases.

    Attributes:
        count: How many there are.
        rows: Weight of a Conv or Linear -> int64 [O], the channel of each row; -1 where it has none.
        columns: Weight -> int64 [I], the channel that each input belongs to, or -1. Not of grouped layers.
        beside: Other parameter with one entry for each channel (bias, scale of a norm) -> int64 [C], or -1.
        activations: Step of ``graph`` that is an activation -> its channels' dimension, and int64 [C], or -1.
        graph: The network in eval mode, with its own tensors.
    """

    count: int
    rows: dict[str, Tensor]
    columns: dict[str, Tensor]
    beside: dict[str, Tensor]
    activations: dict[str, tuple[int, Tensor]]
    graph: fx.GraphModule

    def per_unit(self, family: Tensor) -> dict[str, int]:
        """How many rows of each weight a channel of a family has."""
        return {name: int((rows == family[0]).sum()) for name, rows in self.rows.items() if (rows == family[0]).any()}

    def families(self, weights: Collection[str]) -> dict[str, Tensor]:
        """Channels with rows of the same weights, equally many -> their numbers, int64 ascending.

        Channels that have a row outside of ``weights`` are left out. A family is called after its weights.
        """
        counts = [torch.bincount(rows[rows >= 0], minlength=self.count) for rows in self.rows.values()]
        kinds, kind = torch.stack(counts).unique(dim=1, return_inverse=True)
        found = {}
        for i, kinds_counts in enumerate(kinds.T):
            names = [name for name, count in zip(self.rows, kinds_counts.tolist(), strict=True) if count]
            if set(names) <= set(weights):
                found[" + ".join(names) + f" [{i}]"] = (kind == i).nonzero().squeeze(1)
        return found


@torch.no_grad()
def channels(model: nn.Module, example_input: Tensor) -> Channels:
    """Every channel of ``model`` that is tied to no input, no output and nothing that cannot be followed.

    Args:
        example_input: [N, ...]; only shape and dtype of one input matter.

    Raises:
        Untraceable: torch.fx cannot follow the model.
    """
    network = follow(model, example_input)
    unit, pinned = network.units.settle()
    layers = {layer.weight: layer for layer in (*network.layers, *network.train_layers)}
    free = torch.zeros(int(unit.max()) + 1, dtype=torch.bool)
    for layer in layers.values():
        free[unit[layer.outputs]] = True
    free[list(pinned)] = False
    number = torch.where(free, free.cumsum(0) - 1, -1)
    parameters = dict(model.named_parameters())
    others = {name: ids for name, ids in network.units.rows.items() if name in parameters and name not in layers}
    return Channels(
        int(free.sum()),
        {weight: number[unit[layer.outputs]] for weight, layer in layers.items()},
        {weight: number[unit[layer.inputs]] for weight, layer in layers.items() if layer.groups == 1},
        {name: number[unit[ids]] for name, ids in others.items()},
        {step: (axis, number[unit[ids]]) for step, (axis, ids) in network.activations.items()},
        network.graph,
    )
