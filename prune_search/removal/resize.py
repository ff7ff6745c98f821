"""Giving a freshly built network the shapes of a removed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from prune_search.removal.errors import RemovalError


def resize(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> nn.Module:
    """Makes each parameter of ``model`` as large as ``shapes`` says, in place, before ``load_state_dict``.

    Only Linear layers can change; their entries are zeros then, and a bias that ``shapes`` has and the layer
    lacks is created. Parameters and buffers that have their shape already are left alone.

    Args:
        model: Built as the removed network's dense one was.
        shapes: Name -> shape, of every parameter of the removed network; its ``state_dict`` may have buffers too.

    Returns:
        ``model``.

    Raises:
        RemovalError: If a parameter does not exist, or belongs to no Linear layer and has another shape.
    """
    present = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, shape in shapes.items():
        if present.get(name) != tuple(shape):
            _resize(model, name, tuple(shape), present.get(name))
    return model


def _resize(model: nn.Module, name: str, shape: tuple[int, ...], present: tuple[int, ...] | None) -> None:
    layer_name, _, which = name.rpartition(".")
    modules = dict(model.named_modules())
    layer = modules.get(layer_name)
    if type(layer) is not nn.Linear or which not in ("weight", "bias"):
        raise RemovalError(
            f"Parameter '{name}' shall have shape {shape}, the model has {present or 'no such parameter'}. "
            "Only Linear layers can be resized: build the model that the checkpoint was made of."
        )
    setattr(layer, which, nn.Parameter(layer.weight.new_zeros(shape), layer.weight.requires_grad))
    if which == "weight":
        layer.out_features, layer.in_features = shape


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Parameter name -> shape: what :func:`resize` needs to give a model of the same making these shapes."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
