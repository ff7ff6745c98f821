from __future__ import annotations

import pytest

from prune_search.pruning import registry
from prune_search.spec.domains import Branch, Categorical, Float, Int
from prune_search.spec.enqueue import enqueued
from prune_search.spec.parts import offered
from prune_search.spec.space import base_name, grid, parameters, sample, trace, variants
from prune_search.spec.strict import ConfigError

TREE = {
    "model": Branch({"lenet-5": {}, "my.models:build": {"width": Int(8, 16)}}),
    "training": {
        "optimizer": Branch(
            {"sgd": {"lr": Float(0.01, 0.3)}, "adamw": {"betas": Categorical(([0.9, 0.99], [0.8, 0.9]))}}
        ),
        "epochs": 3,
    },
    "recipe": Branch(
        {
            "dyprune": {"schedule.b": Int(7, 25)},
            "mine": {
                "preset": "magnitude",
                "schedule": Branch({"cubic": {"final_sparsity": Float(0.5, 0.9)}, "one-shot": {}}),
            },
        }
    ),
}


def test_names_are_asked_in_the_order_of_the_file_and_carry_the_option(scripted):
    suggest, asked = scripted({"training.optimizer": "sgd", "recipe": "mine", "training.optimizer.sgd.lr": 0.1})
    config = sample(TREE, suggest)
    assert asked == [
        "model",
        "training.optimizer",
        "training.optimizer.sgd.lr",
        "recipe",
        "recipe.mine.schedule",
        "recipe.mine.schedule.cubic.final_sparsity",
    ]
    assert config == {
        "model": {"name": "lenet-5"},
        "training": {"optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 3},
        "recipe": {"preset": "magnitude", "schedule": {"cubic": {"final_sparsity": 0.5}}},
    }


def test_an_option_is_the_preset_or_the_name_and_a_list_comes_back_as_a_list(scripted):
    suggest, asked = scripted(
        {
            "model": "my.models:build",
            "training.optimizer": "adamw",
            "training.optimizer.adamw.betas": "[0.8, 0.9]",
        }
    )
    config, origins = trace(TREE, suggest)
    assert asked[:2] == ["model", "model.my.models:build.width"]
    assert asked[-1] == "recipe.dyprune.schedule.b"
    assert config["model"] == {"name": "my.models:build", "width": 8}
    assert config["training"]["optimizer"] == {"name": "adamw", "betas": [0.8, 0.9]}
    assert config["recipe"] == {"preset": "dyprune", "schedule.b": 7}
    assert origins[("recipe", "preset")] == ("recipe", "choices", "dyprune")
    assert origins[("recipe", "schedule.b")] == ("recipe", "choices", "dyprune", "schedule.b")
    assert origins[("training", "optimizer", "betas")][-2:] == ("choices", "1")


def test_parameters_lists_conditional_domains_too():
    assert list(parameters(TREE)) == [
        "model",
        "model.my.models:build.width",
        "training.optimizer",
        "training.optimizer.sgd.lr",
        "training.optimizer.adamw.betas",
        "recipe",
        "recipe.dyprune.schedule.b",
        "recipe.mine.schedule",
        "recipe.mine.schedule.cubic.final_sparsity",
    ]


def test_one_name_for_two_domains_is_an_error():
    with pytest.raises(ConfigError, match=r"two domains are called 'recipe\.schedule\.b'"):
        parameters({"recipe": {"schedule.b": Int(1, 2), "schedule": {"b": Int(1, 3)}}})


def test_grid_visits_each_member_once():
    tree = {
        "seed": Int(0, 1),
        "recipe": Branch({"dense": {}, "magnitude": {"max_events": Categorical((1, 2))}}),
    }
    assert list(grid(tree)) == [
        {"seed": seed, **rest}
        for seed in (0, 1)
        for rest in (
            {"recipe": "dense"},
            {"recipe": "magnitude", "recipe.magnitude.max_events": 1},
            {"recipe": "magnitude", "recipe.magnitude.max_events": 2},
        )
    ]
    assert list(grid({"seed": 3})) == [{}]


def test_variants_try_each_end_and_option_one_at_a_time():
    tree = {"seed": Int(0, 9), "recipe": Branch({"dense": {}, "magnitude": {"floor": Float(0.1, 0.2)}})}
    found = [
        (plain["seed"], plain["recipe"].get("preset"), plain["recipe"].get("floor")) for plain, _ in variants(tree)
    ]
    assert found == [(0, "dense", None), (9, "dense", None), (0, "magnitude", 0.1), (0, "magnitude", 0.2)]


def fake_check(chosen):
    """SynFlow wants weights; channels want removal at events; removal at events wants no growth."""
    if chosen.get("score") == "synflow" and chosen.get("granularity", "weight") != "weight":
        return "synflow wants weights"
    if chosen.get("granularity") == "channel" and chosen.get("removal", "at-events") != "at-events":
        return "channels want removal at events"
    if chosen.get("removal") == "at-events" and chosen.get("growth", "none") != "none":
        return "no growth where the network shrinks"
    return None


def test_an_option_is_offered_if_the_rest_can_be_completed():
    open_axes = {"granularity": ("weight", "channel"), "removal": ("at-end", "at-events")}
    assert offered("granularity", {}, open_axes, fake_check) == ("weight", "channel")
    assert offered("granularity", {"growth": "set"}, open_axes, fake_check) == ("weight",)
    assert offered("granularity", {"score": "synflow"}, open_axes, fake_check) == ("weight",)
    assert offered("removal", {"granularity": "channel"}, {"removal": ("at-end", "at-events")}, fake_check) == (
        "at-events",
    )
    everything = {"score": ("synflow",), "granularity": ("channel",)}
    assert offered("score", {}, everything, fake_check) == ()


@pytest.fixture
def fake_parts(monkeypatch: pytest.MonkeyPatch):
    """Three scores, one of which needs the granularity ``fake-weight``."""
    for axis in ("score", "granularity"):
        monkeypatch.setitem(registry._PARTS, axis, registry.parts(axis))
    for name, requires in (("fake-a", {}), ("fake-b", {}), ("fake-c", {"granularity": ("fake-weight",)})):
        registry.part("score", name, source="test", requires=requires)(type(f"Score_{name[-1]}", (registry.Part,), {}))
    for name in ("fake-weight", "fake-channel"):
        cls = type(
            name.title().replace("-", ""),
            (registry.Part,),
            {"__annotations__": {"n": "int"}, "n": registry.hyper(1)},
        )
        registry.part("granularity", name, source="test")(cls)


def test_parts_that_exclude_each_other_are_not_asked(fake_parts, scripted):
    tree = {
        "recipe": {
            "granularity": Branch({"fake-channel": {"n": Int(1, 2)}, "fake-weight": {}}),
            "score": Categorical(("fake-c", "fake-a", "fake-b")),
        }
    }
    suggest, asked = scripted({})
    assert sample(tree, suggest) == {"recipe": {"granularity": {"fake-channel": {"n": 1}}, "score": "fake-a"}}
    assert asked == ["recipe.granularity", "recipe.granularity.fake-channel.n", "recipe.score[fake-a|fake-b]"]
    assert base_name(asked[-1]) == "recipe.score"

    suggest, asked = scripted({"recipe.granularity": "fake-weight"})
    assert sample(tree, suggest) == {"recipe": {"granularity": {"fake-weight": {}}, "score": "fake-c"}}
    assert asked == ["recipe.granularity", "recipe.score"]

    fixed = {"recipe": {**tree["recipe"], "score": "fake-c"}}
    suggest, asked = scripted({})
    assert sample(fixed, suggest) == {"recipe": {"granularity": {"fake-weight": {}}, "score": "fake-c"}}
    assert asked == ["recipe.granularity[fake-weight]"]


def test_an_enqueued_part_is_named_as_it_will_be_asked(fake_parts):
    tree = {
        "seed": Int(0, 9),
        "recipe": {
            "granularity": Categorical(("fake-channel", "fake-weight")),
            "score": Categorical(("fake-c", "fake-a", "fake-b")),
        },
    }
    assert enqueued(tree, {"recipe": {"score": "fake-b"}}, ()) == {
        "recipe.granularity": "fake-channel",
        "recipe.score[fake-a|fake-b]": "fake-b",
    }
    assert enqueued(tree, {"recipe.granularity": "fake-weight", "recipe.score": "fake-c"}, ()) == {
        "recipe.granularity": "fake-weight",
        "recipe.score": "fake-c",
    }
    with pytest.raises(ConfigError, match="recipe.score cannot be 'fake-c' here"):
        enqueued(tree, {"recipe.granularity": "fake-channel", "recipe.score": "fake-c"}, ())


def test_one_name_always_has_one_set_of_options(fake_parts):
    tree = {
        "recipe": {
            "score": Categorical(("fake-a", "fake-c")),
            "granularity": Categorical(("fake-weight", "fake-channel")),
        }
    }
    options = {}
    seen = []
    for chosen in grid(tree):

        def suggest(name, domain, chosen=chosen):
            assert options.setdefault(name, domain.options) == domain.options
            return chosen[name]

        seen.append(tuple(sample(tree, suggest)["recipe"].values()))
    assert seen == [("fake-a", "fake-weight"), ("fake-a", "fake-channel"), ("fake-c", "fake-weight")]
