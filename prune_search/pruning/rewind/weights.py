from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.context import Context
from prune_search.pruning.recipe import length
from prune_search.pruning.registry import hyper, part
from prune_search.pruning.rewinding import Rewind, put_back, snapshot


@part(
    "rewind",
    "weights",
    source="Frankle & Carbin 2019, arXiv 1803.03635 (epoch 0); Frankle et al. 2020, arXiv 1912.05671 (epoch k); "
    "authors' code open_lth; whole epochs instead of steps are our choice",
    requires={"removal": ("at-end", "never")},
)
class RewindWeights(Rewind):
    """At every event all parameters and buffers become those of the end of epoch k, masked.

    The optimizer starts afresh, the learning rate and the order of the data start at epoch k: a round of the first
    round's length less k repeats, without pruning, the dense run bit for bit.

    Attributes:
        epoch: k; 0 is the initialisation (lottery ticket), below 1 a fraction of the trial's epochs, at least one.
            Authors: 0 on MNIST, 6.6 % of training on CIFAR-10; at 0 CIFAR and ImageNet networks lose 3 points and more.
    """

    epoch: float = hyper(0.02, low=0.0, high=0.1, at_least=0)
    learning_rate: ClassVar[str] = "at"
    optimizer: ClassVar[str] = "fresh"
    data: ClassVar[str] = "again"

    def earliest(self, epochs: int) -> int:
        return length(self.epoch, epochs)

    def position(self, first: int, epochs: int) -> int:
        return length(self.epoch, epochs)

    def remember(self, context: Context, state: dict) -> None:
        history = context.history
        if history.epoch == length(self.epoch, history.epochs):
            state["point"] = snapshot(context.model)

    def restore(self, context: Context, state: dict) -> None:
        put_back(context.model, state["point"])
