"""What a recipe is made of when it is written down: defaults, merging, limits, and reading it back."""

import pytest

from prune_search.pruning.recipe import RecipeError, Round, resolve

FULL = {
    "preset": "dyprune",
    "score": "random",
    "schedule": {"linear": {"final_sparsity": 0.25}},
    "at_start": {"score": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.5}}, "iterations": 7},
    "round": {"min_epochs": 2, "accuracy_gate": 0.01, "accuracy_exit": True},
    "exclude": ["fc*", "head"],
    "dense_epochs": 3,
    "final_epochs": 0.4,
    "target_sparsity": 0.75,
    "max_events": 4,
    "floor": 0.125,
    "recalibrate_batchnorm": 5,
}


def test_a_recipe_in_which_nothing_is_a_default_reads_back():
    recipe = resolve(FULL)
    assert resolve(recipe.values()) == recipe
    assert (recipe.at_start.iterations, recipe.exclude, recipe.max_events) == (7, ("fc*", "head"), 4)


def test_what_is_not_written_stays_as_the_preset_has_it():
    assert resolve(FULL).round == Round(min_epochs=2, max_epochs=0.12, accuracy_gate=0.01, accuracy_exit=True)
    rewind = resolve({"preset": "dyprune-authors", "rewind": {"biases": "redrawn"}}).rewind
    assert (rewind.optimizer, rewind.biases) == ("fresh", "redrawn")
    schedule = resolve({"preset": "dyprune", "schedule": {"a": 5, "b": 9}}).schedule
    assert (schedule.a, schedule.b, schedule.max_rate) == (5, 9, 0.9)
    start = resolve({"at_start": {"score": "random", "schedule": "one-shot"}}).at_start
    assert (start.distribution.name, start.iterations) == ("global", 1)
    assert resolve({"floor": 0.5}).preset == "magnitude"


@pytest.mark.parametrize(("length", "epochs"), [(None, None), (0.05, 3), (0.3, 9), (1, 1), (2, 2)])
def test_only_a_fraction_as_longest_round_is_three_epochs_at_least(length, epochs):
    assert Round(max_epochs=length).longest(30) == epochs


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("floor", (0, 0.999), (-0.1, 1)),
        ("target_sparsity", (0.001, 0.999, None), (0, 1)),
        ("max_events", (0, None), (-1, True)),
        ("dense_epochs", (0, 0.5, 7), (-1, None, float("nan"))),
        ("recalibrate_batchnorm", (0,), (-1, 0.5)),
    ],
)
def test_limits_of_what_all_recipes_share(key, good, bad):
    for value in good:
        assert getattr(resolve({key: value}), key) == value
    for value in bad:
        with pytest.raises(RecipeError, match=f"{key}: got {value}"):
            resolve({key: value})


def test_limits_that_belong_to_the_range():
    for value, fits in ((0, True), (1, True), (1.1, False), (-0.1, False)):
        recipe = {"round": {"accuracy_gate": value}}
        if fits:
            assert resolve(recipe).round.accuracy_gate == value
        else:
            with pytest.raises(RecipeError, match="must be >= 0 and <= 1"):
                resolve(recipe)


def test_what_a_mapping_may_hold_is_said():
    with pytest.raises(
        RecipeError, match=r"got 3\. Allowed: a mapping of min_epochs, max_epochs, accuracy_gate, accuracy_exit"
    ):
        resolve({"round": 3})
    with pytest.raises(RecipeError, match="Allowed: a mapping of nothing"):
        resolve({"score": {"magnitude": 3}})


def test_an_empty_mapping_changes_nothing_and_an_empty_part_has_its_defaults():
    assert resolve({"preset": "imp", "schedule": {}}) == resolve({"preset": "imp"})
    assert resolve({"schedule": {"linear": None}}) == resolve({"schedule": "linear"})
