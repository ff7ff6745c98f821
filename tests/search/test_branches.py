"""TPE branch by branch: the same questions as Optuna's own on a flat space, and only those of the branch that was taken."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import PartialFixedSampler, TPESampler
from optuna.trial import TrialState, create_trial

from prune_search.search.asking.branches import BranchedTPE

UNIT = FloatDistribution(0.0, 1.0)
FLAT = {"x": UNIT, "y": UNIT, "kind": CategoricalDistribution(("a", "b"))}


def study(trials, sampler=None):
    made = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    made.add_trials(trials)
    return made


def flat(count):
    """Trials of :data:`FLAT`; the nearer to (0.2, 0.8) the better."""
    draw = optuna.samplers.RandomSampler(seed=0)._rng.rng
    return [
        create_trial(
            params=(params := {"x": draw.random(), "y": draw.random(), "kind": "ab"[number % 2]}),
            distributions=FLAT,
            values=(-abs(params["x"] - 0.2), abs(params["y"] - 0.8)),
        )
        for number in range(count)
    ]


def branched(count, other=0.5):
    """Trials that are of kind a, with x and y, or of kind b, with z = ``other``."""
    made = []
    for number, trial in enumerate(flat(count)):
        kind = {"kind": "ab"[number % 2]}
        params = {**kind, "x": trial.params["x"], "y": trial.params["y"]} if number % 2 == 0 else {**kind, "z": other}
        distributions = {name: FLAT.get(name, UNIT) for name in params}
        made.append(create_trial(params=params, distributions=distributions, values=trial.values))
    return made


def ask(made, *names):
    trial = made.ask()
    for name in names:
        if name == "kind":
            trial.suggest_categorical("kind", ("a", "b"))
        else:
            trial.suggest_float(name, 0.0, 1.0)
    return trial.params


def running(count):
    """Open trials where the good ones are."""
    return [
        create_trial(params={"x": 0.2, "y": 0.8, "kind": "a"}, distributions=FLAT, state=TrialState.RUNNING)
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [3, 40])
def test_on_a_flat_space_it_asks_what_optuna_asks(count):
    def asked(sampler):
        return ask(study([*flat(count), *running(5)], sampler), *sorted(FLAT))

    theirs = TPESampler(multivariate=True, constant_liar=True, n_startup_trials=10, seed=7)
    assert asked(BranchedTPE(10, seed=7)) == asked(theirs)


def test_it_keeps_away_from_trials_that_run():
    def near(open_):
        asked = [ask(study([*flat(40), *open_], BranchedTPE(10, seed)), "x", "y") for seed in range(40)]
        return sum(abs(params["x"] - 0.2) + abs(params["y"] - 0.8) < 0.1 for params in asked)

    assert near(running(5)) < near([])


def test_parameters_of_a_branch_are_sampled_together():
    """x and y of good trials lie together at (0.2, 0.8) or at (0.8, 0.2); sampled one by one they would mix."""
    corners = [(0.2, 0.8), (0.8, 0.2)]
    good = [(x + number / 1000, y + number / 1000) for number in range(15) for x, y in corners]
    bad = [(number / 100, number / 100) for number in range(100)]
    pairs = [(pair, 1.0) for pair in good] + [(pair, 0.0) for pair in bad]
    distributions = {"x": UNIT, "y": UNIT}
    trials = [
        create_trial(params={"x": x, "y": y}, distributions=distributions, values=(value, 1.0 - value))
        for (x, y), value in pairs
    ]
    asked = [ask(study(trials, BranchedTPE(10, seed)), "x", "y") for seed in range(30)]
    apart = sum((params["x"] < 0.5) != (params["y"] < 0.5) for params in asked)
    assert apart >= 28


def test_what_another_branch_has_asked_changes_nothing():
    def question(other):
        return ask(study(branched(40, other), BranchedTPE(10, seed=3)), "kind", "x", "y")

    assert question(0.1) == question(0.9)


def test_a_group_is_sampled_anew_for_each_trial():
    made = study(flat(40), BranchedTPE(10, seed=0))
    assert ask(made, "x", "y") != ask(made, "x", "y")


def test_it_learns_from_trials_that_were_stopped():
    stopped = [
        create_trial(params={"x": 0.5 + number / 100}, distributions={"x": UNIT}, state=TrialState.PRUNED)
        for number in range(50)
    ]
    done = [
        create_trial(params={"x": number / 10}, distributions={"x": UNIT}, values=(1.0, 1.0)) for number in range(5)
    ]
    asked = [ask(study([*stopped, *done], BranchedTPE(10, seed)), "x")["x"] for seed in range(30)]
    assert sum(x < 0.5 for x in asked) >= 27


def test_what_is_fixed_keeps_its_value_and_is_no_part_of_a_group():
    sampler = BranchedTPE(10, 5, without={"kind"})
    made = study(flat(40), PartialFixedSampler({"kind": "b"}, sampler))
    alone = [
        create_trial(
            params={"x": trial.params["x"], "y": trial.params["y"]},
            distributions={"x": UNIT, "y": UNIT},
            values=trial.values,
        )
        for trial in flat(40)
    ]
    params = ask(made, "kind", "x", "y")
    assert params == {"kind": "b", **ask(study(alone, BranchedTPE(10, 5)), "x", "y")}
