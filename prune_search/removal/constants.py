"""What a layer must add once constant channels are cut from its input."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_search.removal.layers import Layer, pads
from prune_search.removal.values import along


@dataclass(frozen=True)
class Constant:
    """What the inputs cut from a layer gave, float64, for its outputs before cutting: one of three.

    ``bias`` [O], to add to the parameter ``into``; ``kernel`` [O, 1, *kernel] where zero padding meets a constant; ``map``
    [1, O, ...] else.
    """

    into: str
    bias: Tensor | None = None
    kernel: Tensor | None = None
    map: Tensor | None = None


def constant_of(layer: Layer, cut: Tensor, module: nn.Module | None) -> Constant | None:
    """What the inputs ``cut``, bool [I], give a layer without groups; None if nothing.

    Args:
        module: The Conv or Linear, or None for a functional layer.
    """
    inputs = layer.constant * along(cut, layer.axis, layer.constant.dim())
    if layer.groups > 1 or not inputs.any():
        return None
    into = layer.bias or f"{layer.weight.removesuffix('weight')}bias"
    added = layer.run(inputs) - layer.run(torch.zeros_like(inputs))
    each, flat = (value.movedim(layer.axis, 0).flatten(1) for value in (added, inputs))
    if layer.window and module is not None and pads(module):  # even at this size, perhaps, but not at others
        if not bool((flat == flat[:, :1]).all()):
            return Constant(into, map=added)
        weight = module.weight.detach().cpu().double()
        return Constant(into, kernel=(weight * along(flat[:, 0], 1, weight.dim())).sum(1, keepdim=True))
    if module is None and layer.window or (each - each[:, :1]).abs().max() > 1e-12 * each.abs().max():
        return Constant(into, map=added)
    return Constant(into, bias=each[:, 0]) if each.any() else None
