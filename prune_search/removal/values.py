"""What is known of a tensor in the graph before any data is seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class Opaque(Exception):
    """An operation whose effect on single channels is not known: what it reads must stay whole."""


@dataclass(frozen=True)
class Value:
    """One tensor of the graph for a batch of one, entry by entry.

    Attributes:
        ids: int64, which channel an entry belongs to (see :class:`~prune_search.removal.units.Units`).
        alive: bool, whether it may depend on the network's input.
        constant: float64, its value where it does not; 0 where it does.
        sized: bool, whether its constant would be another in maps of another size: a zero padding went into it.
    """

    ids: Tensor
    alive: Tensor
    constant: Tensor
    sized: Tensor

    @classmethod
    def of(cls, ids: Tensor, alive: Tensor, constant: Tensor, sized: Tensor | None = None) -> Value:
        """All broadcast to the shape of ``constant``, which is cleared where alive; ``sized``: nowhere by default."""
        ids, alive = ids.expand(constant.shape), alive.expand(constant.shape)
        sized = torch.zeros_like(alive) if sized is None else sized.expand(constant.shape) & ~alive
        return cls(ids, alive, constant.masked_fill(alive, 0.0), sized)

    def varies(self, dim: int) -> bool:
        """Whether entries along ``dim`` belong to different channels."""
        return bool((self.ids != self.ids.narrow(dim, 0, 1)).any())

    def channels(self, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Along ``axis``: ids [C], alive [C] (any entry), the constants in full shape, 0 in channels alive, and sized [C].

        Raises:
            Opaque: If an index of ``axis`` holds entries of several channels.
        """
        ids = self.ids.movedim(axis, 0).flatten(1)
        if bool((ids != ids[:, :1]).any()):
            raise Opaque("mixes channels before it")
        alive = self.alive.movedim(axis, 0).flatten(1).any(1)
        sized = self.sized.movedim(axis, 0).flatten(1).any(1) & ~alive
        return ids[:, 0], alive, self.constant.masked_fill(along(alive, axis, self.ids.dim()), 0.0), sized


def along(vector: Tensor, axis: int, dims: int) -> Tensor:
    """A vector shaped to lie along ``axis`` of a tensor of ``dims`` dimensions."""
    shape = [1] * dims
    shape[axis] = -1
    return vector.view(shape)
