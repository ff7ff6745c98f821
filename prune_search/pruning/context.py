"""What a part may see and what it may answer."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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
    """Layers that are ranked together, and how many of their weights stay.

    ``keep`` is a number for the pool, or int64 [rows] for one layer whose output units are ranked each by itself.
    """

    layers: tuple[str, ...]
    keep: int | Tensor

    @property
    def total(self) -> int:
        """Weights of the pool that stay."""
        return self.keep if isinstance(self.keep, int) else int(self.keep.sum())

    def thinned(self, share: float) -> Pool:
        """The pool with ``share`` of what it keeps taken off."""
        if isinstance(self.keep, int):
            return self._replace(keep=self.keep - round(share * self.keep))
        return self._replace(keep=self.keep - (share * self.keep).round().long())


class Passes(NamedTuple):
    """Images that a measurement or evaluation sent through the network: counted in ``train_flops``."""

    forward: int = 0
    backward: int = 0

    @classmethod
    def total(cls, passes: Iterable[Passes]) -> Passes:
        """The sum of all."""
        passes = list(passes)
        return cls(sum(p.forward for p in passes), sum(p.backward for p in passes))


class Probe(Protocol):
    """A fixed, class-balanced set of training images, not augmented: the same at every call."""

    def __call__(self, images: int | None = None, *, per_class: int | None = None) -> tuple[Tensor, Tensor]:
        """``images`` of them, or ``per_class`` for each class: inputs [N, ...] and labels [N]."""


@dataclass
class Context:
    """What a part sees of a trial, and nothing else.

    Attributes:
        model: The network, masks applied.
        masks: Bool tensor for each prunable parameter, True where the weight lives. Do not write to it.
        optimizer: The user's optimizer.
        generator: CPU random generator, seeded by (training seed, epoch): a resumed trial draws the same numbers.
        batches: ``batches(n)`` yields n training batches (inputs, labels), not augmented.
        probe: A fixed set of training images; see :class:`Probe`.
        train_images: How many images an epoch trains on, None where that is not known.
        loss: ``loss(outputs, labels)``, the mean over the batch.
        evaluate: ``evaluate(masks)`` is (validation loss, validation accuracy) of the network under other masks.
        example_input: One batch the model accepts.
        history: Losses, accuracies and events so far.
        partition: Within what the recipe's distribution ranks weights: net, layer or neuron.
        share: ``share(take)`` is ``take()`` as the first of the processes that train this network sees it; plain ``take()`` where
            one process trains it alone, and at events, which happen in the first alone.
        candidate: ``candidate(n)`` are the masks that an event keeping n weights would leave, None if that would empty a
            layer; only at events.
        memo: Scratch values; gone with the context, which lives for one epoch.
    """

    model: nn.Module
    masks: Masks
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    batches: Batches | None
    evaluate: Callable[[Masks], tuple[float, float]] | None
    example_input: Tensor | None
    history: History
    probe: Probe | None = None
    train_images: int | None = None
    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    partition: str = "net"
    share: Callable[[Callable[[], Any]], Any] = lambda take: take()
    candidate: Callable[[int], Masks | None] | None = None
    passes: list[Passes] = field(default_factory=list)
    memo: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def live(self) -> int:
        """Prunable weights that live."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @functools.cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The prunable parameters by name."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        return {name: parameters[name] for name in self.masks}

    def weights(self) -> dict[str, Tensor]:
        """The prunable parameters by name, detached."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def measure(self, name: str, **options: Hashable) -> Any:
        """The measurement ``name``, taken once for an epoch and these options, shared by all parts that need it."""
        key = (name, *sorted(options.items()))
        if key not in self.memo:
            self.memo[key] = self.take(name, **options)
        return self.memo[key]

    def take(self, name: str, **options: Hashable) -> Any:
        """The measurement ``name``, taken now."""
        value, passes = self.share(lambda: measurements()[name].take(self, **options))
        self.passes.append(passes)
        return value


class Measurement(NamedTuple):
    """How something is measured: ``take(context, **options)`` is (value, Passes), from the inputs it needs."""

    take: Callable[..., tuple[Any, Passes]]
    needs: tuple[str, ...]


MEASUREMENTS: dict[str, Measurement] = {}
INPUTS = ("batches", "probe", "loss", "evaluate", "example_input")


def measurement(name: str, *, needs: tuple[str, ...] = ()) -> Callable:
    """Register a function ``(context, **options) -> (value, Passes)`` that parts name in their ``needs``.

    Args:
        name: What parts call it.
        needs: The inputs (:data:`INPUTS`) it reads from the context.
    """

    def register(take: Callable[..., tuple[Any, Passes]]) -> Callable:
        MEASUREMENTS[name] = Measurement(take, needs)
        return take

    return register


def measurements() -> dict[str, Measurement]:
    """All measurements by name: every module below ``prune_search/pruning/measurement/`` is found by itself."""
    package = importlib.import_module("prune_search.pruning.measurement")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return MEASUREMENTS


def inputs_needed(needs: Iterable[str]) -> set[str]:
    """The inputs behind a part's ``needs``: those it names, and those of the measurements it names."""
    needed: set[str] = set()
    for name in needs:
        needed.update([name] if name in INPUTS else measurements()[name].needs)
    return needed


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
