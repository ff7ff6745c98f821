"""A trial in exact figures, what it hands to its recipe, and the worker that trains one after another."""

import dataclasses
import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from training import own  # noqa: F401  (found by the import paths below)

from prune_search.errors import UserError
from prune_search.pruning.context import Passes
from prune_search.pruning.masking import CollapsedLayer
from prune_search.pruning.pruner import Outcome
from prune_search.pruning.ranking import NonFiniteScore
from prune_search.removal import RemovalError
from prune_search.spec.config import AdamWConfig, SgdConfig, TrialConfig
from prune_search.training import checkpoint, files
from prune_search.training.data import data_of
from prune_search.training.evaluation import accuracy, evaluate, logits
from prune_search.training.files import CHECKPOINT, REPORTS, read_reports
from prune_search.training.optim import build_optimizer, factor
from prune_search.training.outcomes import NonFiniteLoss, reason_of
from prune_search.training.trial import Trial
from prune_search.training.worker import TrialWorker
from prune_search.zoo.data import Data, Split
from prune_search.zoo.models import build_model

ONCE = {"preset": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.5}}, "dense_epochs": 1}
STILL = {"name": "sgd", "lr": 1e-12, "momentum": 0.0}
LENET_WEIGHTS = 50_200  # 64-300-100-10


def config(recipe="dense", model="lenet-300-100", seed=3, train_size=300, data=None, **training):
    plain = {"epochs": 8, "batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.1}, **training}
    sizes = {"name": "digits", "train_size": train_size, "validation_size": 200, **(data or {})}
    return TrialConfig.from_dict({"data": sizes, "model": model, "training": plain, "recipe": recipe, "seed": seed})


@pytest.fixture(scope="module")
def data():
    return data_of(config().data)


def finish(trial):
    while not trial.finished:
        trial.run_epoch()
    return trial


def figures(trial):
    return [(r.epoch, r.accuracy, r.loss, r.train_loss, r.params, r.train_flops) for r in trial.reports]


# Going on from a checkpoint


def test_a_network_with_batch_norm_and_dropout_goes_on_as_the_same_trial(tmp_path, data):
    chosen = config(ONCE, "training.own:batch_norm", epochs=4)
    whole = finish(Trial(chosen, data, None))
    Trial(chosen, data, tmp_path).run_epoch()
    torch.rand(5)  # another use of the global generator in between
    second = finish(Trial(chosen, data, tmp_path))
    assert figures(second) == figures(whole)
    state = second.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.model.state_dict().items())


def test_a_resumed_trial_needs_its_starting_weights_no_more_and_counts_its_time(tmp_path, data):
    start = tmp_path / "start.safetensors"
    weights = build_model("lenet-300-100", input_shape=(1, 8, 8), num_classes=10, seed=5).state_dict()
    save_file(weights, start)
    chosen = config(model={"name": "lenet-300-100", "checkpoint": str(start)})
    first = Trial(chosen, data, tmp_path / "t")
    assert all(torch.equal(first.model.state_dict()[name], value) for name, value in weights.items())
    report = first.run_epoch()
    start.unlink()
    second = Trial(chosen, data, tmp_path / "t")
    assert (second.epoch, second.reports) == (1, [report])
    assert second.seconds >= report.seconds > 0


def test_a_checkpoint_holds_the_network_of_its_report(tmp_path, data):
    trial = Trial(config(ONCE), data, tmp_path)
    trial.run_epoch()
    assert trial.pruner.history.events == [1]
    state = checkpoint.load(tmp_path / CHECKPOINT)
    assert state["pruner"]["history"]["events"] == []
    assert sum(int((value != 0).sum()) for value in state["model"].values()) == trial.reports[0].params == 50_610


