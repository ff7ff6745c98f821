from __future__ import annotations

import json

import pytest

from prune_search.spec.config import TrialConfig, locate
from prune_search.spec.strict import ConfigError


def plain(**changes) -> dict:
    return {"model": "lenet-5", "training": {"epochs": 3}, "recipe": "dyprune", **changes}


def training(**changes) -> dict:
    return plain(training={"epochs": 3, **changes})


def test_short_forms_and_defaults():
    config = TrialConfig.from_dict(
        plain(data="digits", training={"epochs": 3, "optimizer": "adamw", "schedule": "step"})
    )
    assert (config.data.name, config.data.root, config.data.augment, config.data.split_seed) == (
        "digits",
        "data",
        "none",
        0,
    )
    assert (config.model.name, config.model.checkpoint, config.model.options) == ("lenet-5", None, {})
    assert (config.training.optimizer.name, config.training.optimizer.betas) == ("adamw", (0.9, 0.999))
    assert (config.training.schedule.name, config.training.schedule.milestones) == ("step", (0.5, 0.75))
    assert (config.training.batch_size, config.training.precision, config.seed) == (64, "auto", 0)
    assert config.recipe.preset == "dyprune"
    assert config == TrialConfig.from_dict(json.loads(json.dumps(config.plain)))
    sgd = TrialConfig.from_dict(plain()).training.optimizer
    assert (sgd.name, sgd.lr, sgd.momentum, sgd.nesterov) == ("sgd", 0.1, 0.9, False)


def test_lists_become_tuples_and_whole_numbers_numbers():
    optimizer = {"name": "adamw", "lr": 1, "betas": [0.8, 0.9]}
    config = TrialConfig.from_dict(training(optimizer=optimizer, schedule={"name": "step", "milestones": [0.3]}))
    assert config.training.optimizer.betas == (0.8, 0.9) and config.training.optimizer.lr == 1.0
    assert config.training.schedule.milestones == (0.3,)


def test_it_is_frozen():
    config = TrialConfig.from_dict(plain())
    with pytest.raises(Exception, match="frozen"):
        config.training.epochs = 4


