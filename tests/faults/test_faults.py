"""One search under every fault of a cluster, beside the same search left alone: the same trials, the same front, one truth.

    pytest -m faults

Three real Ray nodes of this machine, two-rank trials, the study and MLflow's server in a real PostgreSQL, the driver a process of its
own. In this order: a worker is killed, a node disappears (another one joins), PostgreSQL stops for a minute, MLflow's server is
killed and started again, the storage fills up, the driver is killed and the search resumed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import pytest
from postgres import Postgres
from ray.cluster_utils import Cluster
from search.small_spaces import ranks

from prune_search.search.layout import Layout
from prune_search.search.results import read
from prune_search.training.files import read_reports

pytestmark = pytest.mark.faults
TRIALS, EPOCHS = 8, 40
SPACE = f"""
name: drill
data: {{name: digits, train_size: 300, validation_size: 200}}
model: lenet-300-100
training: {{epochs: {EPOCHS}, batch_size: 50, optimizer: {{name: sgd, lr: {{low: 0.02, high: 0.2, log: true}}}}}}
recipe:
  choices:
    magnitude: {{schedule.final_sparsity: {{low: 0.5, high: 0.95}}}}
    dyprune: {{schedule.b: {{low: 7.0, high: 20.0}}, stopping: {{every: {{epochs: 1}}}}}}
objectives: {{accuracy: maximize, params: minimize}}
search: {{trials: {TRIALS}, deterministic: true, batch: 2, early_stopping: {{name: moasha-schedule-aware}}}}
resources: {{workers: 2}}
"""
FIGURES = ("accuracy", "loss", "params", "macs", "train_flops", "epoch")


class Server:
    """MLflow's tracking server on a database, files through it."""

    def __init__(self, database, folder):
        self._database, self._folder = database, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self._database, "--serve-artifacts"]
        command += ["--artifacts-destination", str(self._folder), "--port", str(self.port), "--workers", "1"]
        with open(self._folder.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        while not self._answers():
            assert self._process.poll() is None, self._folder.with_suffix(".log").read_text()
            time.sleep(0.2)

    def kill(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answers(self):
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=5).status == 200
        except OSError:
            return False


class Driver:
    """``prune-search`` as a process; what it printed is in ``out.txt``."""

    def __init__(self, folder, *arguments):
        self._out = folder / "out.txt"
        command = [sys.executable, "-m", "prune_search.cli.main", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with open(self._out, "ab") as file:
            self.process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, env=environment)

    def wait_for(self, layout, epochs):
        """Until the trials of the search have reported that many epochs in all."""
        folders = [layout.trial(number) for number in range(TRIALS)]
        while sum(len(read_reports(folder)) for folder in folders) < epochs:
            assert self.process.poll() is None, self._out.read_text()[-3000:]
            time.sleep(0.1)

    def finish(self):
        assert self.process.wait() == 0, self._out.read_text()[-3000:]


@pytest.fixture
def small_disk(tmp_path):
    """A folder with little room: a file system of its own, which root alone can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system of a given size can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


def fill(folder, seconds):
    """Leave no room for a while."""
    ballast = folder / "ballast"
    with pytest.raises(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    time.sleep(seconds)
    ballast.unlink()


def figures(record):
    return {name: record.report.metrics()[name] for name in FIGURES}


def test_a_search_under_every_fault_is_the_search_without(cluster, tmp_path, small_disk):
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    database = Postgres()
    (tmp_path / "files").mkdir()
    server = Server(database.url("mlflow"), tmp_path / "files")
    space = tmp_path / "drill.yaml"
    space.write_text(SPACE)
    address = ["--address", cluster.address]

    Driver(tmp_path, "run", str(space), "--name", "calm", "--runs", "calm", *address).finish()

    runs, stores = ["--runs", str(small_disk / "runs")], ["--set", f"tracking.uri={server.uri}"]
    stores += ["--set", f"search.storage={database.url('optuna')}"]
    layout = Layout(small_disk / "runs", "storm")
    driver = Driver(tmp_path, "run", str(space), "--name", "storm", *runs, *address, *stores)

    driver.wait_for(layout, 10)
    os.kill(max(ranks()), signal.SIGKILL)
    driver.wait_for(layout, 30)
    cluster.remove_node(nodes[1], allow_graceful=False)
    cluster.add_node(num_cpus=2)
    driver.wait_for(layout, 60)
    database.stop()
    time.sleep(60)
    database.start()
    driver.wait_for(layout, 90)
    server.kill()
    time.sleep(20)
    server.start()
    driver.wait_for(layout, 110)
    fill(small_disk, 10)
    driver.wait_for(layout, 130)
    driver.process.kill()
    driver.process.wait()
    Driver(tmp_path, "resume", "storm", *runs, *address).finish()

    log = layout.log.read_text()
    assert all(
        text in log for text in ("search.storage does not answer", "MLflow does not answer", "MLflow answers again")
    )
    calm, storm = Layout(tmp_path / "calm", "calm"), layout
    expected, found = (read(place, place.spec()) for place in (calm, storm))
    assert [record.number for record in found.records] == list(range(TRIALS))
    assert [(r.number, r.state) for r in found.records] == [(r.number, r.state) for r in expected.records]
    assert [figures(record) for record in found.records] == [figures(record) for record in expected.records]
    assert [record.number for record in found.front] == [record.number for record in expected.front]

    client = mlflow.MlflowClient(server.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'drill'")
    everything = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.status for run in everything} == {"FINISHED"}
    children = {int(r.data.tags["prune_search.trial"]): r for r in everything if "prune_search.trial" in r.data.tags}
    assert sorted(children) == list(range(TRIALS)) and len(everything) == TRIALS + 1
    for record in found.records:
        run, reports = children[record.number], read_reports(storm.trial(record.number))
        assert run.data.tags["prune_search.state"] == record.state
        assert reports[-1].metrics() == record.report.metrics()
        for name in FIGURES:
            history = client.get_metric_history(run.info.run_id, name)
            assert [(m.step, m.value) for m in history] == [(r.epoch, float(r.metrics()[name])) for r in reports]
    tagged = {n for n, run in children.items() if run.data.tags.get("prune_search.front") == "true"}
    assert tagged == {record.number for record in found.front}
    print(json.dumps({"records": [(r.number, r.state, figures(r)) for r in found.records]}, indent=1))
    server.kill()
    database.close()
