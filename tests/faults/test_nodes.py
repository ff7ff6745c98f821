"""A search whose trials train on two ranks each, over several real Ray nodes of this machine, one of which loses a process."""

import json
import os
import signal
import threading
import time

import pytest
import torch
from cli import command
from ray.cluster_utils import Cluster
from search.small_spaces import ranks, write

from prune_search import Search
from prune_search.search.layout import Layout
from prune_search.training import checkpoint
from prune_search.training.files import CHECKPOINT, read_reports

pytestmark = pytest.mark.faults
EPOCHS = 6


@pytest.fixture(scope="module")
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def kill_one_after(folder, killed):
    """Kill a rank once the first trial has reported twice."""
    while len(read_reports(folder)) < 2:
        time.sleep(0.02)
    killed.append(max(ranks()))
    os.kill(killed[0], signal.SIGKILL)


def test_a_trial_whose_rank_was_killed_goes_on_and_ends_as_if_nothing_had_happened(cluster, tmp_path):
    """Two trials of one network: CUDA graphs, by which they differ, do not exist here. Only the first is disturbed."""
    text = f"""
name: nodes
data: {{name: digits, train_size: 300, validation_size: 200}}
model: lenet-300-100
training: {{epochs: {EPOCHS}, batch_size: 50, cuda_graphs: {{choices: [auto, false]}}}}
recipe: {{preset: magnitude, schedule.final_sparsity: 0.9}}
objectives: {{accuracy: maximize, params: minimize}}
resources: {{workers: 2, placement: spread}}
"""
    space = write(tmp_path, text, sampler="grid", concurrency="auto")
    layout, killed = Layout(tmp_path / "runs", "nodes"), []
    murderer = threading.Thread(target=kill_one_after, args=(layout.trial(0), killed), daemon=True)
    search = Search(space, runs=tmp_path / "runs", name="nodes", address=cluster.address)
    murderer.start()
    found = search.run()
    murderer.join()
    assert killed and [(r.number, r.state) for r in found.records] == [(0, "completed"), (1, "completed")]
    for number in (0, 1):
        assert [report.epoch for report in read_reports(layout.trial(number))] == list(range(1, EPOCHS + 1))
    left, expected = (checkpoint.load(layout.trial(number) / CHECKPOINT)["model"] for number in (0, 1))
    assert left.keys() == expected.keys()
    assert all(torch.equal(left[name], expected[name]) for name in left)


def test_doctor_asks_every_node(cluster, tmp_path, monkeypatch, capsys):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    arguments = ["doctor", "--address", cluster.address, "--runs", tmp_path / "runs", "--tracking", store, "--json"]
    code, out, _ = command.run(monkeypatch, capsys, *arguments)
    facts = json.loads(out)
    assert code == 0
    assert sorted(node["cpus"] for node in facts["nodes"]) == [0, 1, 1]
    for node in facts["nodes"]:
        assert node["problems"] == [] and node["shared"] and node["writable"] and abs(node["skew"]) < 1
        assert node["versions"] == facts["versions"]
    assert facts["mlflow"].endswith("answers")
    assert list((tmp_path / "runs").iterdir()) == []
