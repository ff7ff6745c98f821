"""The first trials of a search: enqueued, from earlier searches, the presets as they are."""

import pytest
from search.small_spaces import SMALL, write
from search.test_source import drain, report, source

from prune_search.errors import UserError
from prune_search.search.asking.first import defaults, first_trials, transferred
from prune_search.search.jobs import Ended
from prune_search.spec import load_spec


def test_every_preset_of_the_space_with_its_own_values(tmp_path):
    assert defaults(load_spec(write(tmp_path))) == [
        {"recipe": "magnitude", "recipe.magnitude.schedule.final_sparsity": 0.9},
        {"recipe": "dyprune", "recipe.dyprune.schedule.b": 10.0},
        {"recipe": "dense"},
    ]


def test_a_default_outside_its_domain_is_left_to_the_sampler(tmp_path):
    text = SMALL.replace("{low: 0.5, high: 0.95}", "{low: 0.5, high: 0.8}")
    assert defaults(load_spec(write(tmp_path, text)))[0] == {"recipe": "magnitude"}


def test_parts_of_a_fixed_recipe(tmp_path):
    recipe = """recipe:
  preset: dyprune
  score: {choices: [snip, magnitude]}
  round: {max_epochs: {choices: [2, 0.12]}}
  stopping: {choices: {plateau: {patience: {low: 1, high: 3}}, loss-gradient: {max_gradient: {low: 0.01, high: 0.3}}}}
"""
    text = SMALL[: SMALL.index("recipe:")] + recipe + SMALL[SMALL.index("objectives:") :]
    assert defaults(load_spec(write(tmp_path, text))) == [{
        "recipe.score": "magnitude",
        "recipe.round.max_epochs": 0.12,
        "recipe.stopping": "loss-gradient",
        "recipe.stopping.loss-gradient.max_gradient": 0.05,
    }]  # fmt: skip


def test_only_what_this_space_has_too_is_taken_over(tmp_path):
    spec = load_spec(write(tmp_path))
    params = {
        "recipe": "magnitude",
        "recipe.magnitude.schedule.final_sparsity": 0.99,
        "training.optimizer.lr": 0.1,
        "training.batch_size": 64,
    }
    assert transferred(spec, params) == {"recipe": "magnitude", "training.optimizer.lr": 0.1}
    assert transferred(spec, {"recipe": "imp", "recipe.imp.schedule.rate": 0.2}) == {}


def test_enqueued_then_earlier_fronts_then_presets_without_repeating(tmp_path):
    made, *_ = source(tmp_path, name="earlier", trials=2, enqueue="[{recipe: dense}, {recipe: magnitude}]")
    (tmp_path / "earlier" / "space.yaml").write_text((tmp_path / "small.yaml").read_text())
    (tmp_path / "earlier" / "origin.json").write_text('{"roots": []}')
    drain(made, lambda job: Ended("completed", "epochs", report(0.9 - job.number / 10, 1000 - job.number)))
    params = [trial.params for trial in made.trials()]
    spec = load_spec(write(tmp_path, warm_start="[earlier]", enqueue="[{recipe: dense}, {}]"))
    first = first_trials(spec, tmp_path)
    assert first[:4] == [{"recipe": "dense"}, {}, *params]
    assert [values["recipe"] for values in first[4:]] == ["magnitude", "dyprune"]
    bare = load_spec(write(tmp_path, defaults_first="false"))
    assert first_trials(bare, tmp_path) == []


def test_an_earlier_search_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no search is called 'gone'"):
        first_trials(load_spec(write(tmp_path, warm_start="[gone]")), tmp_path)
