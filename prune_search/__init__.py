"""Search for the pruning recipe that gives the smallest network that keeps your accuracy.

Names are loaded on first use: ``from prune_search import prune`` brings in torch, but none of Ray, Optuna and MLflow.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"
_HOME = {
    "Search": "api",
    "Result": "api",
    "load_spec": "spec",
    "prune": "pruning.attach",
    "remove": "removal",
    "cost_of": "cost",
    "UserError": "errors",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
