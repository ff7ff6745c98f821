"""The process that writes to MLflow for another one: ``python -m prune_search.tracking.process FD``, a connection's number.

It ends when the other end of the connection does, at once: a search that is resumed writes what is missing, and nobody beside it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from prune_search.tracking.writer import Writer


def main(connection: Connection) -> None:
    """Open, feed and forget the writers of trackers, as messages ``(tracker, method, arguments)`` say."""
    writers: dict[int, Writer] = {}
    sending = threading.Lock()

    def tell(tracker: int, *message: Any) -> None:
        with sending:
            connection.send((tracker, *message))

    while True:
        try:
            tracker, method, arguments = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        if method == "open":
            environment, *settings = arguments
            os.environ.update(environment)
            logger = logging.Logger(f"tracker-{tracker}")
            logger.addHandler(_Told(partial(tell, tracker)))
            writers[tracker] = Writer(*settings, logger=logger, tell=partial(tell, tracker))
        elif method == "forget":
            writers.pop(tracker).stop()
        else:
            getattr(writers[tracker], method)(*arguments)


class _Told(logging.Handler):
    """Hands messages to the process that has the log."""

    def __init__(self, tell: Any) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell("message", record.levelno, record.getMessage())


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
