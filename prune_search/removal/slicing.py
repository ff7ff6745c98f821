from __future__ import annotations

import torch
from torch import Tensor

Kept = tuple[Tensor, ...]
"""For each dimension of a tensor, the int64 indices that stay, ascending."""


def slice_like(tensor: Tensor, kept: Kept) -> Tensor:
    """Cuts a tensor (mask, score, momentum, ...) as its parameter was cut: ``kept[d]`` are the indices that
    stay along dimension d; what has its channels last in memory keeps them there. Returns the tensor itself where nothing goes.
    """
    cut = tensor
    for dim, indices in enumerate(kept):
        if len(indices) != tensor.shape[dim]:
            cut = cut.index_select(dim, indices.to(tensor.device))
    if cut is tensor or not _channels_last(tensor):
        return cut
    return torch.empty_like(cut, memory_format=torch.channels_last).copy_(cut)


def _channels_last(tensor: Tensor) -> bool:
    """By its strides, also where both layouts are one, as with one channel: kernels are chosen by them."""
    if tensor.dim() != 4:
        return False
    return tensor.stride() == torch.empty_like(tensor, device="meta", memory_format=torch.channels_last).stride()
