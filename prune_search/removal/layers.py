"""What layers with weights do to channels, and what is noted of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_search.removal.adapted import CLASSES
from prune_search.removal.units import Units
from prune_search.removal.values import Value, along

CONV_FUNCTIONS = frozenset({F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d})


@dataclass(frozen=True)
class Layer:
    """One Conv or Linear in the graph.

    Attributes:
        weight, bias: names of its parameters.
        groups: of the convolution.
        axis: of its channels: 1, or -1 for Linear.
        inputs, outputs: ids, int64 [I] and [O].
        window: whether it reads several positions at once.
        reads: bool [O, I / groups], weights that are not 0.
        alive: bool [I], inputs that may depend on the network's input.
        constant: float64, the other inputs' values, 0 at those alive; batch of one.
        sized: bool [I] and [O], inputs and outputs whose constants hold for maps of this size only.
        run: the layer as a function, float64, on the CPU.
    """

    weight: str
    bias: str | None
    groups: int
    axis: int
    inputs: Tensor
    outputs: Tensor
    window: bool
    reads: Tensor
    alive: Tensor
    constant: Tensor
    sized: tuple[Tensor, Tensor]
    run: Callable[[Tensor], Tensor]


def layer(
    value: Value,
    names: tuple[str, str | None],
    tensors: Mapping[str, Tensor],
    groups: int,
    axis: int,
    module: nn.Module | None,
    run: Callable[[Tensor], Tensor],
    shape: torch.Size,
    units: Units,
) -> tuple[Layer, Value]:
    """A Conv or Linear: an output channel is alive if a weight that is not 0 reads one that is.

    A constant that a zero padding went into holds for one size of maps. A module can refuse others; the outputs of a function
    count as alive then.

    Args:
        value: What it reads.
        names: Of its weight and bias.
        tensors: Its weight and bias.
        module: None for a functional layer.
        run: As in :class:`Layer`.
        shape: Of its output.
    """
    weight = tensors["weight"]
    inputs, alive, constant, sized = value.channels(axis)
    outputs = units.of(names[0], len(weight))
    if names[1]:
        units.unify(units.of(names[1], len(weight)), outputs)
    if groups > 1:  # a group is kept or cut as a whole
        grouped = torch.cat([inputs.view(groups, -1), outputs.view(groups, -1)], 1)
        units.unify_along(grouped, 1)
    reads = ((weight != 0).flatten(2).any(2) if weight.dim() > 2 else weight != 0).cpu()
    reading = lambda those: (reads & those.view(groups, -1).repeat_interleave(len(weight) // groups, 0)).any(1)
    living, window = reading(alive), weight.dim() > 2 and weight[0, 0].numel() > 1
    padded = constant.movedim(axis, 0).flatten(1).any(1) & (window and (module is None or pads(module)))
    bound = reading(sized | padded) & ~living
    if module is None:
        living, bound = living | bound, torch.zeros_like(bound)
    noted = Layer(*names, groups, axis, inputs, outputs, window, reads, alive, constant, (sized, bound), run)
    plain = module is None or type(module) in CLASSES
    result = _bias(tensors.get("bias"), shape, axis) if plain and not constant.any() else run(constant)
    spread = [along(each, axis, result.dim()) for each in (outputs, living, bound)]
    return noted, Value.of(*spread[:2], result, spread[2])


def _bias(bias: Tensor | None, shape: torch.Size, axis: int) -> Tensor:
    """What a layer makes of zeros."""
    value = torch.zeros((), dtype=torch.float64)
    return (value if bias is None else along(bias.detach().cpu().double(), axis, len(shape))).expand(shape)


def pads(module: nn.Module) -> bool:
    """Whether a layer reads zeros from outside of its maps."""
    if isinstance(module, nn.Linear) or module.padding_mode != "zeros":
        return False
    return module.padding == "same" or not isinstance(module.padding, str) and any(module.padding)


def norm(value: Value, names: list[str], gamma: Tensor | None, run: Callable, units: Units) -> Value:
    """Batch norm as in eval mode, or any layer with one parameter per channel: a channel scaled by 0 is constant."""
    ids, alive, constant, sized = value.channels(1)
    for name in names:
        units.unify(units.of(name, len(ids)), ids)
    if gamma is not None:
        alive = alive & (gamma != 0).cpu()
    dims = value.ids.dim()
    return Value.of(value.ids, along(alive, 1, dims), run(constant), along(sized, 1, dims))
