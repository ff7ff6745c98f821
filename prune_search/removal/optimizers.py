"""Carrying an optimizer over to the parameters of a smaller network."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn
from torch.optim import Optimizer

from prune_search.removal.errors import RemovalError
from prune_search.removal.slicing import Kept, slice_like


def carry(
    optimizer: Optimizer,
    old: Mapping[str, nn.Parameter],
    new: Mapping[str, nn.Parameter],
    kept: Mapping[str, Kept],
    fresh: Collection[str] = (),
) -> None:
    """Puts the new parameters where the old ones were and cuts their state along.

    State of a parameter's own shape is sliced, scalars (step counts) are kept. A parameter that is gone
    leaves its group; one that is new (a created bias) joins the group of its layer's weight.

    Args:
        optimizer: Changed in place; parameters that are not in ``old`` are left alone.
        old: Name -> parameter the optimizer may hold.
        new: Name -> parameter it shall hold.
        kept: Name -> indices kept, for parameters that shrank.
        fresh: Names of parameters whose state is dropped, because their meaning changed.

    Raises:
        RemovalError: If a parameter that shrank has state of another shape. The optimizer is unchanged then.
    """
    names = {id(parameter): name for name, parameter in old.items()}
    states = {}
    for parameter in list(optimizer.state):
        name = names.get(id(parameter))
        if name in new and name not in fresh:
            states[name] = _cut_state(optimizer, name, parameter, kept.get(name))
    for group in optimizer.param_groups:
        params = []
        for parameter in group["params"]:
            name = names.get(id(parameter))
            if name is None:
                params.append(parameter)
                continue
            optimizer.state.pop(parameter, None)
            if name in new:
                params.append(new[name])
                if name in states:
                    optimizer.state[new[name]] = states[name]
                params += _created_beside(name, old, new)
        group["params"] = params


def _created_beside(name: str, old: Mapping, new: Mapping[str, nn.Parameter]) -> list[nn.Parameter]:
    layer, _, which = name.rpartition(".")
    bias = f"{layer}.bias" if layer else "bias"
    return [new[bias]] if which == "weight" and bias in new and bias not in old else []


def _cut_state(optimizer: Optimizer, name: str, parameter: nn.Parameter, kept: Kept | None) -> dict:
    state = dict(optimizer.state[parameter])
    for key, value in state.items():
        if kept is None or not isinstance(value, Tensor) or value.dim() == 0:
            continue
        if value.shape != parameter.shape:
            raise RemovalError(
                f"{type(optimizer).__name__} keeps '{key}' of shape {tuple(value.shape)} for '{name}' of "
                f"shape {tuple(parameter.shape)}: it cannot be cut along. Use an optimizer whose state has "
                "the parameters' shapes (SGD, Adam, AdamW, ...), or remove at the end only."
            )
        state[key] = slice_like(value, kept)
    return state
