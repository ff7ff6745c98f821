from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.registry import hyper, part
from prune_search.pruning.rewinding import Rewind


@part("rewind", "none", source="weights go on as they are; switches for DyPrune's authors' code (methods read there)")
class NoRewind(Rewind):
    """Surviving weights keep their values.

    Attributes:
        learning_rate: ``continue`` the schedule; ``restart`` it at every event (it then runs over each round).
        optimizer: What becomes of the optimizer's state at an event. ``slice`` keeps it for what is left, ``zero``
            also clears the entries of pruned weights, ``fresh`` drops all of it (DyPrune's authors).
        biases: ``keep``, or ``redrawn`` at every event from U(-1/sqrt(fan_in), 1/sqrt(fan_in)) in all Linear layers:
            a defect of DyPrune's code, kept to measure it.
    """

    learning_rate: str = hyper("continue", choices=("continue", "restart"))
    optimizer: str = hyper("slice", choices=("slice", "zero", "fresh"))
    biases: str = hyper("keep", choices=("keep", "redrawn"))

    def restore(self, context: Context, state: dict) -> None:
        """Change weights after the masks were applied."""
        if self.biases == "keep":
            return
        from torch import nn

        for module in context.model.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                bound = module.in_features**-0.5
                drawn = module.bias.detach().cpu().uniform_(-bound, bound, generator=context.generator)
                module.bias.data.copy_(drawn)
