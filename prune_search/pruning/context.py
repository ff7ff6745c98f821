"""What a part may see and what it may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from prune_search.pruning.history import History

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Masks = dict[str, "Tensor"]
Batches = Callable[[int], Iterable[tuple["Tensor", "Tensor"]]]


class Done(NamedTuple):
    """A schedule's answer when no further event can come, with its reason."""

    reason: str


class Units(NamedTuple):
    """The units of one layer: scores (float [U], larger stays), live (bool [U]) and weights in each unit."""

    scores: Tensor
    live: Tensor
    size: int


class Pool(NamedTuple):
    """Layers that are ranked together, and how many of their weights stay."""

    layers: tuple[str, ...]
    keep: int


class Passes(NamedTuple):
    """Images that a measurement or evaluation sent through the network: counted in ``train_flops``."""

    forward: int = 0
    backward: int = 0


@dataclass
class Context:
    """What a part sees of a trial, and nothing else.

    Attributes:
        model: The network, masks applied.
        masks: Bool tensor for each prunable parameter, True where the weight lives. Do not write to it.
        optimizer: The user's optimizer.
        generator: CPU random generator, seeded by (training seed, epoch): a resumed trial draws the same numbers.
        batches: ``batches(n)`` yields n training batches (inputs, labels), not augmented.
        evaluate: ``evaluate(masks)`` is (validation loss, validation accuracy) of the network under other masks.
        example_input: One batch the model accepts.
        history: Losses, accuracies and events so far.
    """

    model: nn.Module
    masks: Masks
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    batches: Batches | None
    evaluate: Callable[[Masks], tuple[float, float]] | None
    example_input: Tensor | None
    history: History
    passes: list[Passes] = field(default_factory=list)
    _measured: dict[str, Any] = field(default_factory=dict)

    @property
    def live(self) -> int:
        """Prunable weights that live."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    def weights(self) -> dict[str, Tensor]:
        """The prunable parameters by name, detached."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name].detach() for name in self.masks}

    def measure(self, name: str) -> Any:
        """The measurement ``name``, taken once per epoch and shared by all parts that need it."""
        if name not in self._measured:
            value, passes = MEASUREMENTS[name](self)
            self._measured[name] = value
            self.passes.append(passes)
        return self._measured[name]


MEASUREMENTS: dict[str, Callable[[Context], tuple[Any, Passes]]] = {}


def measurement(name: str) -> Callable:
    """Register a function ``(context) -> (value, Passes)`` that parts name in their ``needs``."""

    def register(function: Callable[[Context], tuple[Any, Passes]]) -> Callable:
        MEASUREMENTS[name] = function
        return function

    return register


def apportion(shares: Sequence[float], caps: Sequence[int], total: int) -> list[int]:
    """Split ``total`` in proportion to ``shares`` into whole numbers that do not exceed ``caps``.

    What a cap cuts off goes to the others in the same proportion; rounding is by largest remainder, lower index first.
    The sum is exactly ``min(total, sum(caps))``.
    """
    total = min(total, sum(caps))
    counts = [0] * len(shares)
    free = set(range(len(shares)))
    while free:
        left = total - sum(counts[i] for i in range(len(shares)) if i not in free)
        scale = sum(shares[i] for i in free)
        quotas = {i: (left * shares[i] / scale if scale else left / len(free)) for i in free}
        full = {i for i in free if quotas[i] >= caps[i]}
        if not full:
            for i in free:
                counts[i] = int(quotas[i])
            rest = left - sum(counts[i] for i in free)
            for i in sorted(free, key=lambda i: (-(quotas[i] - counts[i]), i))[:rest]:
                counts[i] += 1
            break
        for i in full:
            counts[i] = caps[i]
        free -= full
    return counts


def uniform_shares(masks: Mapping[str, Tensor]) -> list[int]:
    """The size of each layer: shares that give every layer the same sparsity."""
    return [mask.numel() for mask in masks.values()]
