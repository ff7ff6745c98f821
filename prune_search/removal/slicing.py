from __future__ import annotations

from torch import Tensor

Kept = tuple[Tensor, ...]
"""For each dimension of a tensor, the int64 indices that stay, ascending."""


def slice_like(tensor: Tensor, kept: Kept) -> Tensor:
    """Cuts a tensor (mask, score, momentum, ...) as its parameter was cut: ``kept[d]`` are the indices that
    stay along dimension d. Returns the tensor itself where nothing goes.
    """
    for dim, indices in enumerate(kept):
        if len(indices) != tensor.shape[dim]:
            tensor = tensor.index_select(dim, indices.to(tensor.device))
    return tensor
