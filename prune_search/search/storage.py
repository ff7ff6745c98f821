"""The Optuna study: the one durable truth about a search."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from prune_search.search.layout import Layout
from prune_search.training.files import patiently

STALE = 5  # seconds after which a lock that a killed process left is taken; Optuna waits 30
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def quiet() -> None:
    """Send Optuna's messages to the logging tree instead of stderr."""
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    logging.getLogger("optuna").setLevel(logging.WARNING)


class Journal(JournalFileBackend):
    """Optuna's journal file for one writing process: it waits for room on a full disk, and a line that was cut off, by that or by the
    machine's end, is taken back before the next is written. Optuna would append to it, and never read the file again.
    """

    def __init__(self, path: Path):
        super().__init__(str(path), JournalFileSymlinkLock(str(path), grace_period=STALE))
        self._path, self._writing = path, threading.Lock()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        patiently(lambda: self._append(logs))

    def _append(self, logs: list[dict[str, Any]]) -> None:
        with self._writing:
            with self._path.open("rb+") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 1))
                if end and file.read(1) != b"\n":
                    file.truncate(self._path.read_bytes().rfind(b"\n") + 1)
            super().append_logs(logs)


def open_storage(layout: Layout, url: str | None) -> BaseStorage:
    """The journal file in the search's folder, or any Optuna storage URL (PostgreSQL for a cluster), waited for if it is away later.

    Raises:
        UserError: The database is not there, or its driver is not installed.
    """
    quiet()
    if url is None:
        return JournalStorage(Journal(layout.journal))
    from prune_search.search.database import open_database  # sqlalchemy takes a third of a second to import

    return open_database(url)


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
