from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from prune_search.spec import TrialConfig, UserError, load_spec
from prune_search.spec.domains import Int


def test_a_file_becomes_a_spec(write, space, scripted):
    spec = load_spec(write(space))
    assert spec.name == "tiny"
    assert dict(spec.objectives) == {"accuracy": "maximize", "params": "minimize"}
    assert (spec.search.sampler, spec.search.trials, spec.search.time, spec.search.batch) == (
        "tpe",
        3,
        None,
        8,
    )
    assert (spec.resources.workers, spec.tracking.uri) == (1, "sqlite:///runs/mlflow.db")
    assert spec.constraints == () and spec.enqueue == ()
    assert spec.parameters()["recipe.dyprune.schedule.b"] == Int(7, 25)
    suggest, asked = scripted({"recipe": "magnitude", "recipe.magnitude.schedule": "linear"})
    config = spec.sample(suggest)
    assert asked == ["training.optimizer.lr", "recipe", "recipe.magnitude.schedule"]
    assert isinstance(config, TrialConfig)
    assert config.plain["recipe"] == {"preset": "magnitude", "schedule": {"linear": {}}}
    assert config.recipe.schedule.name == "linear"
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"


CASES = [
    ("name: tiny", "nam: tiny", "1: nam: unknown key 'nam'. Allowed: name, seed,", "Did you mean 'name'?"),
    ("name: tiny", "name: a/b", "1: name: got 'a/b' (text). Allowed: letters, digits", ""),
    ("name: tiny", "name: tiny\nseed: -1", "2: seed: got -1", ""),
    ("model: {name: lenet-300-100}", "", "1: the key 'model' is missing", ""),
    ("lenet-300-100", "lenet-300-10", "2: model.name: got 'lenet-300-10'", "Did you mean 'lenet-300-100'?"),
    ("epochs: 30", "epoch: 30", "4: training.epoch: unknown key 'epoch'", "Did you mean 'epochs'?"),
    ("epochs: 30", "epochs: abc", "4: training.epochs: got 'abc' (text). Allowed: a whole number.", ""),
    (
        "epochs: 30",
        "epochs: 30\n  epochs: 3",
        "5: training.epochs: the key 'epochs' stands here twice, first on line 4",
        "",
    ),
    (
        "epochs: 30",
        "epochs: {choices: [3, x]}",
        "4: training.epochs.choices.1: got 'x' (text). Allowed: a whole number.",
        "",
    ),
    ("epochs: 30", "epochs: {choices: []}", "4: training.epochs: choices is empty", ""),
    (
        "epochs: 30",
        "epochs: {low: 0, high: 3}",
        "4: training.epochs: got 0 (a whole number). Allowed: >= 1.",
        "",
    ),
    (
        "low: 0.01, high: 0.3, log: true",
        "low: 0, high: 0.3, log: true",
        "5: training.optimizer.lr: low 0 with log: true",
        "",
    ),
    ("name: sgd", "name: sgdd", "5: training.optimizer.name: ", "Did you mean 'sgd'?"),
    (
        "low: 7, high: 25",
        "low: 25, high: 7",
        "8: recipe.choices.dyprune.schedule.b: low 25 is above high 7.",
        "low <= high",
    ),
    ("low: 7, high: 25", "low: -7, high: 25", "8: recipe.choices.dyprune.schedule.b: got -7", "> 0"),
    (
        "schedule.b:",
        "schedule.bb:",
        "8: recipe.choices.dyprune.schedule.bb: unknown parameter.",
        "Did you mean 'b'?",
    ),
    (
        "dyprune:",
        "dypurne:",
        "8: recipe.choices.dypurne: no recipe is called 'dypurne'.",
        "Did you mean 'dyprune'?",
    ),
    (
        "cubic:",
        "cubik:",
        "9: recipe.choices.magnitude.schedule.choices.cubik: no schedule is called 'cubik'.",
        "'cubic'?",
    ),
    (
        "high: 0.99",
        "high: 1.99",
        "9: recipe.choices.magnitude.schedule.choices.cubic.final_sparsity: got 1.99",
        "",
    ),
    (
        "objectives: {accuracy: maximize, params: minimize}\n",
        "",
        "1: the key 'objectives' is missing.",
        "Write objectives:",
    ),
    (
        "{accuracy: maximize, params: minimize}",
        "{}",
        "10: objectives: got a mapping. Allowed: a mapping with at least one",
        "",
    ),
    (
        "accuracy: maximize",
        "acuracy: maximize",
        "10: objectives.acuracy: no such metric.",
        "Did you mean 'accuracy'?",
    ),
    (
        "accuracy: maximize",
        "test_accuracy: maximize",
        "10: objectives.test_accuracy: no such metric.",
        "never sees it",
    ),
    (
        "params: minimize",
        "params: minimise",
        "10: objectives.params: got 'minimise' (text).",
        "Did you mean 'minimize'?",
    ),
    (
        "search: {trials: 3}",
        "search: {trial: 3}",
        "11: search.trial: unknown key 'trial'",
        "Did you mean 'trials'?",
    ),
    (
        "trials: 3",
        "trials: {low: 1, high: 2}",
        "11: search.trials: a domain cannot stand here",
        "'search' is the same",
    ),
    ("trials: 3", "trials: 0", "11: search.trials: got 0 (a whole number). Allowed: >= 1.", ""),
    (
        "trials: 3",
        "trials: null",
        "11: search: got a mapping. Allowed: at least one of trials, time, device_time, patience",
        "",
    ),
    ("trials: 3", "time: soon", "11: search.time: got 'soon' (text). Allowed: a duration such as 90s", ""),
    ("trials: 3", "sampler: tpee", "11: search.sampler: got 'tpee' (text).", "Did you mean 'tpe'?"),
    (
        "trials: 3",
        "early_stopping: moash",
        "11: search.early_stopping",
        "moasha-schedule-aware",
    ),
    (
        "trials: 3",
        "early_stopping: median",
        "11: search.early_stopping: 'median' ranks by one objective, there are 2: accuracy, params.",
        "moasha-schedule-aware, moasha, hyperband, none",
    ),
    (
        "trials: 3",
        "early_stopping: {name: moasha, reduction: 1}",
        "11: search.early_stopping.reduction: got 1 (a whole number). Allowed: >= 2.",
        "",
    ),
    ("trials: 3", "warm_start: [3]", "11: search.warm_start.0: got 3 (a whole number).", ""),
    (
        "trials: 3",
        "storage: study.db",
        "11: search.storage: got 'study.db' (text). Allowed: null, or a URL",
        "",
    ),
    (
        "trials: 3",
        "concurrency: 0",
        "11: search.concurrency: got 0 (a whole number). Allowed: auto, or a whole number",
        "",
    ),
    (
        "trials: 3",
        "sampler: grid",
        "11: search.sampler: grid needs finite domains, but training.optimizer.lr",
        "",
    ),
    (
        "search:",
        "resources: {workers: 33}\nsearch:",
        "3: training: a batch of 64 is less than 2 images for each of resources.workers: 33.",
        "batch_size >= 66",
    ),
    (
        "training:",
        "resources: {workers: 3}\ntraining:\n  batch_size: {choices: [64, 4, 128]}",
        "5: training.batch_size.choices.1: a batch of 4 is less than",
        "batch_size >= 6, or fewer workers",
    ),
    (
        "search:",
        "resources: {workers: 2, gpus_per_worker: 0.5}\nsearch:",
        "11: resources: got a mapping. Allowed: a whole gpus_per_worker with several workers",
        "NCCL",
    ),
    (
        "search:",
        "resources: {placement: near}\nsearch:",
        "11: resources.placement: got 'near'",
        "Allowed: pack, spread.",
    ),
    (
        "search:",
        "tracking: {url: x}\nsearch:",
        "11: tracking.url: unknown key 'url'. Allowed: uri.",
        "'uri'?",
    ),
    (
        "search:",
        "constraints: {accurcy: '> 0'}\nsearch:",
        "11: constraints.accurcy: no such metric.",
        "Did you mean 'accuracy'?",
    ),
    (
        "search:",
        "constraints: {accuracy: 0.9}\nsearch:",
        "11: constraints.accuracy: got 0.9 (a number).",
        "'>= 0.95'",
    ),
    ("search:", "constraints: {accuracy: 'high'}\nsearch:", "11: constraints.accuracy: ", "high"),
    ("model:", "data: {name: digitz}\nmodel:", "2: data.name: got 'digitz'", "Did you mean 'digits'?"),
]


