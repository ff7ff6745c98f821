"""The Optuna study: the one durable truth about a search."""

from __future__ import annotations

import logging
import warnings

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from prune_search.search.layout import Layout

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def quiet() -> None:
    """Send Optuna's messages to the logging tree instead of stderr."""
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    logging.getLogger("optuna").setLevel(logging.WARNING)


def open_storage(layout: Layout, url: str | None) -> BaseStorage:
    """The journal file in the search's folder, or any Optuna storage URL (PostgreSQL for a cluster)."""
    quiet()
    if url is None:
        return JournalStorage(JournalFileBackend(str(layout.journal)))
    return optuna.storages.get_storage(url)


def open_study(layout: Layout, storage: BaseStorage, objectives: dict[str, str]) -> optuna.Study:
    """Create the study, or load it if it exists; metrics are named."""
    study = optuna.create_study(
        study_name=layout.name,
        storage=storage,
        directions=list(objectives.values()),
        sampler=optuna.samplers.RandomSampler(seed=0),
        load_if_exists=True,
    )
    if study.metric_names is None:
        study.set_metric_names(list(objectives))
    return study