def test_a_checkpoint_is_replaced_only_when_the_new_one_is_whole(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c", {"epoch": 1})

    def dies(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", dies)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "c", {"epoch": 2})
    assert checkpoint.load(tmp_path / "c") == {"epoch": 1}


def test_whoever_reads_reports_sees_all_of_a_version(tmp_path, data):
    trial = Trial(config(), data, tmp_path)
    trial.run_epoch()
    with open(tmp_path / REPORTS) as reader:
        trial.run_epoch()
        assert len(reader.readlines()) == 1
    assert [report.epoch for report in read_reports(tmp_path)] == [1, 2]


def test_checkpoints_take_tensors_that_share_memory_or_are_transposed(tmp_path):
    whole = torch.arange(6.0).view(2, 3)
    checkpoint.save(tmp_path / "c", {"a": whole, "b": whole, "c": whole.T, "d": whole[0]})
    back = checkpoint.load(tmp_path / "c")
    assert [back[name].tolist() for name in "abcd"] == [t.tolist() for t in (whole, whole, whole.T, whole[0])]


# Figures


@pytest.mark.parametrize(("images", "seen"), [(300, 300), (241, 240)])
def test_the_training_loss_is_the_mean_over_the_images_trained_on(images, seen):
    """Batches of 80, the last one smaller; a last batch of one image is left out, as batch norm cannot take it."""
    chosen = config(train_size=images, batch_size=80, optimizer=STILL)
    trial = Trial(chosen, data_of(chosen.data), None)
    order = torch.cat([labels for _, labels in trial.sample_batches(4)])
    inputs = torch.cat([inputs for inputs, _ in trial.sample_batches(4)])
    assert len(order) == seen
    expected = nn.functional.cross_entropy(trial.model(inputs), order)
    assert trial.run_epoch().train_loss == pytest.approx(expected.item(), rel=1e-6)


def test_statistics_are_never_taken_of_one_image():
    """241 images in batches of 80: batch norm behind a linear layer cannot take the last."""
    recipe = {**ONCE, "recalibrate_batchnorm": 100}
    chosen = config(recipe, "training.own:batch_norm", train_size=241, batch_size=80, epochs=3)
    assert finish(Trial(chosen, data_of(chosen.data), None)).reports[-1].sparsity == pytest.approx(0.5, abs=0.02)


def test_a_single_image_is_trained_on(data):
    one = dataclasses.replace(data, train=Split(data.train.images[:1], data.train.labels[:1]))
    assert Trial(config(epochs=1), one, None).run_epoch().train_loss > 0


def test_costs_of_an_epoch_and_of_measuring(data):
    trial = Trial(config(ONCE), data, None, devices=4)
    report = trial.run_epoch()
    assert report.train_flops == 6 * 300 * LENET_WEIGHTS
    assert report.train_flops_ratio == 1 / 8
    assert report.device_seconds == 4 * report.seconds
    live = LENET_WEIGHTS // 2
    trial.pruner.advance = lambda: Outcome(passes=Passes(forward=3, backward=5))
    trial.run_epoch()
    assert trial.run_epoch().train_flops == 6 * 300 * (LENET_WEIGHTS + 2 * live) + 2 * live * (3 + 2 * 5)


def test_own_loss_and_metric_are_what_is_reported_and_handed_to_the_recipe(data):
    trial = Trial(config(loss="training.own:seven", metric="training.own:quarter"), data, None)
    report = trial.run_epoch()
    assert (report.loss, report.train_loss, report.accuracy) == (7.0, 7.0, 0.25)
    assert trial.pruner.loss is own.seven


def test_what_a_recipe_may_measure_with(data):
    trial = Trial(config(), data, None)
    report = trial.run_epoch()
    context = trial.pruner._context()
    assert context.evaluate({}) == (report.loss, report.accuracy)
    assert torch.equal(context.example_input, data.inputs(data.train.images[:8]))
    assert [len(labels) for _, labels in context.batches(2)] == [50, 50]


def test_label_smoothing_is_in_the_training_loss_only(data):
    trial = Trial(config(label_smoothing=0.25, optimizer=STILL), data, None)
    inputs, labels = trial.sample_batches(1)[0]
    smooth = nn.functional.cross_entropy(trial.model(inputs), labels, label_smoothing=0.25)
    assert float(trial.step(inputs, labels)) == pytest.approx(smooth.item(), rel=1e-6)
    assert trial.run_epoch().loss == evaluate(trial.model, data, data.validation)[0]


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_loss_that_is_not_finite_ends_a_trial_wherever_it_is(data, where):
    with pytest.raises(NonFiniteLoss, match="in epoch 1"):
        Trial(config(loss=f"training.own:nan_in_{where}"), data, None).run_epoch()


def test_mixed_precision_holds_for_training_and_validation_alike(data):
    for precision, mixed in (("bf16", True), ("fp32", False), ("auto", False)):
        trial = Trial(config(model="training.own:watching", precision=precision), data, None)
        trial.model.seen.clear()
        trial.run_epoch()
        assert {autocast for training, autocast in trial.model.seen if training} == {mixed}
        assert ((False, True) in trial.model.seen) == mixed


def test_the_exported_network_shrinks_only_where_the_recipe_says(data):
    dead = {"preset": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.97}}, "dense_epochs": 1, "floor": 0.01}
    for removal, shrinks in (("at-events", True), ("at-end", True), ("never", False)):
        trial = Trial(config({**dead, "removal": removal}), data, None)
        trial.run_epoch()
        assert (trial.model.fc1.out_features < 300) == (removal == "at-events")
        assert (trial.removed().fc1.out_features < 300) == shrinks
        assert (trial.run_epoch().physical_params < 50_610) == shrinks


