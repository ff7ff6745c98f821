"""The search's one writer to MLflow: calls are queued, a thread carries them out, nobody waits or fails."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prune_search.cost.metrics import Report
from prune_search.tracking import runs as names
from prune_search.tracking.connection import Connection
from prune_search.tracking.retry import Patience, Retry
from prune_search.tracking.runs import Row, RunInfo, Wanted
from prune_search.tracking.store import Store
from prune_search.tracking.uris import absolute

ROWS_PER_BATCH = 40  # of some 23 metrics: one batch of MLflow's


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


class Tracker:
    """Writes one search to MLflow. To be used by the driver alone.

    Every method but :meth:`known`, :meth:`flush` and :meth:`close` only puts an entry into a queue. One
    thread imports mlflow, opens the store and works the queue off, each run's entries in order. While MLflow is
    away they wait; what fails although it answers is tried again (:class:`Retry`), then logged as a warning and
    counted. The search goes on in any case. What still waits when it ends is counted, too; resuming the search
    writes it, as :meth:`known` tells what is missing.

    Args:
        uri: MLflow tracking URI. A relative SQLite path is relative to the current directory; its folders and
            the database are created.
        experiment: Name of the experiment; an existing one is used.
        search: Name of the search; the tag of all its runs, and the name of the parent run.
        artifacts: Folder for the files of a new experiment; a tracking server decides itself. None: MLflow's.
        log: Receives this tracker's warnings and MLflow's own, without credentials.
        retry: How often a failed call is tried again; None: the default.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        search: str,
        *,
        artifacts: Path | None,
        log: logging.Logger,
        retry: Retry | None = None,
    ) -> None:
        self._search, self._logger = search, log
        place = artifacts and artifacts.absolute()
        connection = Connection(absolute(uri), experiment, place, log)
        self._patience, self._store = Patience(retry or Retry(), connection.alive, log), Store(connection, search)
        self._queue: queue.SimpleQueue[_Call | _Log | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    @property
    def failures(self) -> int:
        """Entries that were given up so far."""
        return self._patience.failures

    def start_search(self, params: Mapping[str, Any], tags: Mapping[str, str], description: str) -> None:
        """Create the parent run, or take up the one that this search has."""
        own = {names.ROLE: "search", names.SEARCH: self._search, names.NOTE: description}
        wanted = Wanted(self._search, dict(params), {**tags, **own}, _now())
        self._call("starting the search", None, partial(self._store.start, None, wanted))

    def start_trial(self, number: int, name: str, params: Mapping[str, Any]) -> None:
        """Create the child run of a trial, or set the one that it has back to RUNNING.

        Args:
            number: The trial's number in the study.
            name: What people read in lists, as ``#007 dyprune``.
            params: Flattened sampled values. Those that the run already has are not written again.
        """
        tags = {names.ROLE: "trial", names.SEARCH: self._search, names.TRIAL: str(number)}
        wanted = Wanted(name, dict(params), tags, _now())
        self._call(f"starting trial {number}", number, partial(self._store.start, number, wanted))

    def log(self, number: int, report: Report) -> None:
        """Write an epoch's report; one of an epoch that the run already has is skipped."""
        self._queue.put(_Log(number, Row(report.epoch, report.metrics(), _now(), report=True)))

    def log_metrics(self, number: int | None, metrics: Mapping[str, float], step: int) -> None:
        """Write metrics of a trial, or of the search (None), whatever was written before."""
        self._queue.put(_Log(number, Row(step, dict(metrics), _now())))

    def end_trial(self, number: int, state: str, reason: str | None = None, rounds: str | None = None) -> None:
        """End a trial's run.

        Args:
            number: The trial.
            state: completed, stopped, infeasible (MLflow: FINISHED), failed (FAILED) or interrupted (KILLED).
            reason: Why, as ``no_event``.
            rounds: After which epochs its events came, and why each round ended there.

        Raises:
            ValueError: for another state.
        """
        _one_of(state, names.STATUS)
        self._call(f"ending trial {number}", number, partial(self._store.end_trial, number, state, reason, rounds))

    def end_search(self, status: str = "FINISHED") -> None:
        """End the parent run as FINISHED, FAILED or KILLED; ValueError for another status."""
        _one_of(status, names.ENDED)
        self._call("ending the search", None, partial(self._store.end_search, status))

    def set_front(self, numbers: Iterable[int]) -> None:
        """Tag the completed trials: these are on the front, the others not; only changes are written."""
        self._call("tagging the front", _Every(), partial(self._store.set_front, frozenset(numbers)))

    def set_tags(self, number: int | None, tags: Mapping[str, str]) -> None:
        """Set tags of a trial's run, or of the search's (None)."""
        self._call("setting tags", number, partial(self._store.tag, number, dict(tags)))

    def log_artifact(self, number: int | None, path: Path, folder: str | None = None) -> None:
        """Upload a file, or what is in a folder. It must stay as it is until :meth:`flush` returns True."""
        self._call(f"uploading {path.name}", number, partial(self._store.artifact, number, path.absolute(), folder))

    def log_text(self, number: int | None, text: str, file: str) -> None:
        """Upload ``text`` as the file ``file``, which may name folders."""
        self._call(f"uploading {file}", number, partial(self._store.text, number, text, file))

    def sweep(self) -> None:
        """End all runs of this search that are still RUNNING, whoever started them, as interrupted."""
        self._call("sweeping", _Every(), self._store.sweep)

    def known(self, search: str | None = None, timeout: float = 120.0) -> dict[int, RunInfo]:
        """The trials that MLflow has of a search (None: this one) of this experiment, by number.

        Waits for everything queued before. Empty when MLflow is away or takes over ``timeout`` seconds:
        writing it all once more is harmless.
        """
        found: dict[int, RunInfo] = {}
        self._call("reading runs", _Every(), lambda: found.update(self._store.known(search or self._search)))
        return dict(sorted(found.items())) if self.flush(timeout) else {}

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued so far was carried out or given up; False after ``timeout`` s."""
        done = threading.Event()
        self._queue.put(done)
        return self._thread.is_alive() and done.wait(timeout)

    def close(self, timeout: float = 60.0) -> bool:
        """Flush, then end the thread. What is still queued after ``timeout`` seconds is given up and counted;
        what is queued later is dropped.

        Returns:
            Whether everything queued was carried out or given up by the usual rules.
        """
        finished = not self._thread.is_alive() or self.flush(timeout)
        self._patience.stop.set()
        self._queue.put(None)
        self._thread.join(timeout if finished else 1.0)
        if self.failures:
            self._logger.warning("MLflow lacks %d entries of search '%s'.", self.failures, self._search)
        return finished

    def _call(self, what: str, number: int | None | _Every, run: Callable[[], Any]) -> None:
        self._queue.put(_Call(what, number, run))

    def _work(self) -> None:
        rows: dict[int | None, list[Row]] = {}
        while True:
            try:
                entry = self._queue.get(block=not rows)
            except queue.Empty:
                self._write(rows, list(rows))
                continue
            if isinstance(entry, _Log):
                rows.setdefault(entry.number, []).append(entry.row)
                if len(rows[entry.number]) == ROWS_PER_BATCH:
                    self._write(rows, [entry.number])
            elif isinstance(entry, _Call):
                self._write(rows, list(rows) if isinstance(entry.number, _Every) else [entry.number])
                self._patience.call(entry.what, 1, entry.run)
            else:
                self._write(rows, list(rows))
                if entry is None:
                    return
                entry.set()

    def _write(self, rows: dict[int | None, list[Row]], numbers: list[int | None]) -> None:
        for number in numbers:
            if number in rows:
                batch = rows.pop(number)
                what = "writing metrics" + ("" if number is None else f" of trial {number}")
                self._patience.call(what, len(batch), partial(self._store.log, number, batch))


def _now() -> int:
    return int(time.time() * 1000)


def _one_of(value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(f"Got '{value}'; allowed: {', '.join(allowed)}.")
