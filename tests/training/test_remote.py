"""Copies of trial folders at a URL: whole files, waited for, and trials that go on from them on any node."""

import json

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from training.test_trial import PLAIN, config, figures, finish

from prune_search.training import remote
from prune_search.training.data import data_of
from prune_search.training.files import CHECKPOINT, ERROR, REPORTS, read_reports
from prune_search.training.ranks import Ranks
from prune_search.training.trial import Trial
from prune_search.training.worker import Rank

EPOCHS = 3


class Flaky(LocalFileSystem):
    """Local files at ``flaky://``; uploads of ``broken`` files raise the next of ``errors`` as long as there are any."""

    protocol, cachable = "flaky", False
    errors, broken = [], ("",)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("flaky://") if isinstance(path, str) else path)

    def put_file(self, path1, path2, **options):
        if self.errors and any(name in path2 for name in self.broken):
            raise self.errors.pop(0)
        return super().put_file(path1, path2, **options)


fsspec.register_implementation("flaky", Flaky, clobber=True)


@pytest.fixture(autouse=True)
def impatient(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE", 0.2)
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    monkeypatch.setattr(Flaky, "errors", [])
    monkeypatch.setattr(Flaky, "broken", ("",))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()


@pytest.fixture
def url(tmp_path):
    remote.claim(f"flaky://{tmp_path}/store/search", new=True)
    return f"flaky://{tmp_path}/store/search/trials/3"


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "store" / "search" / "trials" / "3"


def fill(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    names = {"checkpoint": CHECKPOINT, "reports": REPORTS, "error": ERROR}
    for name, text in files.items():
        (folder / names[name]).write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_pushed_replaces_what_a_folder_has(tmp_path, url, kept):
    fill(tmp_path / "a", checkpoint="one", reports="1", error="not asked for")
    remote.push(tmp_path / "a", url)
    assert names(kept) == [CHECKPOINT, REPORTS]
    fill(tmp_path / "a", checkpoint="two", reports="12")
    remote.push(tmp_path / "a", url)
    fill(tmp_path / "b", checkpoint="stale, and longer", reports="1234567")
    remote.pull(url, tmp_path / "b")
    assert [(tmp_path / "b" / name).read_text() for name in (CHECKPOINT, REPORTS)] == ["two", "12"]
    assert names(tmp_path / "b") == [CHECKPOINT, REPORTS]
    assert remote.remove(url) == 5 and not kept.exists() and remote.remove(url) == 0
    remote.pull(url, tmp_path / "b")
    assert names(tmp_path / "b") == []


def test_an_upload_that_breaks_off_leaves_the_file_before(tmp_path, url, kept, monkeypatch):
    fill(tmp_path / "a", checkpoint="one", reports="1")
    remote.push(tmp_path / "a", url)

    def half(self, path1, path2, **options):
        with open(path2, "w") as file:
            file.write("tw")
        raise RuntimeError("cut off")

    monkeypatch.setattr(Flaky, "put_file", half)
    fill(tmp_path / "a", checkpoint="two", reports="12")
    with pytest.raises(remote.Away):
        remote.push(tmp_path / "a", url)
    remote.pull(url, tmp_path / "b")
    assert (tmp_path / "b" / CHECKPOINT).read_text() == "one"


def test_a_storage_that_fails_is_tried_again_and_then_named(tmp_path, url, kept):
    fill(tmp_path / "a", checkpoint="one", reports="1")
    Flaky.errors = [KeyError("any kind"), ConnectionResetError("gone")]
    remote.push(tmp_path / "a", url)
    assert Flaky.errors == [] and names(kept) == [CHECKPOINT, REPORTS]
    Flaky.errors = [ValueError("no bucket\nand more")] * 1000
    with pytest.raises(remote.Away, match="^resources.storage does not answer: ValueError: no bucket$"):
        remote.push(tmp_path / "a", url)
    assert 2 < 1000 - len(Flaky.errors) < 100
    Flaky.errors = [ImportError("no driver")] * 1000
    with pytest.raises(remote.Away, match="no driver"):
        remote.push(tmp_path / "a", url)
    assert len(Flaky.errors) == 999


def test_without_a_url_nothing_is_copied(tmp_path):
    fill(tmp_path / "a", checkpoint="one")
    remote.claim(None, new=True)
    remote.push(tmp_path / "a", None)
    remote.pull(None, tmp_path / "a")
    with remote.at_hand(tmp_path / "a", None) as folder:
        assert folder == tmp_path / "a"
    assert remote.remove(None) == 0 and names(tmp_path / "a") == [CHECKPOINT]


def job(tmp_path, url, **changes):
    plain = {**PLAIN, "training": {**PLAIN["training"], "epochs": EPOCHS, **changes}}
    shared = {"threads": 1, "cpus": 1.0, "gpus": 0.0, "measure": []}
    return {**shared, "number": 3, "folder": str(tmp_path / "runs" / "3"), "remote": url, "config": plain}


@pytest.fixture(scope="module")
def whole():
    """Figures of the trial left alone."""
    chosen = config(training__epochs=EPOCHS)
    return figures(finish(Trial(chosen, data_of(chosen.data), None)))


def go_on(tmp_path, url, rank=None):
    """Begin, and step to the end: (figures, epochs that were trained now)."""
    rank, epochs = rank or Rank(), []
    finished = rank.begin(job(tmp_path, url))
    result = {"done": False}
    while not result["done"]:
        result = rank.step()
        epochs.append(json.loads(result["report"])["epoch"])
    assert result["state"] == "completed"
    seen = figures(rank.trial)
    rank.end()
    return seen, [] if finished else epochs


def test_a_trial_goes_on_at_another_node_from_its_last_pushed_epoch(tmp_path, url, kept, whole):
    first = Rank()
    first.begin(job(tmp_path, url))
    first.step()
    first.trial.settle()
    assert names(kept) == [CHECKPOINT, REPORTS] and len(list((tmp_path / "node").iterdir())) == 1
    assert go_on(tmp_path, url) == (whole, [2, 3])
    assert [report.epoch for report in read_reports(kept)] == [1, 2, 3]
    assert go_on(tmp_path, url, first) == (whole, [])  # back at the first node, whose own copy is of epoch 1
    assert list((tmp_path / "node").iterdir()) == [] and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("broken", [CHECKPOINT, REPORTS])
@pytest.mark.parametrize("epochs", [2, EPOCHS])
def test_a_trial_whose_push_fails_is_not_a_failed_one(tmp_path, url, kept, whole, monkeypatch, epochs, broken):
    rank = Rank()
    rank.begin(job(tmp_path, url))
    for _ in range(epochs - 1):
        rank.step()
    rank.trial.settle()
    Flaky.errors, Flaky.broken = [OSError("away")] * 1000, (broken,)
    with pytest.raises(remote.Away):
        rank.step()
        rank.step()  # while the storage is asked for epoch 2
    Flaky.errors = []
    seen, trained = go_on(tmp_path, url)
    assert seen == whole and trained == list(range(epochs + (broken == REPORTS), EPOCHS + 1))
    assert [report.epoch for report in read_reports(kept)] == [1, 2, 3]


def test_a_node_that_does_not_see_the_search_trains_nothing(tmp_path, whole):
    rank = Rank()
    rank.begin(job(tmp_path, f"flaky://{tmp_path}/elsewhere/search/trials/3"))
    with pytest.raises(remote.Away, match="does not answer: FileNotFoundError"):
        rank.step()
    assert not (tmp_path / "elsewhere").exists()


def test_why_a_trial_failed_is_kept_and_only_its_first_rank_keeps_checkpoints(tmp_path, url, kept):
    rank = Rank()
    rank.begin(job(tmp_path, url, optimizer={"name": "sgd", "lr": 1e30}))
    result = rank.step()
    while result["state"] == "running":
        result = rank.step()
    assert result["state"] == "failed" and "NonFiniteLoss" in (kept / ERROR).read_text()
    go_on(tmp_path, url)
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    second = Rank()
    second._ranks = Ranks(1, 2)
    second.begin(job(tmp_path, url))
    assert second.trial.folder is None and not second.trial.reports and names(second._folder) == []
    second.end()
    assert before == {path: path.stat().st_mtime_ns for path in kept.iterdir()}
