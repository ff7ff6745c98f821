"""Calls that may fail: tried again as long as MLflow is away, else given up, logged and counted; never an exception."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prune_search.tracking.uris import redacted


@dataclass(frozen=True)
class Retry:
    """``first`` seconds before the second attempt, then ``factor`` times longer each, at most ``longest``.

    After ``attempts`` a call that fails while MLflow answers others is given up; one that finds it away waits on. The default
    (our choice) asks for 15 s first.
    """

    attempts: int = 5
    first: float = 1.0
    factor: float = 2.0
    longest: float = 30.0

    def delays(self) -> Iterator[float]:
        """The seconds to wait after each attempt."""
        delay = self.first
        while True:
            yield min(delay, self.longest)
            delay = min(delay * self.factor, self.longest)


class Patience:
    """Carries calls out for one thread, in order: while MLflow is away they wait.

    Args:
        alive: Whether MLflow answers at all.

    Attributes:
        failures: Entries given up so far.
        stop: Once set, nothing waits any more and nothing new is tried.
    """

    def __init__(self, retry: Retry, alive: Callable[[], bool], logger: logging.Logger) -> None:
        self.failures = 0
        self.stop = threading.Event()
        self._retry, self._alive, self._logger = retry, alive, logger
        self._last = ""

    def call(self, what: str, entries: int, run: Callable[[], Any]) -> None:
        """Call ``run``; once given up, count ``entries`` failures and say so, the same cause only once."""
        cause: Exception | str = "the search ended before MLflow answered"
        away = False
        for attempt, delay in enumerate(self._retry.delays(), 1):
            if self.stop.is_set():
                break
            try:
                run()
            except Exception as error:
                cause = error
            else:
                self._last = ""
                if away:
                    self._logger.warning("MLflow answers again; what waited is written.")
                return
            if _is_permanent(cause):
                break
            if attempt >= self._retry.attempts and not away:
                if self._alive():
                    break
                away = True
                self._logger.warning(
                    "MLflow does not answer: what is logged waits until it does. Cause: %s", _told(cause)
                )
            self.stop.wait(delay)
        self.failures += entries
        told = _told(cause)
        level = logging.DEBUG if told == self._last else logging.WARNING
        self._last = told
        self._logger.log(level, "MLflow: %s failed and is given up; the search goes on. Cause: %s", what, told)


def _told(cause: Exception | str) -> str:
    return redacted(str(cause)) or type(cause).__name__


def _is_permanent(error: Exception) -> bool:
    """Whether trying again cannot help: a refusal (HTTP 4xx), a missing file or run, a wrong value."""
    status = getattr(error, "get_http_status_code", None)
    if status is None:
        return isinstance(error, (LookupError, FileNotFoundError, TypeError, ValueError))
    created_meanwhile = getattr(error, "error_code", None) == "RESOURCE_ALREADY_EXISTS"
    return 400 <= status() < 500 and status() != 429 and not created_meanwhile
