"""Rules of early stopping on trials made by hand: who goes on, who stops, and why."""

import json
import math
from typing import get_args

import numpy as np
import pytest
from pydantic import TypeAdapter
from search.test_source import report, source

from prune_search.pruning.recipe import resolve
from prune_search.search.early.forecast import Forecast, _Peers
from prune_search.search.early.halving import WINDOW, Brackets, Halving
from prune_search.search.early.judge import rule_of
from prune_search.search.early.ranking import crowding, order
from prune_search.search.early.standing import Standing, standing
from prune_search.search.jobs import Ended
from prune_search.spec.conditions import parse_constraint
from prune_search.spec.settings import EarlyStopping
from prune_search.training.files import write_reports

ALL = 10**9
RULES = [
    name for kind in get_args(EarlyStopping) if (name := get_args(kind.model_fields["name"].annotation)[0]) != "none"
]


def at(number, accuracy, decades, epoch=1, **more):
    """A trial with this accuracy and 10 ** decades parameters."""
    return Standing(number, epoch, (-accuracy, decades), **more)


def judged(rule, stage, standing, last=ALL):
    rule.enter(stage, standing)
    return rule.verdict(stage, standing, last)


# The order of trials


def test_feasible_before_infeasible_before_not_finite():
    trials = [at(0, 0.9, 3.0, violation=0.2), at(1, math.nan, 1.0), at(2, 0.1, 5.0), at(3, 0.95, 2.0, violation=0.1)]
    assert order(trials) == [2, 3, 0, 1]


def test_layer_by_layer_and_the_loneliest_first():
    front = [at(0, 0.9, 4.0), at(1, 0.85, 3.9), at(2, 0.8, 2.0), at(3, 0.5, 1.0)]
    beaten = [at(4, 0.79, 2.5), at(5, 0.4, 1.5)]
    assert order([*beaten, *front]) == [2, 5, 4, 3, 0, 1]
    table = np.array([standing.losses for standing in front])
    assert crowding(table).tolist() == pytest.approx([math.inf, 0.25 + 2 / 3, 0.875 + 2.9 / 3, math.inf])


# Successive halving


def test_a_third_goes_on():
    rule = Halving(reduction=3, rungs=2)
    assert rule.shares == (1 / 9, 1 / 3)
    assert [judged(rule, 0, at(n, 0.5 + n / 10, 3.0)) for n in range(2)] == [None, None]
    assert judged(rule, 0, at(2, 0.4, 3.0)) == "place 3 of 3 at epoch 1"
    assert judged(rule, 0, at(3, 0.8, 3.0)) is None
    assert judged(rule, 0, at(4, 0.7, 3.0)) == "place 2 of 5 at epoch 1"
    assert judged(rule, 0, at(5, 0.71, 3.0)) is None
    assert judged(rule, 1, at(5, 0.71, 3.0)) is None


def test_both_ends_of_a_front_go_on():
    rule = Halving()
    for n in range(9):
        rule.enter(0, at(n, 0.5 + n / 100, 3.0 + n / 10))
    assert judged(rule, 0, at(9, 0.1, 1.0)) is None
    assert judged(rule, 0, at(10, 0.99, 5.0)) is None
    assert judged(rule, 0, at(11, 0.45, 4.9)) == "place 12 of 12 at epoch 1"


def test_a_stage_remembers_the_last_trials_only():
    rule = Halving()
    for n in range(3 * WINDOW):
        rule.enter(0, at(n, 0.9, 1.0))
    assert len(rule._seen[0]) == 2 * WINDOW
    assert judged(rule, 0, at(3 * WINDOW, 0.5, 3.0)) == f"place {WINDOW + 1} of {WINDOW + 1} at epoch 1"


