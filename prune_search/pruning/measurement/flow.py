"""The correlation between the nodes of layers that feed each other: information flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prune_search.cost.layers import PRUNABLE
from prune_search.pruning.context import Context, Passes, measurement
from prune_search.pruning.measurement.gradient import BATCH
from prune_search.pruning.pairing import layer_pairs
from prune_search.pruning.traceless import traceless

CONSTANT = 1e-6


@measurement("correlation", needs=("probe",))
def correlation(context: Context, *, images: int) -> tuple[list[Tensor], Passes]:
    """C = Z_l^T Z_m / N for each pair of layers, float64 [C_l, C_m], by execution order of m.

    Z are the standardised :func:`node_values` on the probe, in eval mode. The products themselves are not counted:
    they cost no more than the layers' own weights would as Linear layers.
    """
    inputs, _ = context.probe(images)
    with traceless(context.model), torch.no_grad():
        called, values = node_values(context.model, inputs)
        pairs = layer_pairs(context.model, called)
        nodes = [standardised(value) for value in values]
        return [nodes[a].T @ nodes[b] / len(inputs) for a, b in pairs], Passes(forward=len(inputs))


def node_values(model: nn.Module, inputs: Tensor) -> tuple[list[str], list[Tensor]]:
    """Names and raw outputs, float64 [N, C], of every call of a Conv or Linear in execution order.

    A node is a unit of a Linear, averaged over positions, or a channel of a Conv, averaged over space.
    """
    batches, handles = [], []

    def watch(name: str, layer: nn.Module) -> None:
        def hook(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
            maps = output.movedim(-1, 1) if isinstance(layer, nn.Linear) else output
            batches[-1].append((name, maps.reshape(*maps.shape[:2], -1).mean(2, dtype=torch.float64)))

        handles.append(layer.register_forward_hook(hook))

    for name, module in model.named_modules():
        if isinstance(module, PRUNABLE):
            watch(name, module)
    try:
        for batch in inputs.split(BATCH):
            batches.append([])
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    calls = list(zip(*batches, strict=True))
    return [call[0][0] for call in calls], [torch.cat([value for _, value in call]) for call in calls]


def standardised(values: Tensor) -> Tensor:
    """Each node, a column of ``values`` [N, C], less its mean, over its population standard deviation; two passes.

    Zero where that is 0 or below 1e-6 of the layer's median. The first image is taken off before, so that a constant
    node has exactly 0 and not a rounding error.
    """
    centred = values - values[:1]
    centred = centred - centred.mean(0)
    deviation = centred.square().mean(0).sqrt()
    constant = (deviation == 0) | (deviation < CONSTANT * deviation.median())
    return torch.where(constant, 0.0, centred / deviation)
