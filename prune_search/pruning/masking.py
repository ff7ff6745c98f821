"""From scores to masks: what an event would leave."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from prune_search.pruning.context import Context, Masks, Pool, Units
from prune_search.pruning.registry import Part
from prune_search.pruning.selection import select


class CollapsedLayer(RuntimeError):
    """An event left a layer without any weight: the network's answer no longer depends on its input there."""


class NonFiniteScore(RuntimeError):
    """A score was NaN or infinite, so that no ranking exists."""


class Ranking:
    """The scores of one event, taken when first asked for; masks of any amount follow from them.

    Args:
        context: At the event.
        score, granularity, distribution: Parts.
        state: Of the score.
        floor: Share of each layer's units that is always kept.
    """

    def __init__(self, context: Context, score: Part, granularity: Part, distribution: Part, state: dict, floor: float):
        self.context, self.score, self.granularity, self.distribution = context, score, granularity, distribution
        self.state, self.floor = state, floor

    @functools.cached_property
    def units(self) -> dict[str, Units]:
        """The units of each layer with their scores.

        Raises:
            NonFiniteScore: A live weight's score is not finite.
        """
        scores = self.score.score(self.context, self.state)
        for name, values in scores.items():
            if not torch.isfinite(values[self.context.masks[name]]).all():
                raise NonFiniteScore(f"the score '{self.score.name}' is not finite in {name}")
        return self.granularity.units(scores, self.context.masks)

    def pools(self, amount: int | Sequence[Pool]) -> Sequence[Pool]:
        """How an amount is spread: by the distribution, unless the schedule did it."""
        return self.distribution.pools(amount, self.context.masks) if isinstance(amount, int) else amount

    def masks(self, pools: Sequence[Pool]) -> Masks:
        """The masks that keep what ``pools`` say."""
        return self.granularity.masks(select(self.units, pools, self.floor), self.context.masks)

    def candidate(self, remaining: int) -> Masks | None:
        """The masks that keep ``remaining`` weights; None if a layer would be left empty."""
        masks = self.masks(self.pools(remaining))
        return None if empty_layers(masks) else masks


def empty_layers(masks: Masks) -> list[str]:
    """Names of masks in which nothing lives."""
    return [name for name, mask in masks.items() if not mask.any()]


def check_layers(masks: Masks) -> None:
    """Raise :class:`CollapsedLayer` if a layer is empty."""
    if empty := empty_layers(masks):
        raise CollapsedLayer(f"no weight is left in {', '.join(empty)}")


@torch.no_grad()
def clear_optimizer(optimizer: torch.optim.Optimizer, parameter: Any, keep: torch.Tensor) -> None:
    """Zero a parameter's optimizer state (momentum, moments) where ``keep`` is False."""
    for value in optimizer.state.get(parameter, {}).values():
        if torch.is_tensor(value) and value.shape == parameter.shape:
            value.mul_(keep)
