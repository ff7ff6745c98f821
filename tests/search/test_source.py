"""Asking and telling a study, without running anything: what is asked, in which order, and what becomes of results."""

import dataclasses
import math
from functools import partial

import pytest
from search.small_spaces import SMALL, write

from prune_search.cost.metrics import Report
from prune_search.search.asking.asker import Asker
from prune_search.search.jobs import Ended, NoMore, Wait
from prune_search.search.layout import Layout
from prune_search.search.results import read
from prune_search.search.source import StudySource
from prune_search.search.storage import open_storage
from prune_search.spec import load_spec

FIELDS = {field.name: 1 for field in dataclasses.fields(Report)}


def report(accuracy=0.9, params=1000, **more):
    return Report(**{**FIELDS, "accuracy": accuracy, "params": params, **more})


def source(tmp_path, slots=2, text=SMALL, name="s", **search):
    spec = load_spec(write(tmp_path, text, **search))
    layout = Layout(tmp_path, name)
    layout.folder.mkdir(exist_ok=True)
    ended = {}
    callbacks = {
        "started": lambda job: None,
        "reported": lambda job, report: None,
        "ended": lambda job, result: ended.__setitem__(job.number, result),
    }
    asking = partial(Asker, threaded=False)
    made = StudySource(spec, layout, open_storage(layout, None), slots, **callbacks, asking=asking)
    return made, ended, layout, spec


def drain(made, result=lambda job: Ended("completed", "epochs", report())):
    """Hand out and end jobs one by one; their configurations."""
    configs = []
    while not isinstance(job := made.next(), NoMore):
        configs.append(job.config)
        made.end(job, result(job))
    return configs


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "nsgaiii", "gp", "qmc", "random", "auto"])
def test_every_sampler_asks_valid_configurations_of_a_conditional_space(tmp_path, sampler):
    made, _, _, spec = source(tmp_path, sampler=sampler, trials=14)
    configs = drain(made, lambda job: Ended("completed", "epochs", report(0.5 + job.number / 100, 1000 - job.number)))
    assert len(configs) == 14
    for config in configs:
        (option,) = {config["recipe"]["preset"]} & {"magnitude", "dyprune", "dense"}
        assert ("schedule.b" in config["recipe"]) == (option == "dyprune")
        assert 0.02 <= config["training"]["optimizer"]["lr"] <= 0.2


def test_grid_asks_every_member_once(tmp_path):
    text = SMALL.replace("{low: 0.02, high: 0.2, log: true}", "{choices: [0.05, 0.1]}")
    text = text.replace("{low: 0.5, high: 0.95}", "{low: 0.5, high: 0.9, step: 0.2}")
    text = text.replace("{low: 7.0, high: 20.0}", "{choices: [10.0, 12.0]}")
    made, *_ = source(tmp_path, text=text, sampler="grid", trials=100)
    trials = drain(made)
    assert len(trials) == 2 * (3 + 2 + 1)
    assert len({str(trial) for trial in trials}) == len(trials)


def test_enqueued_configurations_come_first(tmp_path):
    queue = "[{recipe: dense, training.optimizer.lr: 0.11}, {recipe.dyprune.schedule.b: 9.5}, {}]"
    made, *_ = source(tmp_path, enqueue=queue)
    first, second, *rest = drain(made)
    assert (first["recipe"], first["training"]["optimizer"]["lr"]) == ({"preset": "dense"}, 0.11)
    assert second["recipe"]["schedule.b"] == 9.5
    assert len(rest) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_not_finite_is_a_failure(tmp_path, value):
    made, ended, layout, spec = source(tmp_path, trials=2)
    values = iter([value, 0.9])
    drain(made, lambda job: Ended("completed", "epochs", report(next(values))))
    assert ended[0].state == "failed"
    found = read(layout, spec)
    assert [r.state for r in found.records] == ["failed", "completed"]
    assert [r.number for r in found.front] == [1]


def test_constraints_make_trials_infeasible_and_reach_the_sampler(tmp_path):
    text = SMALL + 'constraints: {accuracy: ">= 0.8"}\n'
    made, ended, layout, spec = source(tmp_path, text=text, trials=2)
    values = iter([(0.75, 10), (0.85, 1000)])
    drain(made, lambda job: Ended("completed", "epochs", report(*next(values))))
    assert (ended[0].state, ended[0].reason) == ("infeasible", "not accuracy >= 0.8")
    assert [record.number for record in read(layout, spec).front] == [1]
    first, second = made.trials()
    values = [next(v for k, v in t.system_attrs.items() if k.startswith("constraints")) for t in (first, second)]
    assert values == pytest.approx([0.05, -0.05])


