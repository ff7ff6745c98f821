"""What regularizers have in common: they work around the optimizer's step, on lists of tensors, without a host sync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part

if TYPE_CHECKING:
    from torch import Tensor


class Regularizer(Part):
    """Pushes weights towards zero between events; by itself nothing."""

    def before_step(self, context: Context, state: dict) -> None:
        """Called before every optimizer step, gradients ready (unscaled, clipped)."""

    def after_step(self, context: Context, state: dict) -> None:
        """Called after every optimizer step, before the masks are applied."""


def with_gradients(context: Context) -> tuple[list[Tensor], list[Tensor]]:
    """The prunable weights that have a gradient now, detached, and their gradients."""
    pairs = [(p.detach(), p.grad) for p in context.parameters.values() if p.grad is not None]
    return [weight for weight, _ in pairs], [gradient for _, gradient in pairs]
