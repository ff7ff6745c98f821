"""Units: what can only be kept or cut as one, found as the connected components of channels."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor


class Units:
    """Every channel of every layer has an id; channels that must go together are unified into one unit."""

    def __init__(self) -> None:
        self.rows: dict[str, Tensor] = {}
        self._count = 0
        self._pairs: list[Tensor] = []
        self._pins: list[tuple[Tensor, str]] = []

    def of(self, parameter: str, width: int) -> Tensor:
        """The ids, int64 [width], of a parameter's rows; the same at every call."""
        if parameter not in self.rows:
            self.rows[parameter] = self._fresh(width)
        return self.rows[parameter]

    def fixed(self, reason: str) -> Tensor:
        """A new id, int64 [1], that is never cut."""
        new = self._fresh(1)
        self.pin(new, reason)
        return new

    def pin(self, ids: Tensor, reason: str) -> None:
        """Never cut these."""
        self._pins.append((ids.unique(), reason))

    def unify(self, one: Tensor, other: Tensor) -> None:
        """Ids at the same place of two tensors, broadcast, go together."""
        one, other = torch.broadcast_tensors(one, other)
        for dim in range(one.dim()):
            if one.stride(dim) == other.stride(dim) == 0:  # repeated along it
                one, other = one.narrow(dim, 0, 1), other.narrow(dim, 0, 1)
        pairs = torch.stack([one.reshape(-1), other.reshape(-1)])
        self._pairs.append(pairs[:, pairs[0] != pairs[1]])

    def unify_along(self, ids: Tensor, dim: int) -> None:
        """A dimension that cannot shrink: what differs along it goes together."""
        self.unify(ids.narrow(dim, 0, 1), ids)

    def settle(self) -> tuple[Tensor, dict[int, str]]:
        """The unit of each id, int64 [ids], and for each unit that must stay the first reason why."""
        first, second = (torch.cat(self._pairs, 1) if self._pairs else torch.zeros(2, 0, dtype=torch.int64)).numpy()
        edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(self._count, self._count))
        units = torch.from_numpy(connected_components(edges, directed=False)[1]).long()
        reasons: dict[int, str] = {}
        for ids, reason in self._pins:
            for unit in units[ids].unique().tolist():
                reasons.setdefault(unit, reason)
        return units, reasons

    def _fresh(self, number: int) -> Tensor:
        ids = torch.arange(self._count, self._count + number)
        self._count += number
        return ids
