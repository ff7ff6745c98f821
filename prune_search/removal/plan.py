"""Which channels can go: those that no input reaches, and those that nobody hears."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prune_search.cost.layers import prunable_layers
from prune_search.removal.constants import Constant
from prune_search.removal.cut import Cut
from prune_search.removal.narrow import Narrow
from prune_search.removal.network import Untraceable, follow
from prune_search.removal.slicing import Kept


@dataclass(frozen=True)
class Plan:
    """What to cut.

    Attributes:
        kept: parameter or buffer -> int64 indices it keeps along each dimension; only those that shrink.
        constants: weight -> what its layer must add from now on.
        narrow: weight -> what its layer reads and computes, if that is less than what stays.
        sizes: weight -> size of the only maps its layer takes from now on: a constant that is cut holds for no other.
        whole: Conv or Linear layer that keeps all its units -> why.
    """

    kept: dict[str, Kept] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    narrow: dict[str, Narrow] = field(default_factory=dict)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.kept or self.narrow)

    def cuts_as(self, other: Plan) -> bool:
        """Whether the same entries stay; constants may differ."""
        return self.kept.keys() == other.kept.keys() and all(
            all(map(torch.equal, kept, other.kept[name])) for name, kept in self.kept.items()
        )


@torch.no_grad()
def dead_units(model: nn.Module, example_input: Tensor, *, multiple: int = 1, narrow: bool = False) -> Plan:
    """The channels that can go without changing what the network computes in eval mode; no data is needed.

    A channel of a layer goes if all its weights to living inputs are exactly 0 (its value is a constant, which the
    layers behind it take up), or if all weights that read it are. Channels tied by sums, products, groups or
    reshapes go together or stay together. Followed by torch.fx in train and in eval mode; each layer keeps at least one
    channel. Source: Simplify (Bragagnolo and Barbano 2022), with constants carried through sums and borders.

    Args:
        model: The masked network; untouched.
        example_input: [N, ...]; only shape and dtype of one input matter.
        multiple: Round the width of every layer up to a multiple of it, by keeping channels that could go.
        narrow: Also let layers leave out channels of their own that others keep, as behind a sum. Such a network is
            for inference: what stands for the channels left out is not trained.
    """
    try:
        network = follow(model, example_input)
    except Untraceable as error:
        return Plan(whole=dict.fromkeys(prunable_layers(model), str(error)))
    cut = Cut(model, network, multiple=multiple, narrow=narrow)
    whole = {}
    for name in prunable_layers(model):
        pinned = cut.pinned(name)
        if pinned is None:
            whole[name] = network.hindered.get(name, "it is not followed")
        elif all(pinned):
            whole[name] = pinned[0]
    return Plan(cut.kept(), cut.constants, cut.narrowed, cut.sizes(), whole)


def explain(model: nn.Module, example_input: Tensor) -> list[tuple[str, str]]:
    """The Conv and Linear layers of which no channel can ever be cut: (layer, reason), in the model's order."""
    return list(dead_units(model, example_input).whole.items())
