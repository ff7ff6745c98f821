"""What a network costs: parameters, multiply-accumulates, training FLOP, and what can only be measured.

Names are imported on first use, so that ``prune_search.cost.metrics`` can be read without torch.
"""

from __future__ import annotations

import importlib

_HOME = {
    "Cost": "counting",
    "LayerCost": "counting",
    "cost_of": "counting",
    "count": "counting",
    "encode": "encoding",
    "read_tensors": "encoding",
    "evaluating": "layers",
    "prunable_layers": "layers",
    "weight_gradient_flops": "learning",
    "trace_positions": "layers",
    "conditions": "measured",
    "latency_ms": "measured",
    "peak_memory_bytes": "measured",
    "size_bytes": "measured",
    "forward_flops": "training",
    "step_flops": "training",
    "unsigned_zeros": "encoding",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
