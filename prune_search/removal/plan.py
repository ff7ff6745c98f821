"""Which units to cut, and cutting them in place. No forward pass, no data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prune_search.removal.chains import Link, find_chains
from prune_search.removal.optimizers import carry
from prune_search.removal.slicing import Kept, slice_like

__all__ = ["Plan", "Removed", "apply", "dead_units", "slice_like"]


@dataclass(frozen=True)
class Plan:
    """What to cut.

    Attributes:
        units: Linear layer -> int64 indices of the units it keeps; layers that keep all are not in it.
        inputs: Linear layer -> int64 indices of the inputs it keeps.
        constants: Linear layer -> float64 [units before cutting], to be added to its bias.
    """

    units: dict[str, Tensor]
    inputs: dict[str, Tensor]
    constants: dict[str, Tensor]

    def __bool__(self) -> bool:
        return bool(self.units)


@dataclass(frozen=True)
class Removed:
    """What was cut: for each parameter that shrank the int64 indices kept along each of its dimensions (see
    :func:`slice_like`), and the names of biases that had to be created for constants (into the optimizer's
    group of their weight, with no mask yet: all of their entries live).
    """

    kept: dict[str, Kept]
    created: tuple[str, ...]


@torch.no_grad()
def dead_units(model: nn.Module) -> Plan:
    """The units of masked Linear chains that can go without changing the network's function in eval mode.

    A unit goes if all its weights from live inputs are exactly 0 (its value is a constant, which the next
    bias takes up), or all weights to live units are. One unit that goes can strand others; the plan is the
    fixed point. Each layer keeps at least one unit; inputs and outputs of a chain are never cut. Source:
    DyPrune's removal (methods of Jonker et al. 2023), with constants folded as in Simplify (Bragagnolo and
    Barbano 2022).
    """
    plan = Plan({}, {}, {})
    for chain in find_chains(model).chains:
        _plan_chain(model, chain, plan)
    return plan


def _plan_chain(model: nn.Module, chain: tuple[Link, ...], plan: Plan) -> None:
    alive, constant = [], None
    linked = None
    for link in chain:
        layer = model.get_submodule(link.producer)
        nonzero = layer.weight != 0
        live = _at_least_one((nonzero if linked is None else nonzero & linked).any(1))
        bias = torch.zeros(len(live), device=live.device, dtype=torch.float64)
        bias += 0 if layer.bias is None else layer.bias
        bias += 0 if constant is None else constant
        value = link.activation(bias.to(_computed_in(layer.weight)))
        consumer = model.get_submodule(link.consumer)
        speaking = (~live & (value != 0)).nonzero().squeeze(1)
        constant = consumer.weight.index_select(1, speaking).double() @ value[speaking].double()
        if constant.count_nonzero():
            plan.constants[link.consumer] = constant
        alive.append(live)
        linked = live
    heard = None
    for link, live in zip(reversed(chain), reversed(alive), strict=True):
        weight = model.get_submodule(link.consumer).weight
        nonzero = weight != 0
        heard = _at_least_one(live & (nonzero if heard is None else nonzero[heard]).any(0), live)
        if not heard.all():
            plan.units[link.producer] = plan.inputs[link.consumer] = heard.nonzero().squeeze(1)


def _at_least_one(live: Tensor, among: Tensor | None = None) -> Tensor:
    if not live.any():
        live[0 if among is None else int(among.nonzero()[0])] = True
    return live


def _computed_in(weight: Tensor) -> torch.dtype:
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


@torch.no_grad()
def apply(model: nn.Module, plan: Plan, optimizer: Optimizer | None = None) -> Removed:
    """Cuts the units of ``plan`` in place: layers stay where they are, their parameters are replaced.

    Args:
        model: The model that ``plan`` was made of, unchanged since.
        plan: From :func:`dead_units`.
        optimizer: Holds the model's parameters; gets the new ones in the old places, state sliced along.

    Raises:
        RemovalError: If the optimizer keeps state of a shape that cannot be cut along. Nothing is changed
            then.
    """
    before = dict(model.named_parameters())
    kept, new = {}, {}
    for name in dict.fromkeys([*plan.units, *plan.inputs]):
        layer = model.get_submodule(name)
        rows = _indices(plan.units.get(name), layer.weight, 0)
        columns = _indices(plan.inputs.get(name), layer.weight, 1)
        kept[f"{name}.weight"] = (rows, columns)
        new[f"{name}.weight"] = _cut(layer.weight, (rows, columns))
        constant = plan.constants.get(name)
        if layer.bias is None:
            if constant is not None and constant[rows].any():
                bias = constant[rows].to(layer.weight.dtype)
                new[f"{name}.bias"] = nn.Parameter(bias, layer.weight.requires_grad)
            continue
        if name in plan.units:
            kept[f"{name}.bias"] = (rows,)
        if name in plan.units or constant is not None:
            new[f"{name}.bias"] = _cut(layer.bias, (rows,), constant)
    if optimizer is not None:
        carry(optimizer, before, {**before, **new}, kept)
    for name, parameter in new.items():
        layer_name, _, which = name.rpartition(".")
        layer = model.get_submodule(layer_name)
        setattr(layer, which, parameter)
        if which == "weight":
            layer.out_features, layer.in_features = parameter.shape
    return Removed(kept, tuple(name for name in new if name not in before))


def _indices(kept: Tensor | None, weight: Tensor, dim: int) -> Tensor:
    return torch.arange(weight.shape[dim], device=weight.device) if kept is None else kept


def _cut(old: nn.Parameter, kept: Kept, constant: Tensor | None = None) -> nn.Parameter:
    value = old.detach() if constant is None else (old.detach().double() + constant).to(old.dtype)
    new = nn.Parameter(slice_like(value, kept), old.requires_grad)
    if old.grad is not None:
        new.grad = slice_like(old.grad, kept)
    return new