def test_a_bracket_is_spared_its_first_stages():
    rule = Brackets(reduction=2, brackets=2)
    for n in range(10):
        rule.enter(0, at(n, 0.9, 1.0))
    assert judged(rule, 0, at(10, 0.1, 3.0)) == "place 6 of 6 at epoch 1"
    assert judged(rule, 0, at(11, 0.1, 3.0)) is None


# Forecast


def finished(rule, number, then, end, stage=1):
    """A trial that stood so at one stage and ended so."""
    rule.enter(stage, at(number, *then))
    rule.finish(number, at(number, *end))


def early_and_late(rule):
    """Twelve completed trials of three kinds that all end at 100 parameters.

    Early pruners have paid at stage 1 and recover to 0.95; late ones look best there and fall to 0.90; noise was pruned early,
    at random, looks better than the early pruners, and stays where it is.
    """
    for k in range(4):
        finished(rule, k, (0.50 + k / 1000, 2.0), (0.95 - k / 1000, 2.0))
        finished(rule, 10 + k, (0.97 + k / 1000, 4.0), (0.90, 2.0))
        finished(rule, 20 + k, (0.55 + k / 1000, 1.9), (0.56 + k / 1000, 1.9))


def test_naive_halving_stops_the_eventual_best_that_pruned_early_and_the_forecast_does_not():
    best = at(30, 0.51, 2.0)
    naive, fair = Halving(), Forecast()
    early_and_late(naive)
    early_and_late(fair)
    assert judged(naive, 1, best) == "place 9 of 13 at epoch 1"
    assert judged(fair, 1, best) is None


def test_a_trial_that_has_not_paid_yet_is_not_kept_for_it():
    late = at(30, 0.96, 4.0)
    naive, fair = Halving(), Forecast(neighbours=4)
    early_and_late(naive)
    early_and_late(fair)
    naive.enter(1, at(14, 0.97, 4.0))
    assert judged(naive, 1, at(31, 0.98, 4.0)) is None
    assert judged(fair, 1, late) == "0 of 4 trials like it at epoch 1 would reach the front"


def test_what_a_recipe_plans_tells_dense_from_not_yet_pruned():
    rule = Forecast(neighbours=3)
    for k in range(6):
        rule.enter(0, at(k, 0.9, 4.0, planned=0.0))
        rule.finish(k, at(k, 0.99 - k / 1000, 4.0))
        rule.enter(0, at(10 + k, 0.9, 4.0, planned=3.0))
        rule.finish(10 + k, at(10 + k, 0.1, 4.0))
    assert judged(rule, 0, at(30, 0.91, 4.0, planned=0.0)) is None
    assert judged(rule, 0, at(31, 0.91, 4.0, planned=3.0)) == "0 of 3 trials like it at epoch 1 would reach the front"


def test_distances_are_in_units_of_each_features_spread():
    peers = _Peers.none(4)
    for number, row in enumerate(([0.0, 0.0, 0.0, 9.0], [0.1, 10.0, 0.0, 0.0])):
        peers = peers.joined(number, np.array(row), np.zeros(4))
    here = Standing(5, 1, (0.05, 0.0), violation=3.0, planned=2.0)
    assert peers.distance(here).tolist() == pytest.approx([1 + 0 + 4, 1 + 4 + 4])  # nobody plans but it: plain units


def test_nobody_is_stopped_before_enough_trials_have_ended():
    rule = Forecast(first=3)
    for k in range(2):
        finished(rule, k, (0.9, 2.0), (0.99, 1.0))
    assert judged(rule, 1, at(5, 0.1, 4.0)) is None
    finished(rule, 2, (0.9, 2.0), (0.99, 1.0))
    assert judged(rule, 1, at(6, 0.1, 4.0)) is not None


