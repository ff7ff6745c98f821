"""Epochs that another trial trained are taken over, and nothing but the time differs."""

import threading
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prune_search.pruning.presets import PRESETS
from prune_search.spec.config import TrialConfig
from prune_search.training import checkpoint
from prune_search.training.data import data_of
from prune_search.training.stages import Stages, digest
from prune_search.training.trial import Trial

SPENT = {"seconds", "device_seconds", "train_flops_spent"}


def config(recipe, **changes) -> TrialConfig:
    return TrialConfig.from_dict(
        {
            "data": {"name": "digits", "train_size": 300, "validation_size": 100},
            "model": "lenet-300-100",
            "training": {"epochs": 6, "batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}},
            "recipe": recipe,
        }
        | changes
    )


@pytest.fixture(scope="module")
def data():
    return data_of(config("dense").data)


class Counting(Trial):
    """Notes which epochs it trained itself."""

    def _train(self) -> float:
        self.trained = [*getattr(self, "trained", []), self.epoch + 1]
        return super()._train()


def run(chosen, data, folder, stages=None, cut=None) -> Counting:
    trial = Counting(chosen, data, folder, stages=stages)
    while not trial.finished:
        if trial.epoch == cut:
            trial, cut = Counting(chosen, data, folder, stages=stages), None
            continue
        trial.run_epoch()
    return trial


def figures(trial: Trial) -> list[dict]:
    return [{name: value for name, value in asdict(report).items() if name not in SPENT} for report in trial.reports]


def same(trial: Trial, other: Trial) -> bool:
    ours, theirs = trial.model.state_dict(), other.model.state_dict()
    equal = ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    return equal and figures(trial) == figures(other) and trial.rounds == other.rounds


@pytest.mark.parametrize("preset", PRESETS)
def test_a_trial_that_takes_epochs_over_is_bit_for_bit_the_one_that_trains_them(tmp_path, data, preset):
    chosen = config({"preset": preset})
    alone = run(chosen, data, tmp_path / "alone")
    stages = Stages(tmp_path / "stages", pruned=True)
    first = run(chosen, data, tmp_path / "first", stages)
    second = run(chosen, data, tmp_path / "second", stages, cut=3)
    assert same(first, alone) and same(second, alone)
    assert first.trained == [report.epoch for report in alone.reports]
    if preset == "serene":  # its sensitivities are measured within the steps
        assert second.trained
    else:
        assert not hasattr(second, "trained") and second.reports[-1].train_flops_spent < first.reports[-1].train_flops


def test_trials_share_what_comes_before_their_first_event(tmp_path, data):
    stages = Stages(tmp_path / "stages")
    sparse = {"preset": "magnitude", "dense_epochs": 3, "schedule": {"one-shot": {"final_sparsity": 0.9}}}
    denser = {"preset": "dyprune", "dense_epochs": 2, "score": "loss-sensitivity", "round": {"max_epochs": 2}}
    first, second = run(config(sparse), data, tmp_path / "0", stages), run(config(denser), data, tmp_path / "1", stages)
    assert first.pruner.history.events[0] == 3 and second.pruner.history.events[0] == 2
    assert first.trained == [1, 2, 3, 4, 5, 6] and second.trained == [3, 4, 5, 6]
    assert same(second, run(config(denser), data, tmp_path / "alone"))
    assert len(list(stages.folder.iterdir())) == 3
    report = second.reports[-1]
    assert report.train_flops - report.train_flops_spent == pytest.approx(2 * second.reports[0].train_flops)


def test_after_an_event_only_what_became_the_same_network_is_shared(tmp_path, data):
    stages = Stages(tmp_path / "stages", pruned=True)
    one_shot = lambda sparsity, most: config(
        {
            "preset": "magnitude",
            "dense_epochs": 3,
            "schedule": {"one-shot": {"final_sparsity": sparsity}},
            "max_events": most,
        }
    )
    run(one_shot(0.9, 1), data, tmp_path / "0", stages)
    other, again = (
        run(one_shot(0.5, 1), data, tmp_path / "1", stages),
        run(one_shot(0.9, 2), data, tmp_path / "2", stages),
    )
    assert other.trained == [4, 5, 6] and same(other, run(one_shot(0.5, 1), data, tmp_path / "alone"))
    assert not hasattr(again, "trained")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"model": "mlp-1000"},
        {"data": {"name": "digits", "train_size": 300, "validation_size": 100, "split_seed": 1}},
        {"training": {"epochs": 6, "batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.06, "momentum": 0.9}}},
        {"recipe": {"preset": "dense", "regularizer": {"l1": {"strength": 0.001}}}},
        {
            "recipe": {
                "preset": "dense",
                "at_start": {"score": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.5}}},
            }
        },
    ],
    ids=str,
)
def test_what_trains_differently_shares_nothing(tmp_path, data, changes):
    stages = Stages(tmp_path / "stages", pruned=True)
    run(config("dense"), data, tmp_path / "0", stages)
    other = config(**{"recipe": "dense"} | changes)
    assert run(other, data_of(other.data), tmp_path / "1", stages).trained == [1, 2, 3, 4, 5, 6]


