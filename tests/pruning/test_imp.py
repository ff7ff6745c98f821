"""The property tests of iterative magnitude pruning's page, by its numbers; rewinding as a trial does it."""

import copy
import json

import pytest
import torch
from pruning.nets import linear_of, pruner, single
from torch import nn

from prune_search.pruning.recipe import resolve
from prune_search.pruning.rounds import clock
from prune_search.spec.config import ScheduleConfig, TrialConfig
from prune_search.training.data import data_of
from prune_search.training.optim import factor
from prune_search.training.trial import Trial

EVERY = {"stopping": "every", "dense_epochs": 1, "final_epochs": 1, "removal": "never"}


def levels(engine, count):
    for _ in range(count):
        engine.epoch_end(loss=1.0, accuracy=0.5)
    return engine.history.live_after_masking


def test_1_count():
    values = [(-1) ** k * (k + 1) / 10 for k in range(10)]
    model, engine = single(values, schedule={"per-round": {"rate": 0.2}}, stopping="every")
    levels(engine, 1)
    assert engine.masks["0.weight"].tolist() == [[False] * 2 + [True] * 8]
    assert levels(engine, 2) == [8, 6, 5]
    _, engine = single([float(k) for k in range(1, 1001)], schedule={"per-round": {"rate": 0.2}}, stopping="every")
    assert levels(engine, 10)[-1] == 107


@pytest.mark.parametrize(
    ("distribution", "left"), [("global", [[10, 11, 12, 13, 14], [5]]), ("uniform", [[12, 13, 14], [3, 4, 5]])]
)
def test_2_global_against_per_layer(distribution, left):
    model = nn.Sequential(linear_of([10.0, 11, 12, 13, 14]), linear_of([1.0, 2, 3, 4, 5]))
    engine = pruner(model, {**EVERY, "schedule": {"per-round": {"rate": 0.4}}, "distribution": distribution})
    levels(engine, 1)
    assert [weight[weight != 0].tolist() for weight in (model[0].weight, model[1].weight)] == left


def test_3_ties():
    model, engine = single([0.5] * 10, schedule={"per-round": {"rate": 0.3}}, stopping="every")
    levels(engine, 1)
    assert engine.masks["0.weight"].tolist() == [[True] * 7 + [False] * 3]


def test_4_masks_shrink_whatever_pruned_entries_hold():
    model, engine = single([float(k) for k in range(1, 41)], schedule={"per-round": {"rate": 0.3}}, stopping="every")
    before = torch.ones(1, 40, dtype=torch.bool)
    for _ in range(5):
        model[0].weight.data[~before] = 1e6
        engine.epoch_end(loss=1.0, accuracy=0.5)
        assert (engine.masks["0.weight"] <= before).all()
        before = engine.masks["0.weight"]
    assert engine.live == round(40 * 0.7**5)


def test_5_momentum_leak():
    model = nn.Sequential(linear_of([1.0, 2.0]))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    recipe = {**EVERY, "schedule": {"one-shot": {"final_sparsity": 0.5}}}
    engine = pruner(model, recipe, optimizer=optimizer)
    model[0].weight.grad = torch.tensor([[0.5, 0.0]])
    optimizer.step()
    assert model[0].weight[0, 0].item() == pytest.approx(0.95)
    assert optimizer.state[model[0].weight]["momentum_buffer"][0, 0] == 0.5
    engine.epoch_end(loss=1.0, accuracy=0.5)
    model[0].weight.grad = torch.zeros(1, 2)
    optimizer.step()
    assert model[0].weight[0, 0] == 0.0


PLAIN = {
    "data": {"name": "digits", "train_size": 300, "validation_size": 200},
    "model": "lenet-300-100",
    "training": {
        "epochs": 12,
        "batch_size": 50,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"name": "step", "milestones": [0.5, 0.75], "horizon": "round"},
    },
    "recipe": {
        "preset": "imp",
        "stopping": {"every": {"epochs": 4}},
        "dense_epochs": 4,
        "rewind": {"weights": {"epoch": 1}},
        "final_epochs": 4,
    },
    "seed": 3,
}


@pytest.fixture(scope="module")
def data():
    return data_of(TrialConfig.from_dict(PLAIN).data)


def trial(data, **recipe):
    plain = json.loads(json.dumps(PLAIN))
    plain["recipe"] |= recipe
    return Trial(TrialConfig.from_dict(plain), data, None)


def test_6_rewind(data):
    ran = trial(data)
    states = []
    for _ in range(4):
        ran.run_epoch()
        states.append({name: value.clone() for name, value in ran.model.state_dict().items()})
    assert ran.pruner.history.events == [4]
    masks = ran.pruner.masks
    for name, value in ran.model.state_dict().items():
        assert torch.equal(value, states[0][name] * masks.get(name, torch.tensor(1.0)))
    assert len(ran.optimizer.state) == 0
    ran.run_epoch()
    assert all(torch.equal(value, states[0][name]) for name, value in ran.pruner.states["rewind"]["point"].items())