@pytest.mark.parametrize(("old", "new", "said", "also"), CASES)
def test_a_mistake_is_told_with_file_line_key_and_remedy(write, space, old, new, said, also):
    assert old in space
    with pytest.raises(UserError) as caught:
        load_spec(write(space.replace(old, new, 1)))
    assert str(caught.value).startswith(f"space.yaml:{said}")
    assert also in str(caught.value)


def test_constraints_become_conditions(write, space):
    spec = load_spec(write(space + "constraints: {accuracy: ['>= 0.95', '< 1'], params: '<= 2e4'}\n"))
    assert [str(condition) for condition in spec.constraints] == [
        "accuracy >= 0.95",
        "accuracy < 1.0",
        "params <= 20000.0",
    ]


def test_time_and_default_trials(write, space):
    assert load_spec(write(space.replace("trials: 3", "time: 1h30m"))).search.time == 5400.0
    assert load_spec(write(space.replace("trials: 3", "time: 1h30m"))).search.trials is None
    assert load_spec(write(space.replace("{trials: 3}", "{}"))).search.trials == 40
    assert load_spec(write(space.replace("trials: 3", "trials: 3, time: 90"))).search.time == 90.0


def test_import_paths_are_reached_from_the_folder_of_the_file(write, space, tmp_path, monkeypatch):
    (tmp_path / "nets_for_test.py").write_text("def build(width=3): ...\nWIDTH = 3\n")
    path = str(tmp_path / write(space.replace("lenet-300-100", "nets_for_test:build, width: {low: 2, high: 4}")))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = list(sys.path)
    spec = load_spec(path)
    assert "model.width" in spec.parameters() and spec.roots == (tmp_path,)
    assert str(tmp_path) not in sys.path and before == [p for p in sys.path if p in before]
    for wrong, fragment in (
        ("nets_for_test:bild", "Did you mean 'build'?"),
        ("nets_for_tset:build", "there is no module 'nets_for_tset'"),
        ("nets_for_test:WIDTH", "is a int. Allowed: a function or a class."),
    ):
        (tmp_path / "space.yaml").write_text(space.replace("lenet-300-100", wrong))
        with pytest.raises(UserError) as caught:
            load_spec(path)
        assert str(caught.value).startswith(f"{path}:2: model.name: ") and fragment in str(caught.value)
        assert wrong in str(caught.value)