def test_who_comes_second_waits_for_the_first(tmp_path, data):
    stages, reached, go_on = Stages(tmp_path / "stages"), threading.Event(), threading.Event()

    class Slow(Counting):
        def _train(self) -> float:
            reached.set()
            assert go_on.wait(60)
            return super()._train()

    slow = Slow(config("dense"), data, tmp_path / "0", stages=stages)
    fast = Counting(config("dense"), data, tmp_path / "1", stages=stages)
    threads = [threading.Thread(target=trial.run_epoch) for trial in (slow, fast)]
    threads[0].start()
    assert reached.wait(60)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive() and not fast.reports
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert slow.trained == [1] and not hasattr(fast, "trained") and same(slow, fast)
    assert not list(stages.folder.glob("*.lock"))


def test_who_waits_trains_itself_when_the_first_fails(tmp_path, data):
    stages = Stages(tmp_path / "stages")

    class Failing(Trial):
        def _train(self) -> float:
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError):
        Failing(config("dense"), data, tmp_path / "0", stages=stages).run_epoch()
    assert run(config("dense"), data, tmp_path / "1", stages).trained == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("broken", [b"nothing", "no checkpoint", "no reports"])
def test_a_broken_end_is_trained_again(tmp_path, data, broken):
    stages = Stages(tmp_path / "stages")
    first = run(config("dense"), data, tmp_path / "0", stages)
    kept = sorted(stages.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    if broken == "no checkpoint":
        save_file({"a": torch.zeros(1)}, kept[1])
    elif broken == "no reports":
        checkpoint.save(kept[1], {"model": {}, "optimizer": {}, "reports": []})
    else:
        kept[1].write_bytes(broken)
    again = run(config("dense"), data, tmp_path / "1", stages)
    assert again.trained == [2] and same(again, first)


def test_the_least_recently_used_go_when_room_is_needed(tmp_path):
    stages = Stages(tmp_path / "stages", limit=250)

    def train(key: str) -> bool:
        (tmp_path / key).write_bytes(bytes(100))
        with stages.training(key) as path:
            if path is None:
                stages.keep(key, tmp_path / key)
            return path is None

    assert [train(key) for key in ("a", "b", "a", "c")] == [True, True, False, True]
    assert {path.name for path in stages.folder.iterdir()} == {"a.safetensors", "c.safetensors"}


def test_a_folder_that_takes_nothing_costs_only_the_sharing(tmp_path, data, caplog):
    (tmp_path / "stages").write_text("a file")
    trial = run(config("dense"), data, tmp_path / "0", Stages(tmp_path / "stages"))
    assert len(trial.reports) == 6 and "not shared" in caplog.text


def test_a_digest_tells_values_dtypes_shapes_and_places_apart():
    zeros = torch.zeros(2, 2)
    others = [
        torch.ones(2, 2),
        zeros.double(),
        zeros.flatten(),
        zeros.int(),
        [zeros],
        {"a": zeros},
        {"b": zeros},
        0.0,
        "0",
    ]
    assert len({digest(value) for value in [zeros, *others]}) == 10
    assert digest({"a": zeros, "b": 1}) == digest({"a": torch.zeros(2, 2), "b": 1})
    assert digest(zeros.to(memory_format=torch.contiguous_format)) == digest(torch.zeros(2, 4)[:, ::2])


def test_what_is_kept_costs_no_copy(tmp_path):
    stages, file = Stages(tmp_path / "stages"), tmp_path / "end"
    file.write_bytes(b"end")
    with stages.training("a"):
        stages.keep("a", file)
    assert Path(stages.folder / "a.safetensors").samefile(file)
