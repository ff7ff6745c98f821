import subprocess
import sys
from dataclasses import FrozenInstanceError
from math import inf, nan

import pytest

from prune_search.errors import UserError
from prune_search.spec.conditions import parse_constraint, parse_where


@pytest.mark.parametrize(
    "text, value, holds, violation",
    [
        (">= 0.95", 0.95, True, 0.0),
        (">=0.95", 0.90, False, pytest.approx(0.05)),
        ("<= 0.5", 0.25, True, -0.25),
        ("< 1", 1.0, False, pytest.approx(0, abs=1e-300)),
        ("> 1", 1.5, True, -0.5),
        ("== 3", 3, True, 0),
        ("== 3", 5, False, 2),
        ("< 2e4", 19_999, True, -1),
        (">= -1.5", -1.5, True, 0),
        (">= 10", inf, True, -inf),
        (">= 0.95", nan, False, inf),
        ("<= 0.95", nan, False, inf),
        ("<= 0.95", None, False, inf),
    ],
)
def test_constraints(text, value, holds, violation):
    condition = parse_constraint("accuracy", text)
    assert condition.holds({"accuracy": value}) is holds
    assert condition.violation({"accuracy": value}) == violation


def test_at_the_threshold_a_strict_comparison_is_violated():
    assert parse_constraint("loss", "< 1").violation({"loss": 1.0}) > 0


def test_missing_is_infinitely_far():
    assert parse_constraint("accuracy", ">= 0").violation({}) == inf


@pytest.mark.parametrize(
    "text, accuracy, params, holds",
    [
        ("accuracy >= 0.97 and params < 2e4", 0.98, 100, True),
        ("accuracy >= 0.97 and params < 2e4", 0.98, 30_000, False),
        ("accuracy >= 0.97 or params < 2e4", 0.5, 100, True),
        ("accuracy > 0.9 or params < 10 and params > 20", 0.95, 15, True),
        ("(accuracy > 0.9 or params < 10) and params > 20", 0.95, 15, False),
        (" (accuracy>=.5) ", 0.5, 1, True),
    ],
)
def test_where(text, accuracy, params, holds):
    metrics = {"accuracy": accuracy, "params": params}
    condition = parse_where(text)
    assert condition.holds(metrics) is holds
    assert parse_where(str(condition)) == condition


def test_violation_of_compounds():
    metrics = {"loss": 3.0, "params": 110}
    assert parse_where("loss < 1 and params < 100").violation(metrics) == 10
    assert parse_where("loss < 1 or params < 100").violation(metrics) == 2
    assert parse_where("loss < 1 and params < 100").names() == {"loss", "params"}


@pytest.mark.parametrize("text", ["acuracy >= 0.9", "params < 1 and acuracy > 0.5"])
def test_unknown_metric_names_the_nearest(text):
    with pytest.raises(UserError, match="Unknown metric 'acuracy'. Did you mean 'accuracy'"):
        parse_where(text)


def test_names_can_be_the_callers():
    assert parse_where("f1 > 0.5", names={"f1"}).holds({"f1": 0.6})


@pytest.mark.parametrize(
    "text",
    ["", "accuracy", "accuracy >=", "accuracy >= x", "accuracy >= 0.9 params < 3", "(accuracy > 1",
     "accuracy > 1)", "accuracy >= 0.9 and", "accuracy => 1", "accuracy > 2k", "__import__('os')",
     "accuracy > 1; loss < 1"],
)  # fmt: skip
def test_nonsense_is_refused(text):
    with pytest.raises(UserError):
        parse_where(text)


@pytest.mark.parametrize("text", ["0.95", "accuracy >= 0.95", ">= 0.95 and", "", ">= 95%"])
def test_nonsense_constraint_is_refused(text):
    with pytest.raises(UserError, match="Condition '.*Write <metric>"):
        parse_constraint("accuracy", text)


def test_message_says_where():
    with pytest.raises(UserError, match="not understood from '=> 1' on"):
        parse_where("accuracy => 1")


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        parse_constraint("accuracy", ">= 1").threshold = 0


def test_without_torch():
    code = "import sys, prune_search.spec.conditions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
