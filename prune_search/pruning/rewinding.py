"""What rewinding parts have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part

if TYPE_CHECKING:
    from torch import nn


class Rewind(Part):
    """What is restored at an event; by itself nothing.

    Attributes:
        learning_rate: ``continue`` the trial's schedule, ``restart`` it at every event, or begin every round ``at`` a
            :meth:`position` of it; the last two run over rounds.
        optimizer: What becomes of the optimizer's state at an event: ``slice`` keeps it for what is left, ``zero`` also
            clears the entries of pruned weights, ``fresh`` drops all of it.
        data: ``new`` order in every epoch, or the same as from :meth:`position` on ``again``.
    """

    learning_rate: ClassVar[str] = "continue"
    optimizer: ClassVar[str] = "slice"
    data: ClassVar[str] = "new"

    def earliest(self, epochs: int) -> int:
        """No event comes before the end of this epoch; ``epochs`` are the trial's."""
        return 0

    def position(self, first: int, epochs: int) -> int:
        """Epoch of the first round (of ``first`` epochs) at which the learning rate stands after an event."""
        return 0

    def remember(self, context: Context, state: dict) -> None:
        """Called before the first epoch and after the validation of each: keep what may be restored."""

    def before(self, context: Context, state: dict) -> None:
        """Called when a round has ended, before anything is scored."""

    def restore(self, context: Context, state: dict) -> None:
        """Called at an event, after the masks were applied; they are applied again afterwards."""


def snapshot(model: nn.Module) -> dict[str, Any]:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def put_back(model: nn.Module, saved: dict[str, Any]) -> None:
    """Copy a :func:`snapshot` into the model; the snapshot stays as it is."""
    model.load_state_dict(saved)