def test_6_learning_rate_of_the_first_retraining_step():
    """0.1, x 0.1 at 80 and 120 of 160 epochs: k = 2 epochs starts at 0.1, t = 60 at epoch 100 with 0.01."""
    schedule = ScheduleConfig(name="step", milestones=(0.5, 0.75))

    def rates(rewind, epochs, retrain):
        engine = pruner(nn.Sequential(linear_of([1.0, 2.0, 3.0])), {**EVERY, "rewind": rewind}, epochs=epochs)
        recipe = resolve({**EVERY, "rewind": rewind, "stopping": {"every": {"epochs": retrain}}})
        history = engine.history
        history.losses, history.events, history.last = [1.0] * 160, [160], epochs - 1
        found = []
        for _ in range(retrain):
            done, horizon = clock(recipe, history, False, "trial")
            found.append(0.1 * factor(schedule, min(1.0, done / horizon)))
            history.losses.append(1.0)
        return found

    weights = rates({"weights": {"epoch": 2}}, 400, 158)
    assert weights[0] == pytest.approx(0.1)
    assert (weights.count(pytest.approx(0.1)), weights.count(pytest.approx(0.01))) == (78, 40)
    assert weights[-1] == pytest.approx(0.001)
    later = rates({"learning-rate": {"retrain": 60 / 160}}, 400, 60)
    assert later == [pytest.approx(0.01)] * 20 + [pytest.approx(0.001)] * 40


class Idle(nn.Module):
    """A network beside which 1 000 tiny weights stand idle: pruning them changes nothing."""

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))
        self.idle = nn.Linear(1000, 1, bias=False)
        nn.init.constant_(self.idle.weight, 1e-9)

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize(("k", "momentum"), [(0, 0.9), (1, 0.0)])
def test_7_a_rewound_round_that_prunes_nothing_repeats_the_dense_run_bit_for_bit(data, k, momentum):
    """From the initialisation with momentum; from epoch 1 without, as the optimizer starts afresh there."""
    plain = json.loads(json.dumps(PLAIN))
    plain["model"] = "pruning.test_imp:Idle"
    plain["training"] |= {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": momentum}}
    plain["training"]["schedule"] = {"name": "cosine", "horizon": "round"}
    plain["recipe"] |= {
        "stopping": {"every": {"epochs": 4 - k}},
        "rewind": {"weights": {"epoch": k}},
        "schedule": {"per-round": {"rate": 0.1}},
        "removal": "never",
    }
    dense = json.loads(json.dumps(plain))
    dense["recipe"] = "dense"
    dense["training"]["epochs"] = 4
    reference, ran = (Trial(TrialConfig.from_dict(p), data, None) for p in (dense, plain))
    for _ in range(4):
        reference.run_epoch()
        ran.run_epoch()
    for _ in range(4 - k):
        report = ran.run_epoch()
    assert ran.pruner.history.events == [4, 8 - k]
    last = reference.reports[-1]
    assert (report.loss, report.accuracy, report.train_loss) == (last.loss, last.accuracy, last.train_loss)
    later = trial_state_after_round(plain, data, 7 - k)
    for name, value in reference.model.net.state_dict().items():
        assert torch.equal(value, later[f"net.{name}"])


def trial_state_after_round(plain, data, epochs):
    """The network after ``epochs`` and the training of one more, before any event."""
    ran = Trial(TrialConfig.from_dict(plain), data, None)
    for _ in range(epochs):
        ran.run_epoch()
    ran._train()
    return copy.deepcopy(ran.model.state_dict())


def test_8_learning_rate_rewinding_keeps_the_weights(data):
    states = {}
    for name, rewind in (("weights", {"weights": {"epoch": 1}}), ("learning-rate", {"learning-rate": {}})):
        ran = trial(data, rewind=rewind)
        for _ in range(3):
            ran.run_epoch()
        ran._train()
        trained = {key: value.clone() for key, value in ran.model.state_dict().items()}
        loss, accuracy = ran._validate(ran.model)
        ran.pruner.record(loss=loss, accuracy=accuracy)
        ran.pruner.advance()
        masks = ran.pruner.masks
        kept = {key: value * masks.get(key, torch.tensor(1.0)) for key, value in trained.items()}
        states[name] = all(torch.equal(value, kept[key]) for key, value in ran.model.state_dict().items())
        assert ran.pruner.live == 0.8 * ran.pruner.history.total
    assert states == {"weights": False, "learning-rate": True}


def test_9_excluded_layers():
    model = nn.Sequential(linear_of([float(k) for k in range(1, 51)]), linear_of([1.0] * 50))
    engine = pruner(model, {**EVERY, "schedule": {"per-round": {"rate": 0.2}}, "exclude": ["1"]})
    assert levels(engine, 1) == [40]
    assert (model[1].weight != 0).all()


def test_10_reinitialising_keeps_the_counts_and_draws_new_weights():
    model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 4))
    engine = pruner(model, {**EVERY, "schedule": {"per-round": {"rate": 0.5}}, "rewind": "reinitialise"})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    levels(engine, 1)
    assert torch.equal(torch.get_rng_state(), state)
    for name, mask in engine.masks.items():
        weight = model.state_dict()[name]
        assert (weight[mask] != before[name][mask]).all()
        assert (weight[~mask] == 0).all()
    assert engine.live == 120
    assert (model[0].bias != before["0.bias"]).all()
