"""Asking a sampler: in a thread, one ahead, from a history that is thinned and says what failed."""

import itertools
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState
from search.small_spaces import SMALL, write
from search.test_source import drain, report, source

from prune_search.search.asking import asker, history
from prune_search.search.asking.asker import Asker
from prune_search.search.asking.history import History
from prune_search.search.asking.samplers import choose
from prune_search.search.asking.thinning import Thinning
from prune_search.search.jobs import Ended, Job, NoMore, Wait
from prune_search.search.layout import Layout
from prune_search.search.results import read
from prune_search.search.source import StudySource
from prune_search.search.storage import open_storage
from prune_search.spec import load_spec


def threaded(tmp_path, enough=lambda: False, **search):
    spec = load_spec(write(tmp_path, **search))
    layout = Layout(tmp_path, "t")
    layout.folder.mkdir(exist_ok=True)
    calls = {"started": lambda job: None, "reported": lambda job, report: None, "ended": lambda job, ended: None}
    return StudySource(spec, layout, open_storage(layout, None), 2, **calls, enough=enough), layout, spec


def wait(condition, limit=20.0):
    end = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < end
        time.sleep(0.001)
    return result


def until(made):
    """The next answer that is not to wait."""
    return wait(lambda: None if isinstance(answer := made.next(), Wait) else answer)


def test_nobody_waits_for_a_slow_sampler_unless_nothing_runs(tmp_path, monkeypatch):
    go, calls = threading.Event(), itertools.count()
    real = asker.sampler
    monkeypatch.setattr(asker, "sampler", lambda *given: (next(calls) == 0 or go.wait(20)) and real(*given))
    made, *_ = threaded(tmp_path)
    assert isinstance(made.next(), Job)
    assert isinstance(made.next(), Wait)
    assert isinstance(made.next(), Wait)
    go.set()
    assert isinstance(until(made), Job)
    made.close()


def test_one_is_asked_ahead_and_no_more_than_there_are_trials(tmp_path):
    made, *_ = threaded(tmp_path, trials=3)
    jobs = [until(made) for _ in range(3)]
    assert [job.number for job in jobs] == [0, 1, 2]
    assert isinstance(made.next(), NoMore)
    made.close()
    assert len(made.trials()) == 3


def test_no_thread_asks_when_the_source_is_closed(tmp_path):
    before = set(threading.enumerate())
    made, *_ = threaded(tmp_path)
    until(made)
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["ask_0"]
    made.close()
    assert set(threading.enumerate()) <= before


def test_what_was_asked_ahead_waits_for_a_resumption(tmp_path):
    made, *_ = threaded(tmp_path)
    job = until(made)
    wait(lambda: len(made.trials()) == 2)
    made.close()
    assert [trial.state.name for trial in made.trials()] == ["RUNNING", "RUNNING"]
    again, *_ = threaded(tmp_path)
    assert until(again).config == job.config
    assert until(again).number == 1
    again.close()


def test_what_was_asked_ahead_waits_also_where_an_interruption_left_nothing_else_open(tmp_path):
    made, *_ = threaded(tmp_path)
    job = until(made)
    wait(lambda: len(made.trials()) == 2)
    made.end(job, Ended("completed", "epochs", report()))
    made.close(interrupted=True)
    assert [trial.state.name for trial in made.trials()][:2] == ["COMPLETE", "RUNNING"]
    again, *_ = threaded(tmp_path)
    assert until(again).number == 1
    again.close()


def test_what_was_asked_ahead_is_no_trial_when_the_search_is_over(tmp_path):
    over = []
    made, layout, spec = threaded(tmp_path, enough=lambda: bool(over))
    job = until(made)
    wait(lambda: len(made.trials()) == 2)
    over.append(True)
    made.end(job, Ended("completed", "epochs", report()))
    assert isinstance(made.next(), NoMore)
    made.close()
    assert [trial.state.name for trial in made.trials()] == ["COMPLETE", "FAIL"]
    assert [record.number for record in read(layout, spec).records] == [0]


