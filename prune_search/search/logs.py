"""Where messages go while a search runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prune_search.search.progress import Progress
from prune_search.tracking import redacted

log = logging.getLogger("prune_search")


@contextmanager
def logging_to(path: Path, progress: Progress) -> Iterator[None]:
    """Our own, Optuna's, Ray's and MLflow's messages go to the search's log file, our warnings to those who watch, too."""
    handler, watched = logging.FileHandler(path), _Watched(progress)
    handler.setFormatter(_Redacting("%(asctime)s %(name)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("prune_search", "optuna", "ray", "mlflow")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    log.addHandler(watched)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(watched)
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True
        handler.close()


class _Redacting(logging.Formatter):
    """Keeps passwords out of the file, whoever's message or traceback quotes a URL."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class _Watched(logging.Handler):
    """Shows warnings in a :class:`Progress`."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.warn(redacted(record.getMessage()))
