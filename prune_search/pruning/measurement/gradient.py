"""The gradient of the loss on the probe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from prune_search.pruning.context import Context, Masks, Passes, measurement
from prune_search.pruning.traceless import traceless

BATCH = 256


def losses(context: Context, inputs: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Iterator[Tensor]:
    """The loss in batches of :data:`BATCH`, each weighted by its share: they sum to the mean loss. With graph.

    ``temperature`` divides the model's outputs.
    """
    for batch, answers in zip(inputs.split(BATCH), labels.split(BATCH), strict=True):
        yield context.loss(context.model(batch) / temperature, answers) * (len(answers) / len(labels))


@contextmanager
def _requiring(parameters: Iterable[Tensor]) -> Iterator[None]:
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@measurement("gradient", needs=("probe", "loss"))
def gradient(
    context: Context,
    *,
    images: int | None = None,
    per_class: int | None = None,
    temperature: float = 1.0,
    frozen: bool = False,
) -> tuple[Masks, Passes]:
    """Mean gradient of the loss over the probe for every prunable weight, pruned ones included.

    In eval mode, float of the parameters' dtype; zero where a parameter takes no part, or is frozen and ``frozen`` false: what
    asks how much the loss depends on a weight wants it, what asks how training would move it does not.
    """
    inputs, labels = context.probe(images, per_class=per_class)
    parameters = {name: p for name, p in context.parameters.items() if p.requires_grad or frozen}
    total = {name: torch.zeros_like(p) for name, p in context.parameters.items()}
    if not parameters:
        return total, Passes()
    with traceless(context.model), _requiring(parameters.values()):
        for loss in losses(context, inputs, labels, temperature=temperature):
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for name, value in zip(parameters, gradients, strict=True):
                if value is not None:
                    total[name] += value
    return total, Passes(forward=len(labels), backward=len(labels))
