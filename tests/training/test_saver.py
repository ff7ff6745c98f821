"""Checkpoints written while training goes on: of their own epoch, one at a time, in time where it counts."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from prune_search.training import checkpoint, saver
from prune_search.training.files import CHECKPOINT, REPORTS
from prune_search.training.saver import Saver


@pytest.fixture
def gate(monkeypatch):
    """Writing waits until it is set; so many checkpoints were written."""
    go, write, written = threading.Event(), checkpoint.write, []

    def slow(path, packed):
        assert go.wait(20)
        write(path, packed)
        written.append(path)

    monkeypatch.setattr(saver.checkpoint, "write", slow)
    return go, written


def test_what_is_written_behind_is_the_state_of_its_own_epoch(tmp_path, gate):
    go, written = gate
    called, weights = [], torch.zeros(3)
    made = Saver(tmp_path / "t", lambda: called.append(len(written)))
    made.save({"w": weights, "n": [1]}, [])
    assert (tmp_path / "t" / REPORTS).exists() and written == called == []
    weights += 1
    go.set()
    made.wait()
    assert called == [1]
    assert torch.equal(checkpoint.load(tmp_path / "t" / CHECKPOINT)["w"], torch.zeros(3))
    assert made.load()["n"] == [1]


def test_the_next_one_waits_for_the_last_and_hears_of_its_error(tmp_path, gate):
    go, written = gate

    def broken():
        raise RuntimeError("no room")

    made, other = Saver(tmp_path, broken), ThreadPoolExecutor(1)
    made.save({"n": 1}, [])
    second = other.submit(made.save, {"n": 2}, [])
    with pytest.raises(TimeoutError):
        second.result(0.2)
    go.set()
    with pytest.raises(RuntimeError, match="no room"):
        second.result(20)
    assert len(written) == 1 and made.load() == {"n": 1}
    made.wait()  # an error is told once
    made.close()


def test_without_anybody_behind_it_is_written_at_once(tmp_path, gate):
    go, written = gate
    go.set()
    Saver(tmp_path).save({"n": 1}, [])
    assert len(written) == 1


def test_close_waits_for_what_is_being_written(tmp_path, gate):
    go, written = gate
    made = Saver(tmp_path, lambda: None)
    made.save({"n": 1}, [])
    threading.Timer(0.1, go.set).start()
    made.close()
    assert len(written) == 1
