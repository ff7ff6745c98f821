"""From scores to masks: what an event would leave."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from prune_search.pruning.context import Context, Masks, Pool, Units
from prune_search.pruning.registry import Part

if TYPE_CHECKING:
    from torch import Tensor


class NonFiniteScore(RuntimeError):
    """A score was NaN or infinite, so that no ranking exists."""


class View(ABC):
    """A network's weights as units that are ranked.

    Attributes:
        units: Group of units (a layer, coupled layers) -> its units with their scores.
        layers: The same groups as the distribution sees them: bool, True where a weight lives.
        alone: Whether a unit that goes takes no weights of others along.
    """

    units: dict[str, Units]
    layers: Masks
    alone: ClassVar[bool]

    def rounded(self, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """The ``kept`` units and those that must stay with them."""
        return kept

    @abstractmethod
    def masks(self, kept: Mapping[str, Tensor]) -> Masks:
        """Weight masks in which just the ``kept`` units (bool [U] for each group) live."""

    @abstractmethod
    def live(self, kept: Mapping[str, Tensor]) -> int:
        """How many weights live in these masks."""


class Granularity(Part, ABC):
    """In what units weights go."""

    @abstractmethod
    def view(self, context: Context, scores: Masks) -> View:
        """The units of the network with their scores."""

    def check(self, context: Context) -> None:
        """Raise a UserError if the network has no such units."""

    def companions(self, context: Context, masks: Masks) -> Masks:
        """Masks of parameters that are not ranked but go with ranked ones, whose masks are given."""
        return {}


class Ranking:
    """The scores of one event, taken when first asked for; masks of any amount follow from them.

    Args:
        context: At the event.
        score, granularity, distribution: Parts.
        state: Of the score.
        floor: Share of each group's units that is always kept.
    """

    def __init__(
        self, context: Context, score: Part, granularity: Granularity, distribution: Part, state: dict, floor: float
    ):
        self.context, self.score, self.granularity, self.distribution = context, score, granularity, distribution
        self.state, self.floor = state, floor

    @functools.cached_property
    def view(self) -> View:
        """The units with their scores.

        Raises:
            NonFiniteScore: A live weight's score is not finite.
        """
        import torch

        scores = self.score.score(self.context, self.state)
        for name, values in scores.items():
            if not torch.isfinite(values[self.context.masks[name]]).all():
                raise NonFiniteScore(f"the score '{self.score.name}' is not finite in {name}")
        return self.granularity.view(self.context, scores)

    def pools(self, amount: int | Sequence[Pool]) -> Sequence[Pool]:
        """How an amount of weights is spread: by the distribution, unless the schedule did it.

        Where a unit takes along weights of others, the largest share of units that leaves at most ``amount``.
        """
        if not isinstance(amount, int):
            return amount
        if not self.view.units:  # a pattern that admits one amount only
            return []
        if self.view.alone:
            return self._spread(amount)
        least, most = 0, 1 + sum(int(mask.sum()) for mask in self.view.layers.values())
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (middle, most) if self.live(self._spread(middle)) <= amount else (least, middle)
        return self._spread(least)

    def live(self, pools: Sequence[Pool]) -> int:
        """How many weights ``pools`` keep, where no floor keeps more."""
        return sum(pool.total for pool in pools) if self.view.alone else self.view.live(self._kept(pools))

    def masks(self, pools: Sequence[Pool]) -> Masks:
        """The masks that keep what ``pools`` say."""
        return self.view.masks(self._kept(pools))

    def candidate(self, remaining: int) -> Masks | None:
        """The masks that keep ``remaining`` weights; None if a layer would be left empty."""
        from prune_search.pruning.masking import empty_layers

        masks = self.masks(self.pools(remaining))
        return None if empty_layers(masks) else masks

    def _spread(self, amount: int) -> Sequence[Pool]:
        return self.distribution.pools(amount, self.view.layers)

    def _kept(self, pools: Sequence[Pool]) -> dict[str, Tensor]:
        from prune_search.pruning.selection import select

        return self.view.rounded(select(self.view.units, pools, self.floor))
