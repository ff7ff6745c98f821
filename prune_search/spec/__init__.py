"""What the user wrote: YAML to frozen, validated objects. Importable without torch, ray, optuna, mlflow."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prune_search.spec.config import TrialConfig
    from prune_search.spec.errors import UserError
    from prune_search.spec.load import Spec, load_spec

__all__ = ["Spec", "TrialConfig", "UserError", "load_spec"]

_HOMES = {"Spec": "load", "load_spec": "load", "TrialConfig": "config", "UserError": "errors"}


def __getattr__(name: str) -> object:  # lazy: pruning.recipe imports spec.errors while spec.config imports it
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
