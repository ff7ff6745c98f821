"""Counting what a network costs. Definitions are those of :mod:`prune_search.cost.metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import nn

from prune_search.cost.layers import prunable_layers, trace_positions


@dataclass(frozen=True)
class LayerCost:
    """One layer: its weight's shape and live entries, multiply-accumulates per input without, with zeros."""

    name: str
    kind: str
    shape: tuple[int, ...]
    live: int
    macs: int
    physical_macs: int


@dataclass(frozen=True)
class Cost:
    """What one network costs, per input, in eval mode.

    ``params`` and ``macs`` count non-zero entries only, ``physical_params`` and ``physical_macs`` all.
    ``prunable`` are the entries of Conv and Linear weights, ``live`` the non-zero ones among them.
    Norms, activations and biases cost no multiply-accumulates; Conv borders count like the inside.

    The ``dense_*`` fields describe the dense network, whose entries all count as non-zero (a fresh network
    has zero biases that training fills); without a dense network given, this network's own entries.
    """

    params: int
    macs: int
    physical_params: int
    physical_macs: int
    prunable: int
    live: int
    layers: tuple[LayerCost, ...]
    dense_params: int
    dense_macs: int
    dense_prunable: int

    @property
    def flops(self) -> int:
        """FLOP per input: 2 x ``macs``."""
        return 2 * self.macs

    @property
    def sparsity(self) -> float:
        """Zero or removed share of the dense network's Conv and Linear weights."""
        return 1 - self.live / self.dense_prunable if self.dense_prunable else 0.0

    @property
    def params_reduction(self) -> float:
        """Parameters of the dense network over ``params``."""
        return self.dense_params / self.params if self.params else inf

    @property
    def flops_reduction(self) -> float:
        """FLOP of the dense network over ``flops``."""
        return self.dense_macs / self.macs if self.macs else inf

    def against(self, dense: Cost) -> Cost:
        """The same cost, compared with ``dense`` (the cost of the network before anything was pruned)."""
        return replace(
            self,
            dense_params=dense.physical_params,
            dense_macs=dense.physical_macs,
            dense_prunable=dense.prunable,
        )

    def metrics(self) -> dict[str, float]:
        """The metrics of this cost, by the names of :data:`prune_search.cost.metrics.METRICS`."""
        names = ("sparsity", "params", "macs", "flops", "params_reduction", "flops_reduction")
        return {name: getattr(self, name) for name in (*names, "physical_params", "physical_macs")}


def cost_of(model: nn.Module, example_input: torch.Tensor, *, dense: Cost | None = None) -> Cost:
    """What ``model`` costs as it stands (remove first to count what an exported network costs).

    Args:
        model: Any module that takes one tensor; left untouched.
        example_input: [N, ...] on the model's device; only shape and dtype of one input matter.
        dense: Cost of the dense network, for ``sparsity`` and the reductions. Default: this network, all
            entries counted.
    """
    cost = count(model, trace_positions(model, example_input))
    return cost.against(dense) if dense else cost


def count(model: nn.Module, positions: Mapping[str, int]) -> Cost:
    """The cost from known positions: counts non-zero entries, runs no forward pass, synchronises once.

    Args:
        model: The network.
        positions: From :func:`~prune_search.cost.layers.trace_positions`. They stay valid while masks change
            and units or channels are removed.
    """
    parameters = list(model.parameters())
    with torch.no_grad():
        counted = torch.stack([torch.count_nonzero(p) for p in parameters]).tolist() if parameters else []
    nonzero = {id(p): n for p, n in zip(parameters, counted, strict=True)}
    prunable = prunable_layers(model)
    weights = [(name, layer, layer.weight) for name, layer in prunable.items()]
    weights += [(name, module, module.in_proj_weight) for name, module in _attentions(model)]
    layers = []
    for name, module, weight in weights:
        live, times = nonzero[id(weight)], positions[name]
        kind, shape = type(module).__name__, tuple(weight.shape)
        layers.append(LayerCost(name, kind, shape, live, live * times, weight.numel() * times))
    physical_params = sum(p.numel() for p in parameters)
    physical_macs = sum(layer.physical_macs for layer in layers)
    entries = sum(layer.weight.numel() for layer in prunable.values())
    return Cost(
        params=sum(counted),
        macs=sum(layer.macs for layer in layers),
        physical_params=physical_params,
        physical_macs=physical_macs,
        prunable=entries,
        live=sum(nonzero[id(layer.weight)] for layer in prunable.values()),
        layers=tuple(layers),
        dense_params=physical_params,
        dense_macs=physical_macs,
        dense_prunable=entries,
    )


def _attentions(model: nn.Module) -> list[tuple[str, nn.MultiheadAttention]]:
    found = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    return [(name, module) for name, module in found if module.in_proj_weight is not None]
