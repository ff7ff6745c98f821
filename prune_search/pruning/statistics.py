"""Batch norm statistics after an event."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from prune_search.pruning.context import Passes


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Passes:
    """Take the running statistics of all batch norms anew, as the plain mean over the batches given."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return Passes()
    momenta, mode, images = [norm.momentum for norm in norms], model.training, 0
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for inputs, _ in batches:
        model(inputs)
        images += len(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(mode)
    return Passes(forward=images)
