"""Writes one search to MLflow, in the process that does nothing else: entries are queued, a thread carries them out."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prune_search.tracking.connection import Connection
from prune_search.tracking.retry import Patience, Retry
from prune_search.tracking.runs import Row, Wanted
from prune_search.tracking.store import Store

ROWS_PER_BATCH = 40  # of some 23 metrics: one batch of MLflow's
ENTRIES_KEPT = 500  # at most so many that are carried out are not told so


@dataclass(frozen=True)
class _Every:
    """In the place of a trial's number: the entry concerns all of them."""


@dataclass(frozen=True)
class _Call:
    what: str
    number: int | None | _Every
    run: Callable[[], Any]


@dataclass(frozen=True)
class _Log:
    number: int | None
    row: Row


class Writer:
    """What a :class:`prune_search.tracking.Tracker` tells, carried out.

    Every method only puts one entry into a queue. A thread imports mlflow, opens the store and works the queue off, each run's
    entries in order. While MLflow is away they wait; what fails although it answers is tried again (:class:`Retry`), then logged
    as a warning and counted.

    Args:
        uri, experiment, search, artifacts, retry: As the tracker's.
        logger: Receives warnings and MLflow's own, without credentials.
        tell: Called with ``("written", entries, failures)``, how many of the first entries are carried out or given up, and how
            many were given up, and with ``("reply", token, value)``.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        search: str,
        artifacts: Path | None,
        retry: Retry | None,
        *,
        logger: logging.Logger,
        tell: Callable[..., None],
    ) -> None:
        self._search, self._tell = search, tell
        connection = Connection(uri, experiment, artifacts, logger)
        self._patience, self._store = Patience(retry or Retry(), connection.alive, logger), Store(connection, search)
        self._queue: queue.SimpleQueue[_Call | _Log | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="mlflow", daemon=True).start()

    def start_search(self, wanted: Wanted) -> None:
        self._call("starting the search", None, partial(self._store.start, None, wanted))

    def start_trial(self, number: int, wanted: Wanted) -> None:
        self._call(f"starting trial {number}", number, partial(self._store.start, number, wanted))

    def log(self, number: int | None, row: Row) -> None:
        self._queue.put(_Log(number, row))

    def end_trial(self, number: int, state: str, reason: str | None, rounds: str | None) -> None:
        self._call(f"ending trial {number}", number, partial(self._store.end_trial, number, state, reason, rounds))

    def end_search(self, status: str) -> None:
        self._call("ending the search", None, partial(self._store.end_search, status))

    def set_front(self, numbers: frozenset[int]) -> None:
        self._call("tagging the front", _Every(), partial(self._store.set_front, numbers))

    def set_tags(self, number: int | None, tags: Mapping[str, str]) -> None:
        self._call("setting tags", number, partial(self._store.tag, number, tags))

    def log_artifact(self, number: int | None, path: Path, folder: str | None) -> None:
        self._call(f"uploading {path.name}", number, partial(self._store.artifact, number, path, folder))

    def log_text(self, number: int | None, text: str, file: str) -> None:
        self._call(f"uploading {file}", number, partial(self._store.text, number, text, file))

    def log_data(self, number: int | None, data: Mapping[str, Any]) -> None:
        self._call("naming the data", number, partial(self._store.data, number, data))

    def log_model(self, number: int, *model: Any) -> None:
        self._call("logging a model", number, partial(self._store.model, number, *model))

    def sweep(self) -> None:
        self._call("sweeping", _Every(), self._store.sweep)

    def known(self, token: int, search: str | None) -> None:
        """Replies with the trials that MLflow has of a search (None: this one); not at all where it cannot be read."""
        self._call(
            "reading runs", _Every(), lambda: self._tell("reply", token, self._store.known(search or self._search))
        )

    def flush(self, token: int) -> None:
        """Replies once everything before is carried out or given up."""
        self._call("", _Every(), partial(self._tell, "reply", token, None))

    def stop(self) -> None:
        """Try nothing more, and end."""
        self._patience.stop.set()
        self._queue.put(None)

    def _call(self, what: str, number: int | None | _Every, run: Callable[[], Any]) -> None:
        self._queue.put(_Call(what, number, run))

    def _work(self) -> None:
        rows: dict[int | None, list[Row]] = {}
        taken = 0
        while True:
            try:
                entry = self._queue.get(block=not rows)
            except queue.Empty:
                self._write(rows, list(rows))
                self._tell("written", taken, self._patience.failures)
                continue
            if entry is None:
                return
            taken += 1
            if isinstance(entry, _Log):
                rows.setdefault(entry.number, []).append(entry.row)
                if len(rows[entry.number]) == ROWS_PER_BATCH:
                    self._write(rows, [entry.number])
            else:
                if isinstance(entry.number, _Every):
                    self._write(rows, list(rows))
                    self._tell("written", taken - 1, self._patience.failures)
                else:
                    self._write(rows, [entry.number])
                self._patience.call(entry.what, 1, entry.run)
            if taken % ENTRIES_KEPT == 0:
                self._write(rows, list(rows))
            if not rows:
                self._tell("written", taken, self._patience.failures)

    def _write(self, rows: dict[int | None, list[Row]], numbers: list[int | None]) -> None:
        for number in numbers:
            if number in rows:
                batch = rows.pop(number)
                what = "writing metrics" + ("" if number is None else f" of trial {number}")
                self._patience.call(what, len(batch), partial(self._store.log, number, batch))
