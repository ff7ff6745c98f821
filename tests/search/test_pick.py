"""Choosing one trial: by number, by rule, or the knee."""

import pytest
from search.test_results_details import FOUND, TWO, record

from prune_search.errors import UserError
from prune_search.search.pick import choose
from prune_search.search.results import Found, Record

STOPPED = Record(10, "stopped", "place 2 of 2", record(10, 0.9, 5).report, {"recipe": "random"}, {})
SEARCH = Found(TWO, (*FOUND.records, STOPPED))


def test_what_was_trained_to_its_end_can_be_had_by_its_number():
    assert [choose(SEARCH, trial=number).number for number in (0, 4)] == [0, 4]


@pytest.mark.parametrize(
    ("number", "words"),
    [(8, "is running"), (9, "is failed"), (10, "is stopped"), (11, "does not exist")],
)
def test_what_was_not_is_named_beside_those_that_were(number, words):
    with pytest.raises(UserError, match=rf"trial {number} {words}\. Completed trials: 0, 1, 2, 3, 5, 6, 7\."):
        choose(SEARCH, trial=number)


def test_rules_and_the_knee():
    assert choose(SEARCH).number == 5
    assert choose(SEARCH, where="accuracy >= 0.6", minimize="params").number == 2
    assert choose(SEARCH, maximize="accuracy").number == 5
    with pytest.raises(UserError, match="not both"):
        choose(SEARCH, minimize="params", maximize="accuracy")
    for rule in ({"minimize": "parms"}, {"maximize": "parms"}):
        with pytest.raises(UserError, match="no metric is called 'parms'. Did you mean 'params'"):
            choose(SEARCH, **rule)
    with pytest.raises(UserError, match="no completed trial is on the front yet"):
        choose(Found(TWO, FOUND.records[-2:]))
