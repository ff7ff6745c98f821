from __future__ import annotations

from typing import TYPE_CHECKING

from prune_search.pruning.context import Context, Passes, measurement

if TYPE_CHECKING:
    from prune_search.removal.channels import Channels


@measurement("channels", needs=("example_input",))
def channels(context: Context) -> tuple[Channels, Passes]:
    """The channels of the network that can be pruned; see :mod:`prune_search.removal.channels`."""
    from prune_search.removal.channels import channels

    return channels(context.model, context.example_input), Passes()
