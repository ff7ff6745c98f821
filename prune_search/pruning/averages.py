"""Running averages of a model's weights, pruned along with it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from prune_search.pruning.context import Masks
from prune_search.removal import Plan, apply, dead_units


class Averages:
    """Models with the parameters of the one that trains: an ``AveragedModel`` of torch (EMA, SWA), or any copy.

    Masks hold in them from every event on, since what is zero in the model averages to zero. Where the model shrinks they
    shrink to the same widths, each with its own constants, so that its answers stay.
    """

    def __init__(self, models: Iterable[nn.Module]):
        self._models = [model.module if isinstance(model, AveragedModel) else model for model in models]

    @torch.no_grad()
    def mask(self, masks: Masks) -> None:
        for model in self._models:
            parameters = dict(model.named_parameters(remove_duplicate=False))
            for name, mask in masks.items():
                parameters[name].mul_(mask)

    def cut(self, plan: Plan, example_input: Tensor) -> None:
        """Shrink as the model did by ``plan``. A unit that is dead in the model by accident alone goes all the same."""
        for model in self._models:
            own = dead_units(model, example_input)
            apply(model, own if own.cuts_as(plan) else plan)
