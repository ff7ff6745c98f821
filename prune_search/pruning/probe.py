"""A fixed set of training images on which parts measure."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from prune_search.pruning.context import Batches, Probe

MOST_BATCHES = 64


def balanced(labels: Tensor, images: int, seed: int = 0) -> Tensor:
    """Indices, int64 [images], of a draw without replacement that takes from every class in turn while it lasts.

    Args:
        labels: int64 [N]. Other labels are drawn from uniformly.
        images: At most N are drawn.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    if labels.dim() == 1 and not labels.is_floating_point():
        drawn = labels.cpu()[order]
        by_class = drawn.argsort(stable=True)
        _, counts = drawn[by_class].unique_consecutive(return_counts=True)
        turn = torch.empty_like(by_class)
        turn[by_class] = torch.cat([torch.arange(int(count)) for count in counts])
        order = order[turn.argsort(stable=True)]
    return order[:images].to(labels.device)


def probe_from(batches: Batches) -> Probe:
    """A probe of the first images that ``batches`` yields (at most 64 batches), kept in memory."""

    @functools.cache
    def gathered(number: int) -> tuple[Tensor, Tensor]:
        inputs, labels = zip(*batches(number), strict=True)
        return torch.cat(inputs), torch.cat(labels)

    @functools.cache
    def probe(images: int | None = None, *, per_class: int | None = None) -> tuple[Tensor, Tensor]:
        number, (inputs, labels) = 1, gathered(1)
        wanted = images or per_class * int(labels.max() + 1)
        while len(labels) < wanted and number < MOST_BATCHES:
            number *= 2
            inputs, labels = gathered(number)
        index = balanced(labels, images or per_class * len(labels.unique()))
        return inputs[index], labels[index]

    return probe
