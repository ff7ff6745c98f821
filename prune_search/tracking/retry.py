"""Calls that may fail: tried again, then given up, logged and counted; never an exception."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from prune_search.tracking.uris import redacted


@dataclass(frozen=True)
class Retry:
    """At most ``attempts`` calls, ``first`` seconds before the second one, then ``factor`` times longer each.

    The default (our choice) bridges a server's restart: 1 + 2 + 4 + 8 = 15 s.
    """

    attempts: int = 5
    first: float = 1.0
    factor: float = 2.0

    def delays(self) -> Iterator[float]:
        """The seconds to wait after each attempt but the last."""
        for attempt in range(self.attempts - 1):
            yield self.first * self.factor**attempt


class Patience:
    """Carries calls out for one thread.

    Once one was given up because MLflow does not answer, later ones get a single attempt until one succeeds,
    so that a long outage does not pile up waiting.

    Attributes:
        failures: Entries given up so far.
        stop: Once set, nothing waits any more and nothing new is tried.
    """

    def __init__(self, retry: Retry, logger: logging.Logger) -> None:
        self.failures = 0
        self.stop = threading.Event()
        self._retry, self._logger = retry, logger
        self._away = False
        self._last = ""

    def call(self, what: str, entries: int, run: Callable[[], Any]) -> None:
        """Call ``run``; once given up, count ``entries`` failures and say so, the same cause only once."""
        cause: Exception | str = "the search ended before MLflow answered"
        delays = iter(()) if self._away else self._retry.delays()
        while not self.stop.is_set():
            try:
                run()
            except Exception as error:
                cause = error
            else:
                self._away, self._last = False, ""
                return
            delay = None if _is_permanent(cause) else next(delays, None)
            if delay is None:
                break
            self.stop.wait(delay)
        self._away = not (isinstance(cause, Exception) and _is_permanent(cause))
        self.failures += entries
        told = redacted(str(cause)) or type(cause).__name__
        level = logging.DEBUG if told == self._last else logging.WARNING
        self._last = told
        self._logger.log(level, "MLflow: %s failed and is given up; the search goes on. Cause: %s", what, told)


def _is_permanent(error: Exception) -> bool:
    """Whether trying again cannot help: a refusal (HTTP 4xx), a missing file or run, a wrong value."""
    status = getattr(error, "get_http_status_code", None)
    if status is None:
        return isinstance(error, (LookupError, FileNotFoundError, TypeError, ValueError))
    created_meanwhile = getattr(error, "error_code", None) == "RESOURCE_ALREADY_EXISTS"
    return 400 <= status() < 500 and status() != 429 and not created_meanwhile
