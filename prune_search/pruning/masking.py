"""What masks may not be, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from prune_search.pruning.context import Masks


class CollapsedLayer(RuntimeError):
    """An event left a layer without any weight: the network's answer no longer depends on its input there."""


def empty_layers(masks: Masks) -> list[str]:
    """Names of masks in which nothing lives."""
    return [name for name, mask in masks.items() if not mask.any()]


def check_layers(masks: Masks) -> None:
    """Raise :class:`CollapsedLayer` if a layer is empty."""
    if empty := empty_layers(masks):
        raise CollapsedLayer(f"no weight is left in {', '.join(empty)}")


@torch.no_grad()
def clear_optimizer(optimizer: torch.optim.Optimizer, parameter: Any, keep: torch.Tensor) -> None:
    """Zero a parameter's optimizer state (momentum, moments) where ``keep`` is False."""
    for value in optimizer.state.get(parameter, {}).values():
        if torch.is_tensor(value) and value.shape == parameter.shape:
            value.mul_(keep)


@contextmanager
def masked(model: nn.Module, masks: Masks) -> Iterator[None]:
    """The model under other masks inside; its weights as they were afterwards."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    saved = {name: parameters[name].detach().clone() for name in masks}
    try:
        with torch.no_grad():
            for name, mask in masks.items():
                parameters[name].mul_(mask)
        yield
    finally:
        with torch.no_grad():
            for name, weight in saved.items():
                parameters[name].copy_(weight)
