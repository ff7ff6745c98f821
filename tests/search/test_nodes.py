"""A search whose trials train on two ranks each, over several real Ray nodes of this machine, one of which loses a process."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from ray.cluster_utils import Cluster
from search.small_spaces import SMALL, write
from training.ranked import run, trained

from prune_search import Search
from prune_search.search.layout import Layout
from prune_search.training import checkpoint
from prune_search.training.files import CHECKPOINT, read_reports

EPOCHS = 6


@pytest.fixture(scope="module")
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def ranks():
    """Process ids of the ranks, by Ray's name for them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::Member" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended
            continue
    return found


def kill_one_after(folder, killed):
    """Kill a rank once the first trial has reported twice."""
    while len(read_reports(folder)) < 2:
        time.sleep(0.02)
    killed.append(max(ranks()))
    os.kill(killed[0], signal.SIGKILL)


def test_a_trial_whose_rank_was_killed_goes_on_and_ends_as_if_nothing_had_happened(cluster, tmp_path):
    text = SMALL.replace("epochs: 5", f"epochs: {EPOCHS}") + "resources: {workers: 2, placement: spread}\n"
    space = write(tmp_path, text, trials=2, concurrency="auto", early_stopping="none")
    layout, killed = Layout(tmp_path / "runs", "nodes"), []
    murderer = threading.Thread(target=kill_one_after, args=(layout.trial(0), killed), daemon=True)
    search = Search(space, runs=tmp_path / "runs", name="nodes", address=cluster.address)
    murderer.start()
    found = search.run()
    murderer.join()
    assert killed and [(r.number, r.state) for r in found.records] == [(0, "completed"), (1, "completed")]
    for record in found.records:
        folder, again = layout.trial(record.number), tmp_path / f"undisturbed-{record.number}"
        assert [report.epoch for report in read_reports(folder)] == list(range(1, EPOCHS + 1))
        run(2, {"trial": (trained, record.config, again)})
        left, expected = (checkpoint.load(place / CHECKPOINT)["model"] for place in (folder, again))
        assert left.keys() == expected.keys()
        assert all(torch.equal(left[name], expected[name]) for name in left)
