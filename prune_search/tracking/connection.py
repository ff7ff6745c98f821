"""A way to one MLflow experiment: opened by the first call, the experiment created for the first run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prune_search.tracking import views
from prune_search.tracking.database import create
from prune_search.tracking.quiet import quiet_environment, quiet_loggers
from prune_search.tracking.runs import SEARCH
from prune_search.tracking.uris import is_server

RUNS_PER_PAGE = 1000


def open_client(uri: str, logger: logging.Logger) -> Any:
    """A quiet ``MlflowClient`` for tracking and registry at ``uri``; imports mlflow, which takes seconds."""
    quiet_environment()
    from mlflow import MlflowClient

    quiet_loggers(logger)
    create(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def answers(uri: str) -> bool:
    """Whether the MLflow store at ``uri`` answers a simple question; an SQLite file that is not there is created."""
    return Connection(uri, "", None, logging.getLogger("prune_search")).alive()


class Connection:
    """One experiment of one MLflow store.

    ``artifacts``: where a new experiment keeps its files, unless a server decides that.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path | None, logger: logging.Logger) -> None:
        self._uri, self._experiment, self._artifacts, self._logger = uri, experiment, artifacts, logger
        self._client: Any = None
        self._experiment_id: str | None = None

    def client(self) -> Any:
        """The client; the first call creates an SQLite database that is not there."""
        if self._client is None:
            self._client = open_client(self._uri, self._logger)
        return self._client

    def alive(self) -> bool:
        """Whether the store answers a simple question."""
        try:
            self.client().search_experiments(max_results=1)
        except Exception:
            return False
        return True

    def runs(self, search: str, more: str = "") -> Iterator[Any]:
        """The search's runs, oldest first; ``more`` is a further condition in MLflow's filter language."""
        experiment = self._existing()
        if experiment is None:
            return
        quote = '"' if "'" in search else "'"
        where = f"tags.`{SEARCH}` = {quote}{search}{quote}" + (f" and {more}" if more else "")
        token = None
        while True:
            page = self.client().search_runs(
                [experiment.experiment_id],
                where,
                max_results=RUNS_PER_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def experiment_id(self) -> str:
        """The experiment, created if there is none."""
        if self._experiment_id is None:
            experiment = self._existing()
            if experiment is not None:
                self._experiment_id = experiment.experiment_id
            else:
                leave = self._artifacts is None or is_server(self._uri)
                location = None if leave else self._artifacts.absolute().as_uri()
                self._experiment_id = self.client().create_experiment(
                    self._experiment, artifact_location=location, tags=views.tags(int(time.time() * 1000))
                )
        return self._experiment_id

    def _existing(self) -> Any:
        """The experiment, restored if it was deleted: its name cannot be given again."""
        experiment = self.client().get_experiment_by_name(self._experiment)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            self.client().restore_experiment(experiment.experiment_id)
        return experiment
