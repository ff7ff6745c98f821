"""Channels that one layer need not read or compute, though other layers keep them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prune_search.removal.layers import Layer

LARGEST, FEWEST = 0.75, 8
"""A layer is narrowed to this share of its channels or less, by so many or more: selecting them takes time too. Our
choice."""


@dataclass(frozen=True)
class Narrow:
    """What one layer reads and computes.

    Attributes:
        rows, columns: bool [O] and [I], of the weight before cutting.
        takes, places, constant_rows: As in :class:`~prune_search.removal.adapted.Adapted`; None where it reads or
            computes all that stays.
    """

    rows: Tensor
    columns: Tensor
    takes: Tensor | None
    places: Tensor | None
    constant_rows: Tensor | None

    def __bool__(self) -> bool:
        return self.takes is not None or self.places is not None


def narrow(layer: Layer, outputs: Tensor, inputs: Tensor, multiple: int) -> Narrow:
    """What a layer without groups can leave out of its channels that stay.

    Args:
        outputs, inputs: bool [O] and [I], which of its channels stay.
        multiple: Round widths up to it.
    """
    living, rows = (layer.reads & layer.alive).any(1), outputs
    if (outputs & ~living).any():
        values = layer.run(layer.constant).movedim(layer.axis, 0).flatten(1)
        even = (values - values[:, :1]).abs().amax(1) <= 1e-12 * values.abs().max()
        rows = _part(outputs & (living | ~even | layer.sized[1]), outputs, multiple)
    columns = _part(inputs & (layer.alive | layer.sized[0]) & layer.reads[rows].any(0), inputs, multiple)
    computed, read = rows[outputs], columns[inputs]
    takes = places = constants = None
    if not read.all():
        takes = read.nonzero().squeeze(1)
    if not computed.all():
        places = torch.where(computed, computed.cumsum(0) - 1, int(computed.sum()) + (~computed).cumsum(0) - 1)
        constants = values[outputs & ~rows, 0]
    return Narrow(rows, columns, takes, places, constants)


def _part(wanted: Tensor, present: Tensor, multiple: int) -> Tensor:
    """``wanted``, and of those ``present`` as many as fill up a multiple; all of them where that saves little."""
    wanted = wanted.clone()
    for channel in (present & ~wanted).nonzero().squeeze(1):
        if wanted.any() and int(wanted.sum()) % multiple == 0:
            break
        wanted[channel] = True
    before, after = int(present.sum()), int(wanted.sum())
    return wanted if after <= min(LARGEST * before, before - FEWEST) else present
