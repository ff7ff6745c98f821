import json
from math import inf, nan

import moocore
import numpy as np
import pytest

from prune_search.errors import UserError
from prune_search.pareto import default_reference, front, hypervolume, knee, pick
from prune_search.spec.conditions import parse_where

TWO = {"accuracy": "maximize", "params": "minimize"}
BOX = {"x": "minimize", "y": "minimize", "z": "minimize"}


def trials(*rows, names=("accuracy", "params", "flops")):
    return [dict(zip(names, row)) for row in rows]


def test_front_by_hand_in_two():
    points = trials((0.9, 100), (0.8, 50), (0.85, 100), (0.95, 400), (0.8, 60), (0.7, 50))
    assert front(points, TWO) == [0, 1, 3]


def test_front_by_hand_in_three():
    points = trials((0.9, 100, 10), (0.9, 100, 11), (0.9, 101, 9), (0.8, 100, 10), (0.1, 1, 99))
    assert front(points, {**TWO, "flops": "minimize"}) == [0, 2, 4]


def test_a_direction_is_a_word_wherever_it_was_read():
    directions = json.loads('{"accuracy": "maximize", "params": "minimize"}')
    assert front(trials((0.9, 100), (0.8, 100)), directions) == [0]


def test_one_objective():
    assert front(trials((0.5,), (0.7,), (0.7,)), {"accuracy": "maximize"}) == [1, 2]


def test_duplicates_are_all_kept_or_none():
    points = trials((0.9, 100), (0.9, 100), (0.8, 200), (0.8, 200))
    assert front(points, TWO) == [0, 1]


@pytest.mark.parametrize("bad", [nan, None, inf, -inf])
def test_what_is_not_finite_is_never_on_the_front_and_beats_nobody(bad):
    assert front([{"accuracy": 0.99, "params": bad}, {"accuracy": 0.5, "params": 10}], TWO) == [1]
    assert front([{"accuracy": bad, "params": 1}, {"accuracy": 0.5, "params": 10}], TWO) == [1]


def test_missing_and_empty():
    assert front([{"accuracy": 0.9}, {"params": 3}], TWO) == []
    assert front([], TWO) == []


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_properties_and_moocore_agree(d):
    rng = np.random.default_rng(d)
    table = rng.integers(0, 6, (60, d)).astype(float)
    objectives = {f"m{i}": ("maximize", "minimize")[i % 2] for i in range(d)}
    chosen = front([dict(zip(objectives, row)) for row in table], objectives)
    signed = table * [-1 if i % 2 == 0 else 1 for i in range(d)]

    def beaten(i):
        return any((signed[j] <= signed[i]).all() and (signed[j] < signed[i]).any() for j in range(60))

    assert chosen == [i for i in range(60) if not beaten(i)]
    ranks = moocore.pareto_rank(table, maximise=[i % 2 == 0 for i in range(d)])
    assert chosen == np.flatnonzero(ranks == 0).tolist()


@pytest.mark.parametrize("objectives", [{}, {"accuracy": "max"}])
def test_wrong_objectives_are_the_users_mistake(objectives):
    with pytest.raises(UserError):
        front([{"accuracy": 1.0}], objectives)


def test_hypervolume_of_boxes():
    one = {"x": 1.0, "y": 1.0, "z": 1.0}
    assert hypervolume([one], BOX, {"x": 2, "y": 2, "z": 2}) == 1.0
    assert hypervolume([one, one], BOX, {"x": 3, "y": 2, "z": 2}) == 2.0
    assert hypervolume([one, {"x": 0.0, "y": 1.5, "z": 1.0}], BOX, {"x": 2, "y": 2, "z": 2}) == 1.5
    assert hypervolume([one], BOX, {"x": 1, "y": 2, "z": 2}) == 0.0
    assert hypervolume([{"x": 1.0, "y": nan, "z": 0.0}], BOX, {"x": 9, "y": 9, "z": 9}) == 0.0
    assert hypervolume([], BOX, {"x": 9, "y": 9, "z": 9}) == 0.0