@pytest.mark.parametrize(("removal", "left"), [("at-end", 299), ("at-events", 299), ("never", 300)])
def test_what_died_since_the_last_event_is_not_exported(data, removal, left):
    trial = Trial(config({**ONCE, "removal": removal}), data, None)
    layer = next(module for module in trial.model.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.weight[5], layer.bias[5] = 0, 0
    exported = trial.removed()
    assert next(module for module in exported.modules() if isinstance(module, nn.Linear)).out_features == left
    assert layer.out_features == 300


def test_what_is_cut_is_proven_when_it_changes_and_not_at_every_report(data, monkeypatch):
    from prune_search.training import trial as module

    proven, check = [], module.check_equal
    monkeypatch.setattr(module, "check_equal", lambda *networks: (proven.append(networks), check(*networks)))
    trial = Trial(config("dense"), data, None)
    assert trial.removed() is trial.model  # never
    trial = Trial(config({"preset": "magnitude", "dense_epochs": 4}), data, None)
    assert trial.removed() is trial.model and not proven  # nothing to cut
    layer = trial.model.fc1
    for dead, proofs in ((3, 1), (3, 1), (5, 2)):
        with torch.no_grad():
            layer.weight[:dead] = 0
            layer.bias[:dead] += 0.25  # another constant for the next layer
        small = trial.removed()
        assert small is not trial.model and small.fc1.out_features == 300 - dead
        assert len(proven) == proofs
        assert torch.allclose(small(trial.example), trial.model(trial.example), atol=1e-5)


# Seeds and batches


def test_everything_random_follows_the_seed(data):
    recipe = {**ONCE, "preset": "random"}

    def drawn(seed):
        trial = Trial(config(recipe, seed=seed), data, None)
        weights, batch = trial.model.fc1.weight.detach().clone(), trial.sample_batches(1)[0][0]
        trial.run_epoch()
        return weights, batch, trial.pruner.masks["fc1.weight"]

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_sampled_batches_are_new_in_every_epoch_and_never_augmented(data, monkeypatch):
    seeds = []
    spy = lambda self, images, generator: seeds.append(generator.initial_seed()) or images
    monkeypatch.setattr(Data, "augmented", spy)
    trial = Trial(config(), data, None)
    first, again = trial.sample_batches(2), trial.sample_batches(2)
    assert [tuple(inputs.shape) for inputs, _ in first] == [(50, 1, 8, 8)] * 2
    assert torch.equal(first[0][0], again[0][0]) and not torch.equal(first[0][0], first[1][0])
    assert seeds == []
    trial.run_epoch()
    assert not torch.equal(first[0][0], trial.sample_batches(1)[0][0])
    trial.run_epoch()
    assert [seeds.count(seed) for seed in dict.fromkeys(seeds)] == [6, 6]  # six batches, a seed for each epoch


def test_augmentation_reaches_the_network():
    still, flipped = (config(epochs=1, data={"augment": how}) for how in ("none", "flip"))
    losses = [Trial(chosen, data_of(chosen.data), None).run_epoch().train_loss for chosen in (still, flipped)]
    assert losses[0] != losses[1]


def test_a_step_takes_the_gradient_of_its_own_batch_alone(data):
    trial = Trial(config(optimizer=STILL), data, None)
    inputs, labels = trial.sample_batches(1)[0]
    gradients = []
    for _ in range(2):
        trial.step(inputs, labels)
        gradients.append(trial.model.fc1.weight.grad.clone())
    assert torch.allclose(*gradients, atol=1e-8)


# Learning rates


def rates(trial):
    """The learning rate of every optimizer step."""
    seen = []
    trial.optimizer.register_step_pre_hook(lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"]))
    finish(trial)
    return seen


def test_a_warmup_rises_by_the_step_and_comes_out_of_the_horizon(data):
    seen = rates(Trial(config(schedule={"name": "cosine", "warmup": 2}), data, None))
    assert seen[:12] == pytest.approx([0.1 * k / 13 for k in range(1, 13)])
    assert seen[12] == 0.1
    assert seen[5 * 6] == pytest.approx(0.05)
    assert len(seen) == 8 * 6


def test_learning_rates_restart_at_events_and_such_a_trial_ends_with_its_last_round(data):
    per_round = {**ONCE, "schedule": {"per-round": {"rate": 0.5}}, "stopping": {"every": {"epochs": 2}}}
    recipe = {**per_round, "max_events": 1, "final_epochs": 3}
    restart = {**recipe, "rewind": {"none": {"learning_rate": "restart"}}}
    by_horizon = Trial(config(recipe, schedule={"name": "cosine", "horizon": "round"}), data, None)
    by_restart = Trial(config(restart, schedule="cosine"), data, None)
    seen = rates(by_horizon)
    assert len(seen) == 5 * 6
    assert seen == rates(by_restart)
    assert [seen[epoch * 6] for epoch in range(5)] == pytest.approx([0.1, 0.05, 0.1, 0.05, 0.025])  # event after 2
    assert by_horizon.reason == by_restart.reason == "most events reached"


def test_the_learning_rate_does_not_stand_at_zero_after_the_last_event(data):
    recipe = {**ONCE, "schedule": {"per-round": {"rate": 0.5}}, "stopping": {"every": {"epochs": 4}}, "final_epochs": 2}
    seen = rates(Trial(config(recipe, schedule={"name": "cosine", "horizon": "round"}), data, None))
    assert [seen[epoch * 6] for epoch in (0, 2, 4, 6)] == pytest.approx([0.1, 0.05, 0.1, 0.05])


def test_the_first_cycle_rises_over_three_tenths():
    chosen = config(schedule="onecycle").training.schedule
    assert factor(chosen, 0.15) == pytest.approx(0.52)
    assert factor(chosen, 0.65) == pytest.approx(0.5, rel=1e-4)


def test_optimizers_have_the_options_of_the_configuration():
    weights = [nn.Parameter(torch.zeros(2))]
    sgd = build_optimizer(weights, SgdConfig(lr=0.3, momentum=0.7, nesterov=True, weight_decay=0.02)).defaults
    assert [sgd[name] for name in ("lr", "momentum", "nesterov", "weight_decay")] == [0.3, 0.7, True, 0.02]
    adamw = AdamWConfig(lr=0.3, betas=[0.8, 0.9], eps=1e-5, weight_decay=0.02)
    adamw = build_optimizer(weights, adamw).defaults
    assert [adamw[name] for name in ("lr", "betas", "eps", "weight_decay")] == [0.3, (0.8, 0.9), 1e-5, 0.02]


# Evaluation and names of ends


def test_evaluation_is_in_order_without_dropout_and_leaves_no_trace(data):
    model = own.batch_norm((1, 8, 8), 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    split = data.validation
    outputs = logits(model, data, split, batch=64)
    assert torch.allclose(outputs, logits(model, data, split), atol=1e-6)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not logits(model.eval(), data, split).requires_grad and not model.training
    with torch.autocast("cpu", torch.bfloat16):
        assert logits(model, data, split).dtype == torch.float32


def test_accuracy_is_the_share_of_right_answers():
    outputs = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    assert float(accuracy(outputs, torch.tensor([1, 0, 1, 1]))) == 0.75


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NonFiniteLoss("x"), "nan_loss: x"),
        (CollapsedLayer("no weight is left in a"), "collapsed_layer: no weight is left in a"),
        (NonFiniteScore("x"), "nonfinite_score: x"),
        (UserError("first\nsecond"), "bad_input: first second"),
        (RemovalError("x"), "removal_not_equal: x"),
        (torch.OutOfMemoryError("x"), "out_of_memory: x"),
        (MemoryError(), "out_of_memory"),
        (ValueError("first\nsecond"), "error: ValueError: first"),
        (KeyError("y" * 400), "error: KeyError: '" + "y" * 299),
    ],
)
def test_every_end_has_a_name(error, reason):
    assert reason_of(error) == reason


