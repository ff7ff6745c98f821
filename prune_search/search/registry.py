"""A search's MLflow store, and weights to start from that lie in its model registry."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prune_search.errors import UserError
from prune_search.search.layout import Layout
from prune_search.spec import Spec
from prune_search.tracking import resolve

SCHEME = "models:/"
DEFAULT_URI = "sqlite:///runs/mlflow.db"


def tracking_uri(layout: Layout, spec: Spec) -> str:
    """The MLflow store; the default one lies in the runs directory, wherever that is."""
    uri = spec.tracking.uri
    return f"sqlite:///{layout.runs / 'mlflow.db'}" if uri == DEFAULT_URI else uri


def local_weights(uri: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function that puts a local file in the place of ``model.checkpoint: models:/NAME/VERSION`` of a configuration.

    Args:
        uri: The MLflow store that has the registry.
    """

    @functools.cache
    def fetch(model: str) -> str:
        file = Path(resolve(uri, model)) / "model.safetensors"
        if not file.exists():
            raise UserError(
                f"{model} holds no model.safetensors. Register one with: prune-search export NAME --register MODEL"
            )
        return str(file)

    def prepare(config: dict[str, Any]) -> dict[str, Any]:
        model = config["model"]
        if not isinstance(model, dict) or not str(model.get("checkpoint", "")).startswith(SCHEME):
            return config
        return {**config, "model": {**model, "checkpoint": fetch(model["checkpoint"])}}

    return prepare