def test_an_end_that_breaks_constraints_more_than_the_best_trial_does_not_count():
    rule = Forecast(neighbours=3, first=3)
    for k in range(3):
        rule.enter(0, at(k, 0.9, 2.0, violation=0.1))
        rule.finish(k, at(k, 0.9, 2.0, violation=0.1))
    assert judged(rule, 0, at(4, 0.95, 1.0, violation=0.05)) is None
    assert judged(rule, 0, at(9, 0.8, 3.0, violation=0.05)) is None
    assert judged(rule, 0, at(8, 0.8, 3.0, violation=0.1)) is not None
    assert judged(rule, 0, at(5, 0.95, 1.0, violation=0.1)) is None
    rule.enter(0, at(3, 0.9, 2.0))
    rule.finish(3, at(3, 0.9, 2.0))
    assert judged(rule, 0, at(6, 0.95, 1.0, violation=0.1)) is not None
    assert judged(rule, 0, at(7, 0.95, 1.0, violation=0.0)) is None


def test_only_trials_up_to_the_last_one_count():
    rule = Forecast(neighbours=3, first=3)
    for k in range(4):
        finished(rule, k, (0.9, 2.0), (0.9, 2.0))
    finished(rule, 40, (0.9, 2.0), (0.99, 1.0))
    better = at(50, 0.93, 2.0)
    assert judged(rule, 1, better, last=3) is None
    assert judged(rule, 1, better) is not None


# Every rule


def made(name):
    return rule_of(TypeAdapter(EarlyStopping).validate_python({"name": name}))


@pytest.mark.parametrize("name", RULES)
def test_stages_are_sixteenths_or_powers_of_a_third(name):
    halving = (1 / 27, 1 / 9, 1 / 3)
    assert made(name).shares == (halving if name in ("moasha", "hyperband") else tuple(k / 16 for k in range(1, 16)))


def curve(number, epochs):
    """Trials 0, 3, 6, ... are good, the others are not; 27 and 57 are the best."""
    end = 0.9 + 0.08 * (number == 27) + 0.09 * (number == 57) if number % 3 == 0 else 0.5 - number / 1e3
    return [Standing(number, epoch, (-end + 0.3 * (1 - epoch / epochs),)) for epoch in range(1, epochs + 1)]


def replay(rule, numbers, epochs=32):
    """Verdicts (number, stage) -> reason of trials one after another."""
    verdicts = {}
    for number in numbers:
        trial = curve(number, epochs)
        for stage, share in enumerate(rule.shares):
            standing = trial[math.ceil(share * epochs) - 1]
            verdicts[number, stage] = judged(rule, stage, standing)
            if verdicts[number, stage]:
                rule.finish(number, None)
                break
        else:
            rule.finish(number, trial[-1])
    return verdicts


@pytest.mark.parametrize("name", RULES)
def test_a_rule_stops_the_bad_and_keeps_the_best(name):
    verdicts = replay(made(name), range(60))
    stopped = {number for (number, _), reason in verdicts.items() if reason}
    assert len(stopped) >= 20
    assert 57 not in stopped


@pytest.mark.parametrize("name", RULES)
def test_a_rule_told_twice_answers_alike(name):
    once, twice = made(name), made(name)
    replay(once, range(40))
    replay(twice, range(40))
    for stage in range(len(twice.shares)):
        for number in (36, 39):
            twice.enter(stage, curve(number, 32)[math.ceil(twice.shares[stage] * 32) - 1])
    assert replay(once, range(40, 50)) == replay(twice, range(40, 50))


@pytest.mark.parametrize("name", RULES)
def test_what_is_not_finite_never_beats_anybody(name):
    rule = made(name)
    for number in range(100, 130):
        bad = Standing(number, 4, (math.nan,))
        judged(rule, 0, bad)
        rule.finish(number, None)
    verdicts = replay(rule, range(30))
    assert not any(reason for (number, _), reason in verdicts.items() if number == 27)


# A search and its rule


def stopping(tmp_path, **rule):
    text = ", ".join(f"{key}: {value}" for key, value in {"name": "moasha", "rungs": 1, "reduction": 2, **rule}.items())
    return source(tmp_path, trials=12, early_stopping="{" + text + "}", defaults_first="false")