# The worker


def work(folder, number=7, measure=(), **changes):
    chosen = config(**{"epochs": 2, **changes})
    return {"number": number, "folder": str(folder), "config": chosen.plain, "threads": 1, "cpus": 2.0, "gpus": 0.0,
            "measure": list(measure)}  # fmt: skip


def told(result):
    report = json.loads(result["report"]) if result["report"] else None
    assert result["done"] == (result["state"] != "running")
    return result["number"], result["state"], result["reason"].split("\n")[0], report and report["epoch"]


def test_a_worker_reports_every_epoch_and_trains_a_finished_trial_no_further(tmp_path):
    worker = TrialWorker(work(tmp_path / "a", measure=["size_bytes"]))
    first = worker.step()
    report = json.loads(first["report"])
    assert report["device_seconds"] == 2 * report["seconds"] and report["size_bytes"] > 0
    assert told(first) == (7, "running", "", 1)
    last = worker.step()
    assert told(last) == (7, "completed", "no_event", 2)
    assert worker.reset_config(work(tmp_path / "b", number=8))
    assert told(worker.step()) == (8, "running", "", 1)
    worker.reset_config(work(tmp_path / "a"))
    again = worker.step()
    assert told(again) == (7, "completed", "no_event", 2)
    assert again["report"] == last["report"]


