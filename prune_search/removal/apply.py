"""Cutting in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from prune_search.removal.adapted import SIZE, adapt, refresh
from prune_search.removal.constants import Constant
from prune_search.removal.optimizers import carry
from prune_search.removal.plan import Plan
from prune_search.removal.slicing import Kept, slice_like


@dataclass(frozen=True)
class Removed:
    """What was cut: for each parameter that shrank the int64 indices kept along each of its dimensions (see
    :func:`slice_like`), and the names of biases that had to be created for constants (into the optimizer's
    group of their weight, with no mask yet: all of their entries live).
    """

    kept: dict[str, Kept]
    created: tuple[str, ...]


@torch.no_grad()
def apply(model: nn.Module, plan: Plan, optimizer: Optimizer | None = None) -> Removed:
    """Cuts the channels of ``plan`` in place: layers stay where they are, their tensors are replaced.

    Args:
        model: The model that ``plan`` was made of, unchanged since.
        plan: From :func:`~prune_search.removal.plan.dead_units`.
        optimizer: Holds the model's parameters; gets the new ones in the old places, state sliced along.

    Raises:
        RemovalError: If the optimizer keeps state of a shape that cannot be cut along. Nothing is changed then.
    """
    before = dict(model.named_parameters())
    new = {name: _cut(before[name], kept) for name, kept in plan.kept.items() if name in before}
    for weight, constant in plan.constants.items():
        if constant.bias is not None:
            bias = _bias(before, new, weight, constant, plan.kept.get(weight))
            if bias is not None:
                new[constant.into] = bias
    if optimizer is not None:
        carry(optimizer, before, {**before, **new}, plan.kept)
    buffers = dict(model.named_buffers())
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    for name, tensor in new.items():
        owner, leaf = _owner(model, name)
        setattr(owner, leaf, tensor)
    for name, kept in plan.kept.items():
        if name in buffers:
            owner, leaf = _owner(model, name)
            setattr(owner, leaf, slice_like(buffers[name], kept))
    for weight, constant in plan.constants.items():
        _adapt(_owner(model, weight)[0], constant, plan.kept.get(weight))
    for weight, narrow in plan.narrow.items():
        for name in ("takes", "places", "constant_rows"):
            if getattr(narrow, name) is not None:
                adapt(_owner(model, weight)[0], name, getattr(narrow, name))
    for weight, size in plan.sizes.items():
        adapt(_owner(model, weight)[0], SIZE, torch.empty(0, *size))
    for name in plan.kept:
        owner, leaf = _owner(model, name)
        if leaf == "weight":
            refresh(owner, shapes[name])
    return Removed(plan.kept, tuple(name for name in new if name not in before))


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def _cut(old: nn.Parameter, kept: Kept) -> nn.Parameter:
    new = nn.Parameter(slice_like(old.detach(), kept), old.requires_grad)
    if old.grad is not None:
        new.grad = slice_like(old.grad, kept)
    return new


def _bias(
    before: Mapping[str, nn.Parameter],
    new: Mapping[str, nn.Parameter],
    weight: str,
    constant: Constant,
    kept: Kept | None,
) -> nn.Parameter | None:
    added = constant.bias if kept is None else constant.bias[kept[0]]
    old = new.get(constant.into, before.get(constant.into))
    if old is None:
        return nn.Parameter(added.to(before[weight]), before[weight].requires_grad) if added.any() else None
    bias = nn.Parameter((old.detach().cpu().double() + added).to(old), old.requires_grad)
    bias.grad = old.grad
    return bias


def _adapt(module: nn.Module, constant: Constant, kept: Kept | None) -> None:
    for name, value, dim in (("constant_kernel", constant.kernel, 0), ("constant_map", constant.map, None)):
        if value is None:
            continue
        dim = (value.dim() - 1 if isinstance(module, nn.Linear) else 1) if dim is None else dim
        if kept is not None:
            value = value.index_select(dim, kept[0])
        present = getattr(module, name, None)
        adapt(module, name, value if present is None else present.detach().cpu().double() + value)