def test_stages_are_shares_of_the_epochs_and_judged_once(tmp_path):
    made, *_ = stopping(tmp_path)  # one stage, at half of 5 epochs
    jobs = [made.next() for _ in range(3)]
    for job, accuracy in zip(jobs, (0.9, 0.8, 0.1)):
        assert made.judge(job, report(accuracy, epoch=1)) is None
        assert made.judge(job, report(accuracy, epoch=2)) is None
    assert made.judge(jobs[0], report(0.9, epoch=3)) is None
    assert made.judge(jobs[1], report(0.8, epoch=3)) == "place 2 of 2 at epoch 3"
    assert made.judge(jobs[2], report(0.1, epoch=4)) == "place 3 of 3 at epoch 4"
    assert made.judge(jobs[2], report(0.1, epoch=4)) is None


def test_a_resumed_search_knows_what_was_reported_and_changes_no_decision(tmp_path):
    made, _, layout, _ = stopping(tmp_path)
    jobs = [made.next() for _ in range(4)]
    for job, accuracy in zip(jobs[:3], (0.9, 0.8, 0.7)):
        seen = [report(accuracy, epoch=epoch) for epoch in (1, 2, 3)]
        job.folder.mkdir(parents=True)
        write_reports(job.folder, seen)
        for each in seen:
            reason = made.judge(job, each)
    made.end(jobs[2], Ended("stopped", reason, seen[-1]))
    again, *_ = stopping(tmp_path)
    resumed = [again.next() for _ in range(3)]
    assert [job.number for job in resumed] == [0, 1, 3]
    assert again.judge(resumed[1], report(0.1, epoch=3)) is None  # it had been let go on
    assert again.judge(resumed[2], report(0.75, epoch=3)) == "place 3 of 4 at epoch 3"
    assert again.trials()[2].state.name == "PRUNED"


def test_a_forecast_counts_what_completed_before_a_resumption(tmp_path):
    rule = {"name": "moasha-schedule-aware", "neighbours": 1, "first": 1, "checks": 2}
    options = dict(trials=12, early_stopping=json.dumps(rule).replace('"', ""), defaults_first="false")
    made, *_ = source(tmp_path, **options)
    job = made.next()
    seen = [report(0.9, epoch=epoch) for epoch in range(1, 6)]
    job.folder.mkdir(parents=True)
    write_reports(job.folder, seen)
    for each in seen:
        assert made.judge(job, each) is None
    made.end(job, Ended("completed", "epochs", seen[-1]))
    again, *_ = source(tmp_path, **options)
    assert again.judge(again.next(), report(0.8, epoch=3)) == "0 of 1 trials like it at epoch 3 would reach the front"
    assert again.judge(again.next(), report(0.95, epoch=3)) is None


def test_a_trial_that_was_trained_whole_but_is_infeasible_is_no_member_of_the_front(tmp_path):
    assert standing(3, report(0.7, 100), {"accuracy": "maximize", "params": "minimize"}, [], 0.99) == Standing(
        3, 1, (-0.7, 2.0), 0.0, pytest.approx(2.0)
    )
    worse = standing(3, report(0.7, 100), {"accuracy": "maximize"}, [parse_constraint("accuracy", ">= 0.75")], 0.0)
    assert worse.violation == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("recipe", "planned"),
    [
        ("dense", 0.0),
        ({"preset": "magnitude", "schedule.final_sparsity": 0.95}, 0.95),
        ({"preset": "magnitude", "schedule.final_sparsity": 0.95, "target_sparsity": 0.9}, 0.9),
        ({"preset": "imp", "target_sparsity": 0.97}, 0.97),
        ("imp", 0.0),
        ("snip", 0.9),
        ("rigl", 0.9),
    ],
)
def test_what_a_recipe_plans(recipe, planned):
    assert resolve(recipe).planned_sparsity == planned