def test_a_worker_begins_anew_where_a_checkpoint_is_broken(tmp_path, caplog):
    worker = TrialWorker(work(tmp_path, epochs=3))
    first = [worker.step(), worker.step()]
    worker._rank.trial.settle()
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: len(whole) // 2])
    worker.reset_config(work(tmp_path, epochs=3))
    again = worker.step()
    assert told(again) == told(first[0]) and "no checkpoint" in caplog.text
    worker._rank.trial.settle()
    assert len(checkpoint.load(tmp_path / CHECKPOINT)["reports"]) == 1


def test_why_a_trial_failed_waits_for_room_on_the_disk(tmp_path, monkeypatch):
    full, write = [1, 2], Path.write_text

    def write_text(path, *arguments, **options):
        if path.name == "error.txt" and full:
            full.pop()
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    worker = TrialWorker(work(tmp_path, model="training.own:nothing"))
    assert worker.step()["state"] == "failed"
    assert not full and "nothing" in (tmp_path / "error.txt").read_text()


def test_a_broken_checkpoint_is_named(tmp_path, data):
    (tmp_path / CHECKPOINT).write_bytes(b"what is this")
    with pytest.raises(checkpoint.Broken, match="is no checkpoint .* rerun NAME --trial N"):
        Trial(config(), data, tmp_path)


def test_a_worker_takes_the_threads_it_is_given(tmp_path):
    before = torch.get_num_threads()
    try:
        TrialWorker(work(tmp_path) | {"threads": before + 1})
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_worker_outlives_a_trial_that_fails(tmp_path):
    breaks = {"name": "training.own:watching", "breaks": 6 + 6 + 2}
    worker = TrialWorker(work(tmp_path / "a", epochs=4, model=breaks))
    results = [told(worker.step()) for _ in range(3)]
    assert results == [
        (7, "running", "", 1),
        (7, "running", "", 2),
        (7, "failed", "error: RuntimeError: a model that breaks", 2),
    ]
    assert "in the middle" in (tmp_path / "a" / "error.txt").read_text()
    assert (tmp_path / "a" / CHECKPOINT).exists()
    worker.reset_config(work(tmp_path / "b", number=8, model="training.own:nothing"))
    number, state, reason, epoch = told(worker.step())
    assert (number, state, epoch) == (8, "failed", None)
    assert "nothing" in reason and "nothing" in (tmp_path / "b" / "error.txt").read_text()
    worker.reset_config(work(tmp_path / "c", number=9))
    assert told(worker.step()) == (9, "running", "", 1)
