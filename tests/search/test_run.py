"""Searches on a real Ray cluster of this process: outcomes with names, the same result twice, closing, confirming."""

import json

import mlflow
import pytest
import ray
from search.small_spaces import SMALL, write

from prune_search import Search
from prune_search.search.confirm import confirm
from prune_search.search.results import control_of, read

USER_CODE = '''
import torch
from torch import nn

class Breaks(nn.Module):
    """Raises in its third training step."""
    def __init__(self, classes):
        super().__init__()
        self.layer, self.steps = nn.Linear(64, classes), 0
    def forward(self, x):
        if self.training:
            self.steps += 1
            if self.steps == 3:
                raise RuntimeError("a model of the user's that raises")
        return self.layer(x.flatten(1))

def breaks(input_shape, num_classes):
    return Breaks(num_classes)

def fine(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, num_classes))
'''

OUTCOMES = """
name: outcomes
data: {name: digits, train_size: 200, validation_size: 100}
model: {choices: {"user_models:fine": {}, "user_models:breaks": {}}}
training:
  epochs: 4
  optimizer: {name: sgd, momentum: 0.0, lr: {choices: [0.1, 1.0e+30]}}
recipe:
  choices:
    dense: {}
    magnitude: {schedule: {one-shot: {final_sparsity: {choices: [0.5, 0.999]}}}, dense_epochs: 1}
objectives: {accuracy: maximize, params: minimize}
constraints: {accuracy: ">= 0.2"}
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "user_models.py").write_text(USER_CODE)
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    yield folder
    ray.shutdown()


def test_every_outcome_has_a_name_and_none_ends_the_search(tmp_path, cluster):
    (tmp_path / "user_models.py").write_text(USER_CODE)
    wanted = [
        {"model": "user_models:fine", "lr": 0.1, "recipe": "dense"},
        {"model": "user_models:fine", "lr": 1e30, "recipe": "dense"},
        {"model": "user_models:breaks", "lr": 0.1, "recipe": "dense"},
        {"model": "user_models:fine", "lr": 0.1, "recipe": "magnitude", "sparsity": 0.5},
        {"model": "user_models:fine", "lr": 0.1, "recipe": "magnitude", "sparsity": 0.999},
    ]
    queue = []
    for want in wanted:
        entry = {"model": want["model"], "training.optimizer.lr": want["lr"], "recipe": want["recipe"]}
        if "sparsity" in want:
            entry["recipe.magnitude.schedule.one-shot.final_sparsity"] = want["sparsity"]
        queue.append(entry)
    path = write(tmp_path, OUTCOMES, trials=len(wanted), enqueue=json.dumps(queue))
    search = Search(path, runs=tmp_path / "runs", name="o")
    found = search.run()
    states = {record.number: (record.state, record.reason.split(":")[0]) for record in found.records}
    assert states == {
        0: ("completed", "no_event"),
        1: ("failed", "nan_loss"),
        2: ("failed", "error"),
        3: ("completed", "final sparsity reached"),
        4: ("failed", "collapsed_layer"),
    }
    assert "a model of the user's that raises" in found.record(2).reason
    assert "a model of the user's that raises" in (search.layout.trial(2) / "error.txt").read_text()
    assert {record.number for record in found.front} <= {0, 3}

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'outcomes'")
    runs = {run.data.tags.get("prune_search.trial"): run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop(None)
    assert (parent.info.run_name, parent.data.tags["prune_search.role"], parent.info.status) == (
        "o",
        "search",
        "FINISHED",
    )
    assert {n: run.info.status for n, run in runs.items()} == {
        "0": "FINISHED", "1": "FAILED", "2": "FAILED", "3": "FINISHED", "4": "FAILED"
    }  # fmt: skip
    for number, run in runs.items():
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["prune_search.search"] == "o"
        assert (tags["prune_search.state"], tags["prune_search.reason"].split(":")[0]) == states[int(number)]
        assert tags.get("prune_search.rounds") == {"3": "1: epochs"}.get(number)
        assert run.data.params["recipe"] == wanted[int(number)]["recipe"]
        on_front = int(number) in {record.number for record in found.front}
        assert tags.get("prune_search.front", "false") == str(on_front).lower()
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert ({"checkpoint.safetensors", "config.json"} <= files) == on_front
        assert ("test_accuracy" in run.data.metrics) == on_front
    assert {"front.html", "front.json"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}


def outcome(found):
    timing = ("seconds", "device_seconds")
    metrics = [{k: v for k, v in r.metrics().items() if k not in timing} for r in found.records]
    return [r.params for r in found.records], metrics, [r.number for r in found.front]


def test_deterministic_searches_are_equal_for_any_number_of_workers(tmp_path):
    results = []
    for workers in (1, 2):
        options = {"deterministic": "true", "batch": 3, "trials": 7, "concurrency": workers}
        path = write(tmp_path, SMALL, **options)
        results.append(outcome(Search(path, runs=tmp_path / "runs", name=f"w{workers}").run()))
    assert results[0] == results[1]


def test_confirm_trains_on_new_seeds_and_does_not_repeat_itself(tmp_path):
    path = write(tmp_path, SMALL, trials=3, enqueue="[{recipe: dense}, {recipe: magnitude}, {recipe: dyprune}]")
    search = Search(path, runs=tmp_path / "runs", name="c")
    found = search.run()
    control = control_of(found)
    assert control.recipe == "dense"
    lines = []
    records = [found.record(1), control]
    first = confirm(search.spec, search.layout, records, 2, done=lines.append)
    assert len(lines) == 4
    for item in first:
        assert len(item.values["test_accuracy"]) == 2
        assert len(set(item.values["loss"])) == 2
    mean, error = first[0].difference(first[1])
    tested = [item.values["test_accuracy"] for item in first]
    assert mean == pytest.approx(sum(tested[0]) / 2 - sum(tested[1]) / 2)
    assert error == pytest.approx((sum((a - b) ** 2 for a, b in tested) / 4) ** 0.5)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (run,) = client.search_runs(["1"], "tags.`prune_search.trial` = '1'")
    assert run.data.metrics["confirmed_test_accuracy"] == pytest.approx(sum(tested[0]) / 2)
    again = confirm(search.spec, search.layout, records, 3, done=lines.append)
    assert len(lines) == 6
    assert again[0].values["loss"][:2] == first[0].values["loss"]


def test_reading_a_search_gives_what_running_it_gave(tmp_path):
    search = Search(write(tmp_path, trials=2), runs=tmp_path / "runs", name="r")
    found = search.run()
    assert read(search.layout, search.spec) == found
    assert all(record.test_accuracy is not None for record in found.front)