def test_overrides_reach_everything(write, space):
    path = write(space)
    spec = load_spec(
        path,
        [
            "training.epochs=5",
            "recipe.choices.dyprune.schedule.b=9",
            "training.optimizer.lr={low: 1e-4, high: 1e-3}",
            "training.schedule.warmup=2",
            "search.time=2h",
        ],
    )
    config = spec.sample(lambda name, domain: domain.extremes()[0])
    assert (config.training.epochs, config.training.optimizer.lr, config.training.schedule.warmup) == (
        5,
        1e-4,
        2.0,
    )
    assert config.recipe.schedule.b == 9 and spec.search.time == 7200.0
    assert "recipe.dyprune.schedule.b" not in spec.parameters()


def test_an_override_finds_keys_that_contain_dots(write, space):
    text = space.partition("recipe:")[0] + "recipe: {schedule: cubic, schedule.final_sparsity: 0.5}\n"
    spec = load_spec(write(text + "objectives: {params: minimize}\n"), ["recipe.schedule.final_sparsity=0.6"])
    assert spec.tree["recipe"] == {"schedule": "cubic", "schedule.final_sparsity": 0.6}


def test_an_override_opens_a_short_form(write, space):
    text = space.partition("recipe:")[0] + "recipe: dyprune\nobjectives: {params: minimize}\n"
    spec = load_spec(write(text), ["recipe.removal=never", "recipe.schedule.b=11", "model=lenet-5"])
    config = spec.sample(lambda name, domain: domain.extremes()[0])
    assert config.plain["recipe"] == {"preset": "dyprune", "removal": "never", "schedule": {"b": 11}}
    assert (config.recipe.schedule.b, config.model.name) == (11, "lenet-5")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epochs=abc", "training.epochs: got 'abc' (text). Allowed: a whole number."),
        ("training.epoch=3", "training.epoch: unknown key 'epoch'."),
        (
            "recipe.choices.dyprune.schedule.b={low: 9, high: 8}",
            "recipe.choices.dyprune.schedule.b: low 9 is above high 8.",
        ),
        ("recipe.choices.dypurne.schedule.b=8", "recipe.choices.dypurne: no recipe is called 'dypurne'."),
        ("training.epochs.x=3", "training.epochs is 30, which has no key 'x'."),
        ("training.epochs", "got 'training.epochs'. Allowed: key=value"),
        ("serch.trials=3", "serch: unknown key 'serch'."),
    ],
)
def test_a_wrong_override_is_told_like_a_wrong_line(write, space, override, said):
    with pytest.raises(UserError) as caught:
        load_spec(write(space), [override])
    assert said in str(caught.value)
    if "dypurne" not in override and "serch" not in override:
        assert str(caught.value).startswith(f"--set {override}: ")


