"""A search whose trials train on two ranks each, over several real Ray nodes of this machine, one killed or frozen for a while."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from cli import command
from ray.cluster_utils import Cluster
from search.small_spaces import ranks, write

from prune_search.search.driver import Search
from prune_search.search.layout import Layout
from prune_search.training import checkpoint
from prune_search.training.files import CHECKPOINT, read_reports

pytestmark = pytest.mark.faults
EPOCHS = 12


@pytest.fixture(scope="module")
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def kill_a_rank(cluster):
    os.kill(max(ranks()), signal.SIGKILL)


def freeze_a_node(cluster):
    """For 6 s, as when its network pauses: its raylet and all that this started. Ray takes a node for dead after 15 s or more."""
    raylet = cluster.list_all_nodes()[-1].all_processes["raylet"][0].process.pid
    frozen = [raylet, *children(raylet)]
    assert set(frozen) & set(ranks())
    for process in frozen:
        os.kill(process, signal.SIGSTOP)
    time.sleep(6)
    for process in frozen:
        os.kill(process, signal.SIGCONT)


def children(parent):
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def disturb_after(folder, disturb, cluster, disturbed):
    """Once the first trial has reported twice."""
    while len(read_reports(folder)) < 2:
        time.sleep(0.02)
    disturb(cluster)
    disturbed.append(len(read_reports(folder)))


@pytest.mark.parametrize("disturb", [kill_a_rank, freeze_a_node])
def test_a_disturbed_trial_goes_on_and_ends_as_if_nothing_had_happened(cluster, tmp_path, disturb):
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
    layout, disturbed = Layout(tmp_path / "runs", "nodes"), []
    arguments = (layout.trial(0), disturb, cluster, disturbed)
    other = threading.Thread(target=disturb_after, args=arguments, daemon=True)
    search = Search(space, runs=tmp_path / "runs", name="nodes", address=cluster.address)
    other.start()
    found = search.run()
    other.join(60)
    assert (
        disturbed
        and disturbed[0] < EPOCHS
        and [(r.number, r.state) for r in found.records] == [(0, "completed"), (1, "completed")]
    )
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
