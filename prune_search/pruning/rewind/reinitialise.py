from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.context import Context
from prune_search.pruning.registry import part
from prune_search.pruning.rewinding import Rewind


@part(
    "rewind",
    "reinitialise",
    source="control of Frankle & Carbin 2019, arXiv 1803.03635: the same mask on fresh weights; read in open_lth",
    requires={"removal": ("at-end", "never")},
)
class Reinitialise(Rewind):
    """At every event all modules draw their parameters anew (``reset_parameters``), masked; everything restarts.

    Parameters of modules without ``reset_parameters`` stay.
    """

    learning_rate: ClassVar[str] = "restart"
    optimizer: ClassVar[str] = "fresh"

    def restore(self, context: Context, state: dict) -> None:
        import torch

        device = next(context.model.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**62, (), generator=context.generator)))
            for module in context.model.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
