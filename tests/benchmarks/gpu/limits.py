"""The least time that a training step can take on a device, by its arithmetic and by its memory, both measured."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from prune_search.cost import cost_of


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The best of five."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times)


def rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """FLOPs a second of a large matrix product, bytes a second of a large copy (read and written)."""
    side = 8192 if device.type == "cuda" else 1024
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    block = torch.zeros(side * side, device=device)
    return 2 * side**3 / _seconds(lambda: matrix @ matrix, device), 8 * side * side / _seconds(block.clone, device)


def moved(model: nn.Module, example: Tensor, size: int) -> int:
    """Bytes that layers of ``model`` read and write at least in a training step, elements of ``size`` bytes.

    Each layer's inputs and outputs once forward, and twice backward (both gradients). What caches hold and what is fused
    costs less; optimizer and masks cost more.
    """
    elements = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal elements
        elements += sum(tensor.numel() for tensor in (*inputs, output))

    hooks = [layer.register_forward_hook(count) for layer in model.modules() if not [*layer.children()]]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return 3 * size * elements


def told(model: nn.Module, example: Tensor, dtype: torch.dtype, seconds: float) -> str:
    """What a step of ``seconds`` on a batch like ``example`` reaches, and what limits it."""
    flops, bytes_ = rates(example.device, dtype)
    needed = 3 * 2 * cost_of(model, example[:1]).physical_macs * len(example)
    traffic = moved(model, example, dtype.itemsize)
    arithmetic, memory = needed / flops, traffic / bytes_
    name = "arithmetic" if arithmetic > memory else "memory"
    if seconds > 3 * max(arithmetic, memory):
        name = "neither: launches, or small kernels"
    return (
        f"a step takes {1e3 * seconds:.2f} ms: {needed / seconds / 1e12:.2f} TFLOP/s of {flops / 1e12:.2f}, at least "
        f"{traffic / seconds / 1e9:.0f} GB/s of {bytes_ / 1e9:.0f}; least time {1e3 * arithmetic:.2f} ms by arithmetic, "
        f"{1e3 * memory:.2f} ms by memory; limit: {name}"
    )
