"""What regularizers have in common: they work around the optimizer's step, on lists of tensors, without a host sync."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part

if TYPE_CHECKING:
    from torch import Tensor


class Regularizer(Part):
    """Pushes weights towards zero between events; by itself nothing.

    ``replayable``: both methods do the same at every step of an epoch, so that a CUDA graph may repeat them.
    """

    replayable: ClassVar[bool] = True

    def before_step(self, context: Context, state: dict) -> None:
        """Called before every optimizer step, gradients ready (unscaled, clipped)."""

    def after_step(self, context: Context, state: dict) -> None:
        """Called after every optimizer step, before the masks are applied."""


def penalise(context: Context, strength: float, slopes: Callable[[list[Tensor]], list[Tensor]]) -> None:
    """Add ``strength`` times the slope of a penalty to the gradient of every prunable weight that has one now."""
    import torch

    pairs = [(p.detach(), p.grad) for p in context.parameters.values() if p.grad is not None]
    if pairs:
        weights, gradients = map(list, zip(*pairs, strict=True))
        torch._foreach_add_(gradients, slopes(weights), alpha=strength)
