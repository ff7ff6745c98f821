"""What parts that leave gradients out have in common."""

from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part


class Backward(Part):
    """Decides whose gradient is computed; by itself everybody's. Between epochs the network is an ordinary one.

    ``replayable``: :meth:`before_step` and :meth:`after_step` do the same at every step of an epoch.
    """

    replayable: ClassVar[bool] = True

    def select(self, context: Context, state: dict) -> None:
        """Called at the start of every epoch: decide whose gradients are computed in it, and see to it."""

    def release(self, context: Context, state: dict) -> None:
        """Called at the end of every epoch, before anybody looks at the network: undo that."""

    def before_step(self, context: Context, state: dict) -> None:
        """Called before every optimizer step."""

    def after_step(self, context: Context, state: dict) -> None:
        """Called after every optimizer step and the regularizer."""

    def frozen(self, state: dict) -> dict[str, float]:
        """Weight -> share of its rows whose gradient is not computed in this epoch; weights without are left out."""
        return {}