def test_hypervolume_counts_decades():
    reference = {"accuracy": 0.0, "params": 10_000}
    assert hypervolume([{"accuracy": 0.5, "params": 1000}], TWO, reference) == pytest.approx(0.5)
    assert hypervolume([{"accuracy": 0.5, "params": 10}], TWO, reference) == pytest.approx(1.5)
    assert hypervolume([{"accuracy": 0.5, "params": 0}], TWO, reference) == pytest.approx(2.0)
    growing = {"accuracy": "maximize", "params_reduction": "maximize"}
    points = [{"accuracy": 0.5, "params_reduction": 100.0}]
    assert hypervolume(points, growing, default_reference(growing, {})) == pytest.approx(1.0)


def test_hypervolume_needs_a_whole_reference():
    with pytest.raises(UserError, match="params"):
        hypervolume([{"accuracy": 0.5, "params": 10}], TWO, {"accuracy": 0})


def test_default_reference():
    objectives = {
        **TWO,
        "sparsity": "maximize",
        "flops_reduction": "maximize",
        "train_flops_ratio": "minimize",
    }
    expected = {"accuracy": 0, "params": 266_610, "sparsity": 0, "flops_reduction": 1, "train_flops_ratio": 1}
    assert default_reference(objectives, {"accuracy": 0.98, "params": 266_610}) == expected
    with pytest.raises(UserError, match="latency_ms"):
        default_reference({"latency_ms": "minimize"}, {"params": 3})


def test_knee_by_hand():
    points = trials((0.0, 1e6), (1.0, 100), (0.4, 1e3), (1.1, 1e6), (0.95, 10))
    assert knee(points, TWO) == 1
    objectives = {"x": "minimize", "y": "minimize"}
    points = [{"x": x, "y": y} for x, y in [(0, 10), (1, 6), (4, 4), (2, 2), (10, 0), (9, 0.5)]]
    assert knee(points, objectives) == 3


def test_knee_is_taken_in_decades():
    rows = [(1.0, 10_000), (0.6, 100), (0.55, 10), (0.0, 1)]
    assert knee(trials(*rows), TWO) == 2
    assert knee(trials(*rows, names=("accuracy", "epoch")), {"accuracy": "maximize", "epoch": "minimize"}) == 1


def test_knee_of_few():
    assert knee([{"accuracy": 0.5, "params": 3}], TWO) == 0
    assert knee(trials((0.5, 3), (0.6, 4)), TWO) == 0
    assert knee(trials((0.5,), (0.7,), (0.7,)), {"accuracy": "maximize"}) == 1
    assert knee(trials((0.5, 3), (0.5, 3)), TWO) == 0
    assert knee([{"params": 3}, {"accuracy": 0.5, "params": 3}], TWO) == 1
    with pytest.raises(UserError, match="finite"):
        knee([{"params": 3}], TWO)


def test_knee_in_three():
    points = [dict(zip("xyz", row)) for row in [(0, 1, 1), (1, 0, 1), (1, 1, 0), (0.3, 0.3, 0.3), (0.2, 0.9, 0.9)]]
    assert knee(points, BOX) == 3
    # the plane through these extremes is 0.9 x + 0.5 y + 0.5 z = 1
    rows = [(0, 1, 1), (1, 0, 0.2), (1, 0.2, 0), (0.6, 0.3, 0.3), (0.1, 0.6, 0.6)]
    assert knee(trials(*rows, names="xyz"), BOX) == 4


def test_pick():
    points = trials((0.99, 900), (0.98, 300), (0.97, 300), (0.9, 20), (nan, 1))
    assert pick(points, TWO, where=parse_where("accuracy >= 0.97"), optimize={"params": "minimize"}) == 1
    assert pick(points[::-1], TWO, where=parse_where("accuracy >= 0.97"), optimize={"params": "minimize"}) == 3
    assert pick(points, TWO, optimize={"accuracy": "maximize"}) == 0
    assert pick(points, TWO) == knee(points, TWO)
    assert pick(points, TWO, where=parse_where("params > 20")) in (0, 1)


def test_pick_says_what_was_nearest():
    points = trials((0.9, 20), (0.95, 30))
    with pytest.raises(UserError, match=r"No trial fulfils 'accuracy >= 0.97'. The nearest has accuracy = 0.95"):
        pick(points, TWO, where=parse_where("accuracy >= 0.97"))
    with pytest.raises(UserError, match="latency_ms"):
        pick(points, TWO, optimize={"latency_ms": "minimize"})
    with pytest.raises(UserError, match="no trial"):
        pick([], TWO)
    with pytest.raises(UserError, match="Optimise one metric, not 2: accuracy, params"):
        pick(points, TWO, optimize=TWO)
