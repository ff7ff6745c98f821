"""What can become of a trial, by name."""

from __future__ import annotations

import torch

from prune_search.errors import BAD_INPUT, UserError
from prune_search.pruning.masking import CollapsedLayer
from prune_search.pruning.ranking import NonFiniteScore
from prune_search.removal import RemovalError

STATES = ("completed", "stopped", "failed", "infeasible", "interrupted")


class NonFiniteLoss(RuntimeError):
    """The training or validation loss became NaN or infinite."""


_NAMES: tuple[tuple[type[BaseException], str], ...] = (
    (NonFiniteLoss, "nan_loss"),
    (CollapsedLayer, "collapsed_layer"),
    (NonFiniteScore, "nonfinite_score"),
    (RemovalError, "removal_not_equal"),
    (torch.OutOfMemoryError, "out_of_memory"),
    (MemoryError, "out_of_memory"),
    (UserError, BAD_INPUT),
)


def reason_of(error: BaseException) -> str:
    """A short name for why a trial failed, then the message."""
    name = next((name for kind, name in _NAMES if isinstance(error, kind)), "error")
    message = str(error).strip()
    detail = " ".join(message.split()) if name == BAD_INPUT else message.split("\n")[0][:300]
    prefix = name if name != "error" else f"error: {type(error).__name__}"
    return f"{prefix}: {detail}" if detail else prefix
