"""Mean and standard deviation per channel of a training split."""

from __future__ import annotations

import torch
from torch import Tensor


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation of every channel, in float64; uint8 counts as value / 255.

    Args:
        images: uint8 or float32 [N, C, ...].

    Returns:
        Two tuples of length C. A channel that never changes gets the standard deviation 1, so that dividing
        is safe.
    """
    if images.dtype == torch.uint8:
        counts = torch.stack([torch.bincount(channel.reshape(-1), minlength=256) for channel in images.unbind(1)])
        values = torch.arange(256, dtype=torch.float64) / 255
        share = counts.double() / counts.sum(1, keepdim=True)
        mean = share @ values
        variance = (share * (values - mean[:, None]) ** 2).sum(1)
    else:
        flat = images.double().transpose(0, 1).reshape(images.shape[1], -1)
        variance, mean = torch.var_mean(flat, dim=1, correction=0)
    std = variance.sqrt()
    return tuple(mean.tolist()), tuple(torch.where(std > 1e-8, std, 1.0).tolist())
