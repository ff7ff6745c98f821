"""Searches whose trials are kept at a URL: the same search, its front at hand, nothing lost with a node's own files."""

import json
import time

import pytest
import ray
from cli import command
from search.small_spaces import SMALL, write

from prune_search.export import NETWORK
from prune_search.search.driver import Search
from prune_search.search.results import read
from prune_search.training.files import CHECKPOINT, read_reports

EPOCHS, TRIALS, CUT = 4, 3, 1
TIMING = ("seconds", "device_seconds")


@pytest.fixture(scope="module", autouse=True)
def node(tmp_path_factory):
    """Where the workers keep temporary folders."""
    folder = tmp_path_factory.mktemp("node")
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    yield folder
    ray.shutdown()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes deterministic searches, with the trials' folders kept in ``store`` or not."""
    folder = tmp_path_factory.mktemp("stored")

    def make(name, storage=True):
        text = SMALL.replace("epochs: 5", f"epochs: {EPOCHS}").replace(", params: minimize", "")
        text += f"resources: {{storage: 'file://{folder}/store'}}\n" if storage else ""
        stops = "{name: moasha, reduction: 2}"
        space = write(
            folder, text, trials=TRIALS, concurrency=1, deterministic="true", batch=2, early_stopping=stops, keep="all"
        )
        return Search(space, runs=folder / "runs", name=name), folder / "store" / name

    return make


@pytest.fixture(scope="module")
def plain(made):
    search, _ = made("plain", storage=False)
    return outcome(search, search.run())


def outcome(search, found):
    """All reports of all trials in the search's folder, how they ended, and the front."""
    reports = {
        record.number: [
            {name: value for name, value in report.metrics().items() if name not in TIMING}
            for report in read_reports(search.layout.trial(record.number))
        ]
        for record in found.records
    }
    states = {record.number: (record.state, record.reason) for record in found.records}
    return reports, states, {record.number: record.test_accuracy for record in found.front}


def checkpoints(folder):
    return {int(path.parent.name) for path in folder.glob(f"trials/*/{CHECKPOINT}")}


def test_a_search_kept_at_a_url_is_the_same_search(made, plain, node, monkeypatch, capsys):
    search, store = made("kept")
    found = search.run()
    assert outcome(search, found) == plain
    front = set(plain[2])
    others = {record.number for record in found.completed} - front
    assert front and others
    assert checkpoints(search.layout.folder) == front and checkpoints(store) == set(range(TRIALS))
    assert list(node.glob("prune-search-*")) == []
    assert {path.parent.name for path in search.layout.folder.glob(f"trials/*/{NETWORK[0]}")} == set(map(str, front))

    runs, chosen = search.layout.runs, min(others)
    export = ("export", "kept", "--trial", chosen, "--format", "safetensors", "--runs", runs, "--json")
    code, out, _ = command.run(monkeypatch, capsys, *export)
    assert code == 0 and json.loads(out)["trial"] == chosen
    assert checkpoints(search.layout.folder) == front | {chosen}

    assert command.run(monkeypatch, capsys, "clean", "kept", "--runs", runs)[0] == 0
    assert checkpoints(search.layout.folder) == checkpoints(store) == front
    code, _, err = command.run(monkeypatch, capsys, *export)
    assert code == 2 and f"trial {chosen} has no checkpoint" in err
    assert outcome(search, read(search.layout, search.spec)) == plain
    assert command.run(monkeypatch, capsys, "clean", "kept", "--all", "--yes", "--runs", runs)[0] == 0
    assert not store.exists() and store.parent.exists()


def test_an_interrupted_search_goes_on_from_the_url_alone(made, plain, node, monkeypatch):
    search, store = made("cut")
    seen, known, reported, started = [], {}, Search._reported, Search._started

    def told(self, job):
        known[job.number] = len(read_reports(job.folder))
        started(self, job)

    def watched(self, job, report):
        reported(self, job, report)
        seen.append((job.number, report.epoch))
        if seen[-1] == (CUT, 2):
            self.stop()
            time.sleep(0.6)  # longer than between two looks at it: the trial gets no further

    monkeypatch.setattr(Search, "_reported", watched)
    monkeypatch.setattr(Search, "_started", told)
    found = search.run()
    assert search.interrupted and found.record(CUT).state == "running" and CUT in checkpoints(store)
    assert CUT not in checkpoints(search.layout.folder) and list(node.glob("prune-search-*")) == []
    before = seen.copy()
    resumed = Search.resume("cut", runs=search.layout.runs)
    assert outcome(resumed, resumed.run()) == plain
    again = [epoch for number, epoch in seen[len(before) :] if number == CUT]
    assert again and min(again) == known[CUT] + 1 > 2


BAD = {
    "unknown protocol": ("s4://bucket/x", ["no protocol 's4'", "Did you mean 's3", "null"]),
    "no driver": ("gs://bucket/x", ["gs://bucket/x/bad needs a package", "pip install gcsfs"]),
    "not writable": ("file:///proc/x", ["/proc/x/bad cannot be written", "Grant"]),
    "taken": ("TMP", ["holds a search already", "--name"]),
    "relative": ("folder/x", ["resources.storage", "'folder/x'", "an absolute path"]),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_url_that_will_not_do_is_refused_before_anything_starts(tmp_path, monkeypatch, capsys, mistake):
    url, words = BAD[mistake]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "search.txt").write_text("")
    change = f"resources.storage={url.replace('TMP', str(tmp_path))}"
    runs = tmp_path / "runs"
    code, out, err = command.run(
        monkeypatch, capsys, "run", write(tmp_path), "--name", "bad", "--runs", runs, "--set", change
    )
    assert (code, out) == (2, "") and err.count("\n") == 1 and "resources.storage" in err
    for word in words:
        assert word in err
    assert not list(runs.glob("*"))


def test_passwords_of_a_url_are_not_shown(tmp_path, monkeypatch, capsys):
    arguments = ["run", write(tmp_path), "--runs", tmp_path / "runs", "--set"]
    _, _, err = command.run(monkeypatch, capsys, *arguments, "resources.storage=s4://me:secret@host/x")
    assert "s4://***@host/x" in err and "secret" not in err
