"""Taking a search out of MLflow."""

from __future__ import annotations

import logging

from prune_search.tracking.connection import Connection
from prune_search.tracking.uris import absolute

_logger = logging.getLogger(__name__)


def delete_runs(uri: str, experiment: str, search: str) -> int:
    """Delete all runs of a search and their models; MLflow keeps them as deleted until ``mlflow gc``. Returns how many runs there were."""
    connection = Connection(absolute(uri), experiment, None, _logger)
    found = list(connection.runs(search))
    for run in found:
        for output in run.outputs.model_outputs if run.outputs else []:
            connection.client().delete_logged_model(output.model_id)
        connection.client().delete_run(run.info.run_id)
    return len(found)
