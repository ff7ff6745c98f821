"""A search's MLflow store: its writer, its model registry, and taking the search out of it."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna

from prune_search.errors import UserError
from prune_search.search.layout import Layout
from prune_search.search.storage import open_storage
from prune_search.spec import Spec
from prune_search.tracking import Tracker, delete_runs, redacted, register, resolve
from prune_search.training.remote import remove

log = logging.getLogger("prune_search")
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


def open_tracker(layout: Layout, spec: Spec) -> Tracker:
    """The writer to a search's MLflow runs."""
    return Tracker(tracking_uri(layout, spec), spec.name, layout.name, artifacts=layout.runs / "artifacts", log=log)


def register_trial(layout: Layout, spec: Spec, model: str, folder: Path, number: int) -> int:
    """Register an exported folder as a version of ``model`` in the MLflow registry; the version's number."""
    tracker = open_tracker(layout, spec)
    run = tracker.known().get(number)
    tracker.close()
    if run is None:
        raise UserError(
            f"MLflow at {redacted(spec.tracking.uri)} has no run of trial {number}. Resume the search once to write it."
        )
    tags = {"prune_search.search": layout.name, "prune_search.trial": str(number)}
    card = (folder / "README.md").read_text()
    return register(tracking_uri(layout, spec), model, folder, run.run_id, tags, card)


def delete(layout: Layout) -> None:
    """Delete a search: its study, its folder, the copies of it, and its MLflow runs (MLflow keeps them as deleted)."""
    spec = layout.spec()
    delete_runs(tracking_uri(layout, spec), spec.name, layout.name)
    remove(layout.remote(spec.resources.storage, layout.folder))
    if spec.search.storage is not None:
        with suppress(KeyError):  # it has none yet
            optuna.delete_study(study_name=layout.name, storage=open_storage(layout, spec.search.storage))
    shutil.rmtree(layout.folder)
