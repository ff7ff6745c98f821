"""The Optuna study: the one durable truth about a search."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from prune_search.errors import UserError
from prune_search.search.layout import Layout
from prune_search.tracking import redacted
from prune_search.training.files import patiently

STALE = 5  # seconds after which a lock that a killed process left is taken; Optuna waits 30
log = logging.getLogger("prune_search")
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


class Patient:
    """A storage whose database may be away for a while: every call is tried again until it answers.

    Only what the database's absence causes is tried again. Whoever calls waits; trials go on training meanwhile.

    Args:
        storage: Any Optuna storage.
        patience: Seconds until a call gives up and raises. Default (our choice): 15 minutes.
        pause: Seconds between two tries.
    """

    def __init__(self, storage: BaseStorage, patience: float = 900.0, pause: float = 1.0):
        self._storage, self._patience, self._pause = storage, patience, pause

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._storage, name)
        return functools.partial(self._call, value) if callable(value) else value

    def _call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        deadline, told = time.monotonic() + self._patience, False
        while True:
            try:
                return function(*arguments, **options)
            except (StorageInternalError, DBAPIError) as error:
                if not _away(error) or time.monotonic() >= deadline:
                    raise
                if not told:
                    log.warning("search.storage does not answer; trying for %.0f s: %s", self._patience, _cause(error))
                told = True
            time.sleep(self._pause)


def _away(error: Exception) -> bool:
    database = error if isinstance(error, DBAPIError) else error.__cause__
    return isinstance(database, (OperationalError, InterfaceError)) or getattr(
        database, "connection_invalidated", False
    )


def _cause(error: Exception) -> str:
    return redacted(str(error.__cause__ or error).strip().split("\n")[0])


def open_storage(layout: Layout, url: str | None) -> BaseStorage:
    """The journal file in the search's folder, or any Optuna storage URL (PostgreSQL for a cluster), waited for if it is away later.

    Raises:
        UserError: The database is not there, or its driver is not installed.
    """
    quiet()
    if url is None:
        return JournalStorage(Journal(layout.journal))
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        raise UserError(
            f"search.storage: {redacted(url)} needs a driver that is not installed: {_cause(error)}. "
            "For PostgreSQL: pip install 'prune-search[postgres]'."
        ) from None
    except DBAPIError as error:
        raise UserError(
            f"search.storage: {redacted(url)} does not answer: {_cause(error)}. Start the database, or set search.storage: null."
        ) from None
    return cast(BaseStorage, Patient(optuna.storages.get_storage(storage)))


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
