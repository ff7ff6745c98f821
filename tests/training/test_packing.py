"""How many trials to run at once: real processes, and what happens when one does not live."""

import pytest

from prune_search.training.packing import rates

CONFIG = {
    "data": {"name": "digits", "train_size": 200, "validation_size": 50},
    "model": "lenet-300-100",
    "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.01}},
    "recipe": "magnitude",
}


def test_all_processes_train_until_the_time_is_over():
    ((together, rate),) = rates(CONFIG, [2], seconds=0.2)
    assert together == 2 and rate > 200


def test_a_process_that_ends_is_told():
    with pytest.raises(RuntimeError, match="with 1 trials at once a process ended"):
        list(rates({**CONFIG, "model": "training.own:nowhere"}, [1], seconds=0.1))
