"""MLflow: what is logged, when, and what happens when the server is away.

Importing this does not import mlflow.
"""

from prune_search.tracking.connection import answers
from prune_search.tracking.deletion import delete_runs
from prune_search.tracking.registry import register, resolve
from prune_search.tracking.retry import Retry
from prune_search.tracking.runs import RunInfo
from prune_search.tracking.tracker import Tracker
from prune_search.tracking.ui import free_port, ui_command, ui_environment, ui_links
from prune_search.tracking.uris import redacted

__all__ = [
    "Retry",
    "RunInfo",
    "Tracker",
    "answers",
    "delete_runs",
    "free_port",
    "redacted",
    "register",
    "resolve",
    "ui_command",
    "ui_environment",
    "ui_links",
]