def test_stopped_and_failed_trials_are_told_as_such_and_never_on_the_front(tmp_path):
    made, _, layout, spec = source(tmp_path, trials=3)
    states = iter(["stopped", "failed", "completed"])
    drain(made, lambda job: Ended(next(states), "why", report(0.9 - job.number / 10, 100 * job.number + 1)))
    assert [trial.state.name for trial in made.trials()] == ["PRUNED", "FAIL", "COMPLETE"]
    assert [record.number for record in read(layout, spec).front] == [2]


def test_running_trials_come_back_under_their_own_numbers(tmp_path):
    made, *_ = source(tmp_path)
    jobs = [made.next() for _ in range(3)]
    made.end(jobs[1], Ended("completed", "epochs", report()))
    again, *_ = source(tmp_path)
    resumed = [again.next() for _ in range(3)]
    assert [job.number for job in resumed] == [0, 2, 3]
    assert [job.config for job in resumed[:2]] == [jobs[0].config, jobs[2].config]
    for job in resumed:
        again.end(job, Ended("completed", "epochs", report()))
    drain(again)
    assert [trial.number for trial in again.trials()] == list(range(6))
    assert all(trial.state.is_finished() for trial in again.trials())


def play(made, order):
    """Run a deterministic search with results arriving late, as ``order`` says; the configurations by number."""
    waiting, configs, count = [], {}, 0
    while True:
        job = made.next()
        if isinstance(job, NoMore) and not waiting:
            return configs
        if isinstance(job, (Wait, NoMore)):
            done = waiting.pop(order(count) % len(waiting))
            count += 1
            made.end(done, Ended("completed", "epochs", report(0.5 + done.config["training"]["optimizer"]["lr"], 1000)))
        else:
            configs[job.number] = job.config
            waiting.append(job)


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "random", "qmc"])
def test_a_deterministic_search_does_not_depend_on_timing(tmp_path, sampler):
    options = {"deterministic": "true", "batch": 3, "trials": 16, "sampler": sampler}
    plays = []
    for i, order in enumerate([lambda c: 0, lambda c: -1, lambda c: 7 * c]):
        made, *_ = source(tmp_path, slots=1 + i, name=f"d{i}", **options)
        plays.append(play(made, order))
    assert plays[0] == plays[1] == plays[2]
    assert len(plays[0]) == 16


def test_any_storage_url_of_optuna_holds_the_study(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    spec = load_spec(write(tmp_path, trials=3, storage=url))
    layout = Layout(tmp_path, "u")
    layout.folder.mkdir()
    callbacks = {"started": lambda job: None, "reported": lambda job, report: None, "ended": lambda job, result: None}
    made = StudySource(spec, layout, open_storage(layout, url), 2, **callbacks, asking=partial(Asker, threaded=False))
    drain(made)
    assert not layout.journal.exists()
    assert [record.state for record in read(layout, spec).records] == ["completed"] * 3


def test_a_deterministic_search_waits_for_the_trial_that_is_b_behind(tmp_path):
    made, *_ = source(tmp_path, slots=1, deterministic="true", batch=2)
    first, second = made.next(), made.next()
    assert isinstance(made.next(), Wait)
    made.end(second, Ended("completed", "epochs", report()))
    assert isinstance(made.next(), Wait)
    made.end(first, Ended("completed", "epochs", report()))
    assert made.next().number == 2


def test_a_deterministic_search_is_the_same_after_an_interruption(tmp_path):
    options = {"deterministic": "true", "batch": 3, "trials": 14}
    whole, *_ = source(tmp_path, name="whole", **options)
    expected = play(whole, lambda c: 0)
    broken, *_ = source(tmp_path, name="broken", **options)
    jobs = [broken.next() for _ in range(3)]
    broken.end(jobs[1], Ended("completed", "epochs", report(0.5 + jobs[1].config["training"]["optimizer"]["lr"], 1000)))
    again, *_ = source(tmp_path, name="broken", **options)
    assert {1: jobs[1].config, **play(again, lambda c: 0)} == expected