def test_an_error_of_the_sampler_is_raised_where_it_is_asked(tmp_path, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("no sampler")

    monkeypatch.setattr(asker, "sampler", broken)
    made, *_ = threaded(tmp_path)
    with pytest.raises(RuntimeError, match="no sampler"):
        until(made)


def test_a_sampler_sees_a_trial_that_failed_by_itself_as_stopped(tmp_path):
    made, *_ = source(tmp_path, trials=3)
    ends = iter([("failed", "nan_loss: of epoch 1"), ("failed", "worker_died"), ("completed", "epochs")])
    drain(made, lambda job: Ended(*next(ends), report()))
    assert [trial.state.name for trial in made.trials()] == ["FAIL", "FAIL", "COMPLETE"]
    seen = History(made.storage, 10).get_all_trials(made.study._study_id)
    assert [trial.state.name for trial in seen] == ["PRUNED", "FAIL", "COMPLETE"]


def test_a_sampler_sees_counts_in_decades_and_the_study_keeps_them(tmp_path):
    made, *_ = source(tmp_path, trials=1)
    drain(made, lambda job: Ended("completed", "epochs", report(0.9, 1000)))
    (seen,) = History(made.storage, 10, objectives=["accuracy", "params"]).get_all_trials(made.study._study_id)
    assert seen.values == [0.9, 3.0]
    assert made.trials()[0].values == [0.9, 1000.0]


def test_a_trial_is_made_as_it_is_seen_once_and_only_if_its_state_is_asked_for(tmp_path, monkeypatch):
    made, *_ = source(tmp_path, trials=3)
    ends = iter([("completed", "epochs"), ("stopped", "dominated"), ("completed", "epochs")])
    drain(made, lambda job: Ended(*next(ends), report(0.9, 1000)))
    changed = []
    monkeypatch.setattr(history, "_in_decades", lambda trial, which: changed.append(trial.number) or trial)
    view = History(made.storage, 1, objectives=["accuracy", "params"])
    look = lambda *states: [t.number for t in view.get_all_trials(made.study._study_id, False, states)]
    assert (look(TrialState.WAITING), changed) == ([], [])
    assert (look(TrialState.RUNNING), look(TrialState.PRUNED), changed) == ([2], [1], [])
    assert (look(TrialState.COMPLETE), changed) == ([0], [0])
    assert (look(TrialState.COMPLETE, TrialState.PRUNED), changed) == ([0, 1], [0])


FRONT = """
data: {name: digits}
model: lenet-300-100
training: {epochs: 5}
recipe: {schedule.final_sparsity: {low: 0.1, high: 0.9}}
objectives: {accuracy: maximize, params: minimize}
"""


def test_tpe_learns_from_all_decades_of_a_front(tmp_path):
    """Sixty trials in a row, all on the front; of which one it learns, it decides by hypervolume."""
    made, *_ = source(tmp_path, text=FRONT, sampler="tpe", trials=100)

    def end(job):
        sparsity = job.params["recipe.schedule.final_sparsity"]
        return Ended("completed", "epochs", report(0.9 - 0.5 * sparsity, 10 ** (5 - 3 * sparsity)))

    asked = [config["recipe"]["schedule.final_sparsity"] for config in drain(made, end)[60:]]
    assert sum(sparsity > 0.45 for sparsity in asked) >= 13


# Thinning


def test_the_best_and_a_fair_sample_are_kept():
    thinning = Thinning(best=5, others=20, signs=[-1.0, 1.0])
    for number in range(1000):
        thinning.add(number, (number / 1000, 10.0) if number % 2 else None)
    kept = thinning.kept()
    assert {991, 993, 995, 997, 999} <= kept
    assert len(kept) <= 10 + 20
    assert 3 <= sum(number < 500 for number in kept) <= 17


def test_what_is_kept_does_not_depend_on_the_order_of_telling():
    forth, back = Thinning(5, 20, [1.0]), Thinning(5, 20, [1.0])
    for number in range(300):
        forth.add(number, (float(number),))
    for number in reversed(range(300)):
        back.add(number, (float(number),))
    assert {number for number in forth.kept() if number < 5} == set(range(5)) <= back.kept()
    assert forth._lot and sorted(forth._lot) == sorted(back._lot)


def test_an_asker_keeps_what_is_best_in_the_directions_of_the_objectives(tmp_path, monkeypatch):
    monkeypatch.setitem(asker.THINNED, "tpe", (2, 0))
    made, *_ = source(tmp_path)
    asking = Asker(made.spec, "s", made.storage, "tpe", 0, threaded=False)
    for number in range(5):
        asking.tell(number, (number / 10, 1000))
    assert asking._kept(4) == {3, 4}  # the most accurate


def test_a_thinned_history_has_what_is_kept_and_what_ran_last(tmp_path, monkeypatch):
    made, *_ = source(tmp_path, trials=4)
    jobs = [made.next() for _ in range(4)]
    for job in jobs[:3]:
        made.end(job, Ended("completed", "epochs", report()))
    look = lambda last, kept: [
        (trial.number, trial.state.name)
        for trial in History(made.storage, last, frozenset(kept)).get_all_trials(made.study._study_id)
    ]
    assert look(10, {1}) == [(1, "COMPLETE"), (3, "RUNNING")]
    assert look(1, {1}) == [(1, "COMPLETE"), (2, "RUNNING"), (3, "RUNNING")]
    monkeypatch.setattr(history, "RUNNING", 2)
    assert look(0, {0}) == [(0, "COMPLETE"), (2, "RUNNING"), (3, "RUNNING")]  # whether they run or look so


def test_a_long_deterministic_search_is_the_same_at_any_pace(tmp_path, monkeypatch):
    monkeypatch.setitem(asker.THINNED, "tpe", (4, 6))
    seen = []
    for slots in (1, 3):
        made, *_ = source(tmp_path, slots=slots, name=f"s{slots}", deterministic="true", batch=3, trials=30)
        open_, configs = [], {}
        while len(configs) < 30 or open_:
            job = made.next()
            if isinstance(job, Job):
                configs[job.number] = job.config
                open_.append(job)
            if not isinstance(job, Job) or len(open_) == slots:
                done = open_.pop()
                made.end(done, Ended("completed", "epochs", report(done.config["training"]["optimizer"]["lr"], 1000)))
        seen.append(configs)
    assert seen[0] == seen[1]


# Choosing


@pytest.mark.parametrize(
    ("changes", "search", "slots", "chosen"),
    [
        ({}, {"trials": 100}, 2, "tpe"),
        ({}, {"trials": 100}, 16, "qmc"),
        ({}, {"trials": 12}, 16, "tpe"),
        ({"{low: 0.02, high: 0.2, log: true}": "0.1", "{low: 0.5, high: 0.95}": "{choices: [0.5, 0.9]}",
          "{low: 7.0, high: 20.0}": "{choices: [7.0, 9.0]}"}, {"trials": 5}, 2, "grid"),
        ({"{low: 0.02, high: 0.2, log: true}": "0.1", "{low: 0.5, high: 0.95}": "{choices: [0.5, 0.9]}",
          "{low: 7.0, high: 20.0}": "{choices: [7.0, 9.0]}"}, {"trials": 4}, 1, "qmc"),
    ],
)  # fmt: skip
def test_auto_chooses_by_space_budget_and_parallelism(tmp_path, changes, search, slots, chosen):
    text = SMALL
    for old, new in changes.items():
        text = text.replace(old, new)
    name, why = choose(load_spec(write(tmp_path, text, sampler="auto", **search)), slots)
    assert (name, bool(why)) == (chosen, True)


def test_a_sampler_that_is_named_is_taken(tmp_path):
    spec = load_spec(write(tmp_path, sampler="nsgaii"))
    assert choose(spec, 100)[0] == "nsgaii"
    assert isinstance(asker.sampler("nsgaii", 0, 0), optuna.samplers.NSGAIISampler)
    assert Asker(spec, "s", optuna.storages.InMemoryStorage(), "nsgaii", 8, threaded=False).size is None
