"""MLflow without its noise: no telemetry, no links on stdout, its log records sent to a logger of ours."""

from __future__ import annotations

import logging
import os

from prune_search.tracking.uris import redacted

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Retrying is the tracker's work; MLflow's own default is about four minutes a call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Environment variables that MLflow reads; one that the user has set stays as it is."""

_LOUD = ("mlflow", "alembic", "sqlalchemy.engine", "huey")


def quiet_environment() -> None:
    """Set :data:`ENVIRONMENT` in this process. To be called before mlflow is imported: it reads some then."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quiet_loggers(logger: logging.Logger) -> None:
    """Send the warnings of MLflow and of the libraries it configures to ``logger`` instead of the console.

    To be called after mlflow was imported: the import installs its own handlers.
    """
    for name in _LOUD:
        loud = logging.getLogger(name)
        loud.handlers = [_Forward(logger)]
        loud.setLevel(logging.WARNING)
        loud.propagate = False


class _Forward(logging.Handler):
    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.log(record.levelno, "%s: %s", record.name, redacted(record.getMessage()))
