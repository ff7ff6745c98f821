"""Giving a freshly built network the shapes of a removed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from prune_search.removal.adapted import ADAPTABLE, CONSTANTS, INDICES, SIZE, adapt, refresh
from prune_search.removal.errors import RemovalError


def resize(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> nn.Module:
    """Makes each tensor of ``model`` as large as ``shapes`` says, in place, before ``load_state_dict``.

    Entries of what changes are zeros then; a bias or a constant that ``shapes`` has and the layer lacks is created.
    Tensors that have their shape already are left alone.

    Args:
        model: Built as the removed network's dense one was.
        shapes: Name -> shape, of every parameter of the removed network, and its buffers where they changed.

    Returns:
        ``model``.

    Raises:
        RemovalError: If a tensor does not exist, or has more dimensions or entries than removal could leave.
    """
    present = {name: value.shape for name, value in model.state_dict().items()}
    for name, shape in shapes.items():
        if present.get(name) != torch.Size(shape):
            _resize(model, name, torch.Size(shape), present.get(name))
    return model


def _resize(model: nn.Module, name: str, shape: torch.Size, present: torch.Size | None) -> None:
    path, _, leaf = name.rpartition(".")
    owner = dict(model.named_modules()).get(path)
    added = present is None and type(owner) in ADAPTABLE
    if added and leaf in (*INDICES, SIZE, *CONSTANTS):
        adapt(owner, leaf, owner.weight.new_zeros(shape))
        return
    shrunk = present is not None and len(present) == len(shape) and all(n <= m for n, m in zip(shape, present))
    if not shrunk and not (added and leaf == "bias"):
        raise RemovalError(
            f"'{name}' shall have shape {tuple(shape)}, the model has {tuple(present) if present else 'no such tensor'}. "
            "Build the model that the checkpoint was made of."
        )
    old = getattr(owner, leaf)
    like = owner.weight if old is None else old
    new = like.detach().new_zeros(shape)
    setattr(owner, leaf, nn.Parameter(new, like.requires_grad) if isinstance(like, nn.Parameter) else new)
    if leaf == "weight":
        refresh(owner, present)
    elif leaf == "running_mean":
        owner.num_features = len(new)


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the state: what :func:`resize` needs to give a model of the same making these."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}
