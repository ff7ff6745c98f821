from __future__ import annotations

import logging
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from prune_search.cost.metrics import Report
from prune_search.tracking import Tracker

EXPERIMENT = "digits"


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def uri(place: Path) -> str:
    """One database for all tests, made by the first tracker in a folder that is not there yet."""
    return f"sqlite:///{place}/runs/mlflow.db"


@pytest.fixture
def tracker(place: Path, uri: str, request: pytest.FixtureRequest):
    """Makes trackers of this test's own search; each stands for a process of its own."""
    made: list[Tracker] = []

    def make(search: str | None = None) -> Tracker:
        log = logging.getLogger("tracking-test")
        made.append(Tracker(uri, EXPERIMENT, search or request.node.name, artifacts=place / "artifacts", log=log))
        return made[-1]

    yield make
    for one in made:
        assert one.close(30)


@pytest.fixture
def runs(uri: str, request: pytest.FixtureRequest):
    """Reads this test's runs with a plain client, in the order of the trials: ``runs(role)``."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)

    def find(role: str) -> list:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        where = f"tags.`prune_search.search` = '{request.node.name}' and tags.`prune_search.role` = '{role}'"
        found = client.search_runs([experiment.experiment_id], where)
        return sorted(found, key=lambda run: int(run.data.tags.get("prune_search.trial", -1)))

    find.client = client
    return find


@pytest.fixture(scope="session")
def report():
    """Makes reports in which every metric that must be there is 1, but for the given ones."""
    required = {field.name: 1 for field in fields(Report) if field.default is MISSING}
    return lambda epoch, **values: Report(**{**required, "epoch": epoch, **values})
