"""Data and networks in MLflow: found by filters, loaded by MLflow's own functions."""

import mlflow
import pytest
import torch
from torch import nn

from prune_search.export import LOADER, NETWORK
from prune_search.export.formats import write_network
from prune_search.tracking import delete_runs

DATA = {"name": "digits", "root": "data", "fingerprint": "0123456789abcdef" * 4, "images": {"test": 270}}


@pytest.fixture
def logged(tracker, runs, report, uri, tmp_path, monkeypatch):
    """A trial of three epochs whose network was logged twice; the network, its run, and what MLflow has of it."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 3)).eval()
    write_network(network, torch.randn(2, 1, 8), tmp_path)
    track = tracker()
    track.start_search({}, {}, "")
    track.start_trial(4, "#004 dyprune", {})
    for epoch in (1, 2, 3):
        track.log(4, report(epoch, accuracy=epoch / 4, params=27))
    for _ in range(2):
        track.log_model(
            4, "model", [tmp_path / name for name in NETWORK], LOADER, ["accuracy", "params", "test_accuracy"]
        )
        track.log_data(4, DATA)
    track.end_trial(4, "completed")
    track.close()
    (run,) = runs("trial")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    yield network, run, runs.client
    mlflow.set_tracking_uri(None)


def test_mlflow_loads_the_network_of_a_run_and_it_answers_alike(logged):
    network, run, client = logged
    inputs = torch.randn(5, 1, 8)
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    assert torch.equal(torch.from_numpy(model.predict(inputs.numpy())), network(inputs).detach())
    assert torch.equal(model.get_raw_model()(inputs), network(inputs))
    assert type(model.get_raw_model()).__module__ == "prune_search_network"


def test_a_run_has_one_model_with_its_last_figures_and_its_curves_stay_as_they_were(logged):
    _, run, client = logged
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert output.step == 3 and model.status == "READY" and model.name == "model"
    assert {metric.key: (metric.value, metric.step) for metric in model.metrics} == {
        "accuracy": (0.75, 3),
        "params": (27, 3),
    }
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "accuracy")] == [1, 2, 3]


def test_the_data_are_an_input_of_the_run_once(logged):
    _, run, client = logged
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", "0123456789abcdef")
    assert DATA["fingerprint"] in given.dataset.profile and "270" in given.dataset.profile
    found = client.search_runs([run.info.experiment_id], "dataset.digest = '0123456789abcdef'")
    assert run.info.run_id in [each.info.run_id for each in found]


def test_a_deleted_search_leaves_no_model(logged, uri, request):
    _, run, client = logged
    models = lambda: client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert len(models()) == 1
    assert delete_runs(uri, "digits", request.node.name) == 2
    assert models() == []
