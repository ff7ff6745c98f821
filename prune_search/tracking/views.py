"""Views of an experiment that MLflow's UI offers under *Views*: the columns that people want first, filtered and sorted.

MLflow keeps a saved view as a tag of the experiment, in a form of its own UI's (3.17). Where another version does not know it, the
list of runs is MLflow's usual one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from prune_search.tracking import runs as names

TAG = "mlflow.sharedViewState."
VIEWS = {
    "prune-search-front": ("Front", f"tags.`{names.FRONT}` = 'true'"),
    "prune-search-trials": ("Trials", f"tags.`{names.ROLE}` = 'trial'"),
}
"""By key: the view's name, and which runs it shows."""
WIDTHS = {
    "attributes.`Run Name`": 220,
    "metrics.`accuracy`": 110,
    "metrics.`test_accuracy`": 125,
    "metrics.`params`": 110,
    "metrics.`params_reduction`": 150,
    "metrics.`flops_reduction`": 140,
    f"tags.`{names.FRONT}`": 165,
    f"tags.`{names.STATE}`": 165,
    "attributes.`Models`": 110,
    "duration": 90,
}
"""The columns in their order; pixels."""


def tags(now: int) -> dict[str, str]:
    """The views as tags of an experiment; ``now``: ms since 1970."""
    return {f"{TAG}{key}": _saved(name, where, now) for key, (name, where) in VIEWS.items()}


def links(experiments: Iterable[Any], server: str) -> dict[str, dict[str, str]]:
    """Where a UI at ``server`` (``http://127.0.0.1:5000``) shows the views: by name of an experiment that has them, and of the view."""
    found = {}
    for experiment in experiments:
        place = f"{server}/#/experiments/{experiment.experiment_id}/runs"
        keys = [key for key in VIEWS if f"{TAG}{key}" in experiment.tags]
        if keys:
            found[experiment.name] = {VIEWS[key][0]: f"{place}?{urlencode(_query(key))}" for key in keys}
    return found


def _query(key: str) -> dict[str, str]:
    return {"workflowType": "machine_learning", "viewStateShareKey": key}


def _saved(name: str, where: str, now: int) -> str:
    state: dict[str, Any] = {
        "searchFilter": where,
        "orderByKey": "metrics.`accuracy`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [column for column in WIDTHS if "." in column],
        "columnOrder": list(WIDTHS),
        "columnWidths": WIDTHS,
    }
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(state)})