def test_keys_beside_an_imported_name_are_its_options():
    model = {"name": "my.models:build", "checkpoint": "a.pt", "width": 8, "options": {"depth": 2}}
    config = TrialConfig.from_dict(plain(model=model))
    assert config.model.options == {"depth": 2, "width": 8} and config.model.checkpoint == "a.pt"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            plain(modle="x"),
            "modle: unknown key 'modle'. Allowed: data, model, training, recipe, seed. Did you mean 'model'?",
        ),
        ({"model": "lenet-5", "recipe": "dyprune"}, "the key 'training' is missing"),
        (plain(training={}), "training: the key 'epochs' is missing"),
        (plain(training=None), "training: got nothing. Allowed: a mapping with epochs, batch_size"),
        (
            plain(model={"name": "lenet-5", "width": 3}),
            "model.width: unknown key 'width'. Allowed: name, checkpoint, options.",
        ),
        (
            plain(model={"name": "my.nets:build", "width": 3, "options": 3}),
            "model.width: unknown key 'width'.",
        ),
        (plain(model={}), "model: the key 'name' is missing"),
        (plain(seed=True), "seed: got True (true or false). Allowed: a whole number >= 0."),
        (
            plain(data={"augment": "flips"}),
            "data.augment: got 'flips' (text). Allowed: none, flip, crop, crop+flip. Did you",
        ),
        (plain(data={"train_size": 0}), "data.train_size: got 0 (a whole number). Allowed: >= 1."),
        (training(epochs="abc"), "training.epochs: got 'abc' (text). Allowed: a whole number."),
        (training(epochs=3.0), "training.epochs: got 3.0 (a number). Allowed: a whole number."),
        (training(epochs=True), "training.epochs: got True (true or false). Allowed: a whole number."),
        (training(label_smoothing="x"), "training.label_smoothing: got 'x' (text). Allowed: a number."),
        (training(label_smoothing=1), "training.label_smoothing: got 1 (a whole number). Allowed: < 1.0."),
        (
            training(clip_norm=float("nan")),
            "training.clip_norm: got nan (a number). Allowed: a finite number.",
        ),
        (training(loss="mse"), "training.loss: got 'mse' (text). Allowed: cross_entropy, or an import path"),
        (
            training(precision="fp16"),
            "training.precision: got 'fp16' (text). Allowed: auto, fp32, bf16. Did you mean 'bf16'?",
        ),
        (training(batchsize=3), "training.batchsize: unknown key 'batchsize'."),
        (training(optimizer={"lr": 1}), "training.optimizer: the key 'name' is missing"),
        (
            training(optimizer="sdg"),
            "training.optimizer: got 'sdg' (text). Allowed: sgd, adamw. Did you mean 'sgd'?",
        ),
        (
            training(optimizer=3),
            "training.optimizer: got 3 (a whole number). Allowed: a name or a mapping with a name.",
        ),
        (
            training(optimizer={"name": "sgd", "betas": [0.9, 0.9]}),
            "training.optimizer.betas: unknown key 'betas'. Allowed: name, lr, momentum, nesterov,",
        ),
        (
            training(optimizer={"name": "adamw", "momentum": 0.9}),
            "training.optimizer.momentum: unknown key 'momentum'.",
        ),
        (
            training(optimizer={"name": "adamw", "lr": "0.1"}),
            "training.optimizer.lr: got '0.1' (text). Allowed: a number.",
        ),
        (training(optimizer={"name": "adamw", "betas": [0.9, True]}), "training.optimizer.betas.1: got True"),
        (
            training(optimizer={"name": "adamw", "betas": [0.9]}),
            "training.optimizer.betas: got [0.9] (a list). Allowed: a list of at least 2.",
        ),
        (
            training(optimizer={"name": "sgd", "momentum": 0, "nesterov": True}),
            "training.optimizer: got a mapping. Allowed: m",
        ),
        (
            training(schedule="cosin"),
            "training.schedule: got 'cosin' (text). Allowed: constant, cosine, onecycle, step.",
        ),
        (
            training(schedule={"name": "cosine", "gamma": 0.5}),
            "training.schedule: got a mapping. Allowed: milestones and gamma",
        ),
        (
            training(schedule={"name": "step", "milestones": [0.5, 1.5]}),
            "training.schedule.milestones.1: got 1.5 (a number)",
        ),
        (plain(recipe="dypurne"), "recipe: no recipe is called 'dypurne'. Did you mean 'dyprune'?"),
        (plain(recipe={"preset": {"a": {}}}), "recipe.preset: got a mapping. Allowed: the name of a preset."),
        (
            plain(recipe={"schedule": {"cubic": {"final_sparsity": 2}}}),
            "recipe.schedule.cubic.final_sparsity: got 2",
        ),
        (plain(recipe={"preset": "dyprune", "schedule.b": "x"}), "recipe.schedule.b: got 'x'"),
        (
            plain(recipe={"schedule": {"cubik": {"final_sparsity": 0.5}}}),
            "recipe.schedule.cubik: no schedule is called 'cubik'.",
        ),
        (plain(recipe={"removl": "never"}), "recipe.removl: unknown key. Did you mean 'removal'?"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(value, said):
    with pytest.raises(ConfigError) as caught:
        TrialConfig.from_dict(value)
    assert str(caught.value).startswith(said)


def test_a_path_in_the_recipe_is_found_as_it_was_written():
    path = ("schedule", "size-scaled", "b")
    assert locate({"schedule.b": 3, "removal": "never"}, path) == ("schedule.b",)
    assert locate({"schedule": {"b": 3}}, path) == ("schedule", "b")
    assert locate({"schedule": {"size-scaled": {"b": 3}}}, path) == path
    assert locate({"preset": "dyprune"}, path) == ()
    assert locate("dyprune", ("preset",)) == ()
