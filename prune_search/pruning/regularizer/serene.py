from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import hyper, part
from prune_search.pruning.regularizing import Regularizer

if TYPE_CHECKING:
    from torch import Tensor

DECAY = 0.9


@part(
    "regularizer",
    "serene",
    source="Tartaglione et al. 2022, SeReNe, arXiv 2102.03773: abstract and authors' code (the paper's text was not read); a "
    "fixed probe in eval mode instead of the training batch, refreshed every few steps, is our choice",
    needs=("sensitivity", "output-gradient"),
)
class Serene(Regularizer):
    """After every step each row of a Linear or Conv shrinks by the factor 1 - strength * I, all its weights alike.

    I = max(0, 1 - S) is how little the network's answer reacts to the neuron, with S from
    :mod:`prune_search.pruning.measurement.sensitivity`. Biases and norms do not shrink, and ``strength`` is not multiplied by
    the learning rate. A neuron that never fires has S = 0 and shrinks by 1 - strength.

    Attributes:
        variant: ``full`` (one backward pass for each class), ``lower-bound`` (one for all), ``local`` (none), or
            ``neuron-lobster``: S = |m|, with m <- 0.9 m + the mean gradient of the loss at the neuron's output.
        strength: lambda. Authors: 1e-4.
        positions: How positions of a convolution become one: the mean (authors), which makes large maps look insensitive,
            their sum or the largest.
        rescale: Divide S by the largest of its layer. Authors: an option of neuron-LOBSTER.
        every: Steps between refreshes of S. Authors: 1.
        smoothing: Share of the old S in the new one. Authors: 0.
        images: Size of the probe. Authors: the training batch, 100.
    """

    replayable: ClassVar[bool] = False

    variant: str = hyper("lower-bound", choices=("full", "lower-bound", "local", "neuron-lobster"))
    strength: float = hyper(1e-4, low=1e-6, high=1e-2, log=True, at_least=0, at_most=1)
    positions: str = hyper("mean", choices=("mean", "sum", "max"))
    rescale: bool = hyper(False, choices=(False, True))
    every: int = hyper(32, low=1, high=128, log=True, at_least=1)
    smoothing: float = hyper(0.0, low=0.0, high=0.99, at_least=0, below=1)
    images: int = hyper(64, low=16, high=256, log=True, at_least=1)

    def before_step(self, context: Context, state: dict) -> None:
        steps = state.get("steps", 0)
        if steps % self.every == 0:
            state["sensitivity"] = self._refreshed(context, state.get("sensitivity", {}))
            context.memo.pop("serene", None)
        state["steps"] = steps + 1

    def after_step(self, context: Context, state: dict) -> None:
        import torch

        if "serene" not in context.memo:
            context.memo["serene"] = self._factors(context, state["sensitivity"])
        parameters, factors = context.memo["serene"]
        with torch.no_grad():
            torch._foreach_mul_(parameters, factors)

    def reshape(self, state: dict, kept: Mapping[str, Sequence]) -> None:
        for name, values in state.get("sensitivity", {}).items():
            if name in kept:
                state["sensitivity"][name] = values.index_select(0, kept[name][0].to(values.device))

    def _refreshed(self, context: Context, old: Masks) -> Masks:
        if self.variant == "neuron-lobster":
            fresh = context.take("output-gradient", images=self.images)
            return {name: value + DECAY * old[name] if name in old else value for name, value in fresh.items()}
        fresh = context.take("sensitivity", variant=self.variant, images=self.images, positions=self.positions)
        keep = self.smoothing
        return {name: keep * old[name] + (1 - keep) * value if name in old else value for name, value in fresh.items()}

    def _factors(self, context: Context, sensitivity: Masks) -> tuple[list[Tensor], list[Tensor]]:
        parameters, factors = [], []
        for name, values in sensitivity.items():
            parameter, values = context.parameters[name], values.abs()
            if self.rescale:
                values = values / values.max().clamp(min=1e-30)
            factor = 1 - self.strength * (1 - values).clamp(min=0)
            parameters.append(parameter)
            factors.append(factor.to(parameter.dtype).view(-1, *[1] * (parameter.dim() - 1)))
        return parameters, factors
