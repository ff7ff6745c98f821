"""What the user wrote: YAML to frozen, validated objects. Importable without torch, ray, optuna and mlflow."""

from prune_search.errors import UserError
from prune_search.spec.config import TrialConfig
from prune_search.spec.load import Spec, load_spec

__all__ = ["Spec", "TrialConfig", "UserError", "load_spec"]
