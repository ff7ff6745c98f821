"""Looking at a network without leaving a trace on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from prune_search.cost.layers import evaluating


@contextmanager
def traceless(model: nn.Module) -> Iterator[None]:
    """Eval mode, gradients enabled, no autocast, random states forked; all of it as before afterwards.

    Gradients taken inside by ``torch.autograd.grad`` touch no ``.grad`` field; eval mode touches no norm statistics.
    """
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with (
        evaluating(model),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
        torch.random.fork_rng(devices=devices),
    ):
        yield
