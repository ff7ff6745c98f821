"""What can only be measured: time, file size, memory. Measure the removed network, where it will run."""

from __future__ import annotations

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from prune_search.cost.encoding import encode, unsigned_zeros
from prune_search.cost.layers import evaluating


def latency_ms(
    model: nn.Module, example_input: torch.Tensor, *, warmup: int = 10, min_seconds: float = 0.5
) -> tuple[float, float]:
    """Median and interquartile range, in ms, of one forward pass of the batch given, eval and inference mode.

    By ``torch.utils.benchmark`` (it waits for the GPU), on as many threads as torch is set to.

    Args:
        model: The network, on the device to measure.
        example_input: The batch to time, on the same device.
        warmup: Untimed passes first.
        min_seconds: How long to measure.
    """
    from torch.utils.benchmark import Timer  # imports the compiler of extensions, which looks for CUDA and complains

    timer = Timer("model(x)", globals={"model": model, "x": example_input}, num_threads=torch.get_num_threads())
    with evaluating(model), torch.inference_mode():
        for _ in range(warmup):
            model(example_input)
        times = timer.blocked_autorange(min_run_time=min_seconds)
    return times.median * 1e3, times.iqr * 1e3


def conditions(example_input: torch.Tensor) -> dict[str, str | int]:
    """Under what a measurement was taken: device, batch, dtype, threads. To be kept beside its value."""
    device = example_input.device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "batch": len(example_input),
        "dtype": str(example_input.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def size_bytes(model: nn.Module) -> int:
    """Length of the network's state as a safetensors file of :mod:`prune_search.cost.encoding`, in bytes.

    A tensor with enough zeros (0.0 or -0.0) counts as a bitmap and its other values, one under two names once. The
    exported ``model.safetensors`` of the same network is as long, unless the two hold other tensors: the export has
    tied ones under each name, floats as float32, and exactly those layers and buffers that the forward pass uses.
    """
    tensors, seen = {}, set()
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name
        if key not in seen:
            seen.add(key)
            tensors[name] = unsigned_zeros(tensor.detach())
    return len(encode(tensors))


def peak_memory_bytes(model: nn.Module, example_input: torch.Tensor) -> int:
    """Most bytes held during one forward pass of the batch given: parameters, buffers, input, intermediates.

    Intermediates are what the allocator hands out during the pass (CUDA: its own peak, in its block sizes;
    CPU: the profiler's memory events).
    """
    tensors = [*model.parameters(), *model.buffers(), example_input]
    resident = {t.data_ptr(): t.numel() * t.element_size() for t in tensors}
    peak = _peak_cuda if example_input.is_cuda else _peak_cpu
    with evaluating(model), torch.inference_mode():
        model(example_input)
        return sum(resident.values()) + peak(model, example_input)


def _peak_cuda(model: nn.Module, example_input: torch.Tensor) -> int:
    device = example_input.device
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    model(example_input)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_cpu(model: nn.Module, example_input: torch.Tensor) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model(example_input)
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