@pytest.mark.parametrize("overrides", [[], ["training.epochs=5", "training.loss=cross_entropy", "data.root='1e-4'"]])
def test_the_copy_reads_back_equal(write, space, overrides):
    spec = load_spec(write(space), overrides)
    assert load_spec(write(spec.to_yaml(), "copy.yaml")) == spec
    unnamed = load_spec(write(space.replace("name: tiny\n", "")), overrides)
    assert unnamed.name == "space" and load_spec(write(unnamed.to_yaml(), "copy.yaml")) == unnamed


def test_enqueued_configurations_become_names_and_values(write, space):
    enqueue = """search:
  enqueue:
    - {training.optimizer.lr: 0.1, recipe.magnitude.schedule.cubic.final_sparsity: 0.9}
    - {training: {optimizer: {lr: 0.2}}, recipe: {magnitude: {schedule: linear}}}
    - {recipe: dyprune}
    - {recipe: {dyprune: null}}
"""
    spec = load_spec(write(space.replace("search: {trials: 3}\n", enqueue)))
    assert spec.enqueue == (
        {
            "training.optimizer.lr": 0.1,
            "recipe": "magnitude",
            "recipe.magnitude.schedule": "cubic",
            "recipe.magnitude.schedule.cubic.final_sparsity": 0.9,
        },
        {"training.optimizer.lr": 0.2, "recipe": "magnitude", "recipe.magnitude.schedule": "linear"},
        {"recipe": "dyprune"},
        {"recipe": "dyprune"},
    )


@pytest.mark.parametrize(
    ("partial", "said"),
    [
        ("{training.epochs: 3}", "no domain stands at 'training.epochs'."),
        ("{training.optimizer.lr: 3}", "got 3.0. Allowed: 0.01 to 0.3."),
        ("{recipe: imp}", "got 'imp'. Allowed: dyprune, magnitude."),
        ("{recipe: [magnitude]}", "got ['magnitude']. Allowed: dyprune, magnitude."),
        (
            "{recipe: dyprune, recipe.magnitude.schedule: linear}",
            "recipe is 'dyprune' and 'magnitude' at once.",
        ),
    ],
)
def test_what_cannot_be_enqueued(write, space, partial, said):
    with pytest.raises(UserError) as caught:
        load_spec(write(space.replace("{trials: 3}", f"{{enqueue: [{partial}]}}")))
    assert str(caught.value).startswith("space.yaml:11: search.enqueue.0") and said in str(caught.value)


def test_grid_lists_all_where_domains_are_finite(write, space):
    text = space.replace("lr: {low: 0.01, high: 0.3, log: true}", "lr: {choices: [0.1, 0.2]}")
    text = text.replace("{low: 0.5, high: 0.99}", "{low: 0.5, high: 0.9, step: 0.2}").replace("high: 25", "high: 9")
    spec = load_spec(write(text.replace("trials: 3", "sampler: grid")))
    assert len(list(spec.grid())) == 2 * (3 + 3 + 1)


def test_no_heavy_library_is_imported(write, space):
    code = (
        "import sys; from prune_search.spec import load_spec; load_spec('space.yaml'); "
        "print([m for m in ('torch', 'torchvision', 'ray', 'optuna', 'mlflow') if m in sys.modules])"
    )
    write(space)
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("changes", "reused"),
    [
        ([], "none"),
        (["training.optimizer.lr=0.1"], "dense"),
        (["training.optimizer.lr={low: 0.1, high: 0.3, step: 0.1}"], "dense"),
        (["training.optimizer.lr=0.1", "recipe=imp"], "all"),
        (["training.optimizer.lr=0.1", "search.reuse=false"], "none"),
        (["search.reuse=true"], "dense"),
    ],
    ids=str,
)
def test_epochs_are_reused_where_they_can_come_twice(tmp_path, changes, reused):
    path = tmp_path / "space.yaml"
    path.write_text(
        "training: {epochs: 3, optimizer: {name: sgd, lr: {low: 0.1, high: 0.3}}}\nmodel: lenet-300-100\n"
        "recipe: {preset: magnitude, schedule.final_sparsity: {low: 0.5, high: 0.9}}\nobjectives: {accuracy: maximize}\n"
    )
    assert load_spec(path, changes).reused() == reused
