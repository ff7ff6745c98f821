"""The search's one writer to MLflow: another process does the work, nobody waits or fails."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from prune_search.cost.metrics import Report
from prune_search.tracking import runs as names
from prune_search.tracking.channel import GONE, End, channel
from prune_search.tracking.retry import Retry
from prune_search.tracking.runs import Row, RunInfo, Wanted
from prune_search.tracking.uris import absolute

FLUSH = "flush"


class Tracker:
    """Writes one search to MLflow. To be used by the driver alone.

    Every method but :meth:`known`, :meth:`flush` and :meth:`close` only puts an entry into a queue. Another process imports mlflow
    and carries the entries out, each run's in order (:mod:`prune_search.tracking.writer`): MLflow takes milliseconds of CPU for a
    report. While MLflow is away they wait; what fails although it answers is tried again (:class:`Retry`), then logged as a warning
    and counted. If the process dies, another one takes over. The search goes on in any case. What still waits when it ends is
    counted, too; resuming the search writes it, as :meth:`known` tells what is missing.

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
        environment = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
        place = artifacts and artifacts.absolute()
        self._end = End((environment, absolute(uri), experiment, search, place, retry), log)
        self._channel = channel()
        self._number = self._channel.join(self._end)
        self._tokens = itertools.count()
        self._closed, self._left = False, 0

    @property
    def failures(self) -> int:
        """Entries that were given up so far."""
        return self._end.failures + self._left

    def start_search(self, params: Mapping[str, Any], tags: Mapping[str, str], description: str) -> None:
        """Create the parent run, or take up the one that this search has."""
        own = {names.ROLE: "search", names.SEARCH: self._search, names.NOTE: description}
        self._tell("start_search", Wanted(self._search, dict(params), {**tags, **own}, _now()))

    def start_trial(self, number: int, name: str, params: Mapping[str, Any]) -> None:
        """Create the child run of a trial, or set the one that it has back to RUNNING.

        Args:
            number: The trial's number in the study.
            name: What people read in lists, as ``#007 dyprune``.
            params: Flattened sampled values. Those that the run already has are not written again.
        """
        tags = {names.ROLE: "trial", names.SEARCH: self._search, names.TRIAL: str(number)}
        self._tell("start_trial", number, Wanted(name, dict(params), tags, _now()))

    def log(self, number: int, report: Report) -> None:
        """Write an epoch's report; one of an epoch that the run already has is skipped."""
        self._tell("log", number, Row(report.epoch, report.metrics(), _now(), report=True))

    def log_metrics(self, number: int | None, metrics: Mapping[str, float], step: int) -> None:
        """Write metrics of a trial, or of the search (None), whatever was written before."""
        self._tell("log", number, Row(step, dict(metrics), _now()))

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
        self._tell("end_trial", number, state, reason, rounds)

    def end_search(self, status: str = "FINISHED") -> None:
        """End the parent run as FINISHED, FAILED or KILLED; ValueError for another status."""
        _one_of(status, names.ENDED)
        self._tell("end_search", status)

    def set_front(self, numbers: Iterable[int]) -> None:
        """Tag the completed trials: these are on the front, the others not; only changes are written."""
        self._tell("set_front", frozenset(numbers))

    def set_tags(self, number: int | None, tags: Mapping[str, str]) -> None:
        """Set tags of a trial's run, or of the search's (None)."""
        self._tell("set_tags", number, dict(tags))

    def log_artifact(self, number: int | None, path: Path, folder: str | None = None) -> None:
        """Upload a file, or what is in a folder. It must stay as it is until :meth:`flush` returns True."""
        self._tell("log_artifact", number, path.absolute(), folder)

    def log_text(self, number: int | None, text: str, file: str) -> None:
        """Upload ``text`` as the file ``file``, which may name folders."""
        self._tell("log_text", number, text, file)

    def log_data(self, number: int | None, data: Mapping[str, Any]) -> None:
        """Name the data that a trial, or the search (None), was trained, validated and tested on.

        Args:
            data: ``name``, ``root``, ``fingerprint`` (hex), and what else shall be seen of it.
        """
        self._tell("log_data", number, dict(data))

    def log_model(
        self, number: int, name: str, files: Iterable[Path], loader: Path, metrics: Iterable[str] = ()
    ) -> None:
        """Log a trial's network as an MLflow model that ``mlflow.pyfunc.load_model`` takes; once for a run.

        Args:
            number: The trial.
            name: The model's.
            files: What it consists of.
            loader: A module with a function ``_load_pyfunc(folder)``, whose result has ``predict``. It needs torch and safetensors.
            metrics: Names of metrics of the trial, whose last values are the model's, too.
        """
        self._tell("log_model", number, name, [path.absolute() for path in files], loader, list(metrics))

    def sweep(self) -> None:
        """End all runs of this search that are still RUNNING, whoever started them, as interrupted."""
        self._tell("sweep")

    def known(self, search: str | None = None, timeout: float = 120.0) -> dict[int, RunInfo]:
        """The trials that MLflow has of a search (None: this one) of this experiment, by number.

        Waits for everything queued before. Empty when MLflow is away or takes over ``timeout`` seconds:
        writing it all once more is harmless.
        """
        token, reply = self._expect()
        self._tell("known", token, search)
        whole = self.flush(timeout)
        del self._end.replies[token]
        return dict(sorted(reply.get().items())) if whole and not reply.empty() else {}

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued so far was carried out or given up; False after ``timeout`` s."""
        return self._flush(timeout, lambda: False)

    def close(self, timeout: float = 60.0) -> bool:
        """Flush, then end. What is still queued once nothing was written for ``timeout`` seconds is given up and counted; what is
        queued later is dropped.

        Returns:
            Whether everything queued was carried out or given up by the usual rules.
        """
        if self._closed:
            return not self._left
        finished = self._flush(timeout, self._moves())
        self._closed = True
        self._left = sum(method != FLUSH for method, _ in self._end.unwritten.copy())
        self._channel.leave(self._number)
        if self.failures:
            self._logger.warning("MLflow lacks %d entries of search '%s'.", self.failures, self._search)
        return finished

    def _flush(self, timeout: float | None, goes_on: Callable[[], bool]) -> bool:
        """``goes_on``: whether to wait once more after ``timeout`` seconds."""
        token, reply = self._expect()
        try:
            if self._closed or not self._channel.alive:
                return False
            self._tell(FLUSH, token)
            while True:
                try:
                    return reply.get(timeout=timeout) is not GONE
                except queue.Empty:
                    if not goes_on():
                        return False
        finally:
            del self._end.replies[token]

    def _moves(self) -> Callable[[], bool]:
        """Whether anything was written since this was last asked."""
        seen = self._end.settled

        def moves() -> bool:
            nonlocal seen
            before, seen = seen, self._end.settled
            return seen != before

        return moves

    def _tell(self, method: str, *arguments: Any) -> None:
        if not self._closed:
            self._channel.tell(self._number, self._end, (method, arguments))

    def _expect(self) -> tuple[int, queue.SimpleQueue[Any]]:
        token = next(self._tokens)
        reply = self._end.replies[token] = queue.SimpleQueue()
        return token, reply


def _now() -> int:
    return int(time.time() * 1000)


def _one_of(value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(f"Got '{value}'; allowed: {', '.join(allowed)}.")
