"""The property tests of LOBSTER's page, by its numbers; L1 and L2."""

import itertools

import pytest
import torch
from pruning.nets import conv_net, linear_of, pruner, single
from torch import nn

from prune_search.pruning.stopping.slack_plateau import SlackPlateau

NEVER = {"stopping": {"every": {"epochs": 50}}, "removal": "never", "dense_epochs": 1}


def stepped(w, g, form="post_step", lr=0.1, strength=0.01, steps=1, **options):
    """One weight after ``steps`` steps of plain SGD with gradient ``g`` and LOBSTER's shrink."""
    model = nn.Sequential(linear_of([w]))
    optimizer = torch.optim.SGD(model.parameters(), lr)
    recipe = {"regularizer": {"lobster": {"strength": strength, "shrink_on": form, **options}}, **NEVER}
    engine = pruner(model, recipe, optimizer=optimizer)
    engine.epoch_start()
    for _ in range(steps):
        model[0].weight.grad = torch.full((1, 1), float(g))
        optimizer.step()
    return model[0].weight.item()


@pytest.mark.parametrize(
    ("w", "g", "code", "single_equation"),
    [
        (0.5, 0.0, 0.4950000, 0.4950000),
        (0.5, 0.2, 0.4761600, 0.4760000),
        (-0.5, -0.2, -0.4761600, -0.4760000),
        (0.5, 1.0, 0.4000000, 0.4000000),
        (0.5, 3.0, 0.2000000, 0.2000000),
    ],
)
def test_1_update_numbers(w, g, code, single_equation):
    assert stepped(w, g, "post_step") == pytest.approx(code, abs=1e-6)
    assert stepped(w, g, "pre_step") == pytest.approx(single_equation, abs=1e-6)


def test_1_hundred_steps_without_gradient():
    assert stepped(0.5, 0.0, lr=0.0, steps=100) == pytest.approx(0.1830162, abs=1e-6)


def test_2_algebra_of_the_two_components():
    for w, g in itertools.product(torch.linspace(-2, 2, 9).tolist(), repeat=2):
        after = stepped(w, g, "pre_step")
        if abs(g) < 1:
            sign = (g > 0) - (g < 0)
            assert after == pytest.approx((1 - 0.01) * w - g * (0.1 - 0.01 * w * sign), abs=1e-6)
        else:
            assert after == pytest.approx(w - 0.1 * g, abs=1e-7)


def test_rescaled_sensitivity_is_relative_to_the_tensor():
    model = nn.Sequential(linear_of([1.0, 1.0]))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    engine = pruner(
        model, {"regularizer": {"lobster": {"strength": 0.1, "rescale": True}}, **NEVER}, optimizer=optimizer
    )
    engine.epoch_start()
    model[0].weight.grad = torch.tensor([[1e-3, 5e-4]])
    optimizer.step()
    assert model[0].weight.tolist() == [[pytest.approx(1.0), pytest.approx(0.95)]]


def test_3_pruned_entries_stay_zero_and_zero_initialised_parameters_train():
    model, engine = single([1.0, 2.0, 3.0, 4.0], schedule={"one-shot": {"final_sparsity": 0.5}}, regularizer="lobster")
    engine.epoch_end(loss=1.0, accuracy=0.5)
    engine.epoch_start()
    for _ in range(100):
        engine.optimizer.zero_grad()
        (model(torch.ones(1, 4)) - 1).square().sum().backward()
        engine.optimizer.step()
        assert model[0].weight[0, :2].tolist() == [0.0, 0.0]
    net = conv_net()
    both = {"lobster": {"include_bias": True, "include_norm": True}}
    engine = pruner(net, {"regularizer": both, **NEVER})
    engine.epoch_start()
    assert (net[1].bias == 0).all()
    nn.functional.cross_entropy(net(torch.randn(8, 3, 6, 6)), torch.arange(8) % 4).backward()
    engine.optimizer.step()
    assert (net[1].bias != 0).all()


@pytest.mark.parametrize(("bias", "norm"), itertools.product((False, True), repeat=2))
def test_which_parameters_shrink(bias, norm):
    net = conv_net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1.0)
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    recipe = {"regularizer": {"lobster": {"strength": 0.5, "include_bias": bias, "include_norm": norm}}, **NEVER}
    engine = pruner(net, recipe, optimizer=optimizer)
    engine.epoch_start()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = {name for name, parameter in net.named_parameters() if (parameter == 0.5).all()}
    expected = {"0.weight", "3.weight", "7.weight"}
    expected |= {"0.bias", "3.bias", "7.bias"} if bias else set()
    expected |= {"1.weight"} if norm else set()
    expected |= {"1.bias"} if bias and norm else set()
    assert shrunk == expected


def tolerance(loss, tolerance):
    """Eight weights 0.1 ... 0.8 pruned at one event by a stub loss of the pruned magnitudes; the pruner."""
    model = nn.Sequential(linear_of([k / 10 for k in range(1, 9)]))
    calls = []

    def evaluate(network):
        weights = network[0].weight.detach().double()
        calls.append(loss([k / 10 for k in range(1, 9) if weights[0, k - 1] == 0]))
        return calls[-1], 0.5

    recipe = {"schedule": {"loss-tolerance": {"tolerance": tolerance}}, "stopping": "every", "dense_epochs": 1}
    engine = pruner(model, {**recipe, "removal": "never"}, evaluate=evaluate)
    engine.epoch_end(loss=1.0, accuracy=0.5)
    return engine, calls


def test_4_threshold_search():
    engine, calls = tolerance(lambda pruned: 1 + sum(pruned), 0.35)
    assert engine.masks["0.weight"].tolist() == [[False] * 2 + [True] * 6]
    assert max(loss for loss in calls if loss <= 1.35) == pytest.approx(1.3)
    engine, calls = tolerance(lambda pruned: 1 + 0.01 * len(pruned), 0.015)
    assert engine.masks["0.weight"].tolist() == [[False] + [True] * 7]
    assert len(calls) <= 5
    engine, _ = tolerance(lambda pruned: 1.0, 0.0)  # a loss at the bound is not beyond it
    assert engine.live == 1


def test_the_search_ends_after_two_events_that_remove_nothing():
    model = nn.Sequential(linear_of([0.1, 0.2, 0.3]))
    recipe = {"schedule": {"loss-tolerance": {"tolerance": 0.0}}, "stopping": "every", "dense_epochs": 1}
    evaluate = lambda network: (1.0 + int((network[0].weight == 0).sum()), 0.5)
    engine = pruner(model, {**recipe, "removal": "never", "final_epochs": 1}, evaluate=evaluate, epochs=9)
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert not engine.exhausted
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.exhausted == "the loss tolerance leaves nothing to prune"
    assert engine.history.events == [] and engine.live == 3


def test_5_plateau_fires_at_the_sixth_value_and_restores_the_second_network():
    model = nn.Sequential(linear_of([1.0, 2.0, 3.0, 4.0]))
    recipe = {
        "schedule": {"per-round": {"rate": 0.25}},
        "stopping": {"slack-plateau": {"patience": 3}},
        "rewind": "best-state",
        "dense_epochs": 1,
        "removal": "never",
    }
    engine = pruner(model, recipe)
    for epoch, loss in enumerate([1.00, 0.90, 0.905, 0.95, 0.93, 0.92], start=1):
        with torch.no_grad():
            model[0].weight.fill_(0).add_(torch.tensor([[1.0, 2, 3, 4]]) * epoch)
        outcome = engine.epoch_end(loss=loss, accuracy=0.5)
        assert outcome.event == (epoch == 6)
    assert outcome.reason == "plateau"
    assert model[0].weight.tolist() == [[0.0, 4.0, 6.0, 8.0]]
    assert engine.states["rewind"] == {}


def test_5_a_value_inside_the_slack_is_not_bad_and_nan_is():
    part = SlackPlateau(patience=3)
    engine = single([1.0, 2.0])[1]

    def fires(losses):
        engine.history.losses, state = [], {}
        answers = []
        for loss in losses:
            engine.history.losses.append(loss)
            answers.append(part.ended(engine._context(), state))
        return [epoch for epoch, answer in enumerate(answers, start=1) if answer]

    nan = float("nan")
    assert fires([1.0, 0.9, 0.905, 0.95, 0.905, 0.95, 0.95]) == []
    assert fires([1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95]) == [5]
    assert fires([1.0, nan, nan, nan]) == [4]
    assert fires([1.0, 0.9, 0.95, 0.95, 0.95, 1.5, 1.6, 1.6, 1.6]) == [5, 9]


def test_6_loss_scaling_changes_nothing():
    values = []
    for scale in (1.0, 65_536.0):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 4))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        engine = pruner(model, {"regularizer": {"lobster": {"strength": 0.01}}, **NEVER}, optimizer=optimizer)
        engine.epoch_start()
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1.0)
        loss = nn.functional.cross_entropy(model(torch.ones(8, 6)), torch.arange(8) % 4)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        values.append(model[0].weight.detach().clone())
    assert torch.allclose(*values, atol=1e-6, rtol=0)


def test_7_metric():
    from prune_search.cost import cost_of

    model = nn.Sequential(nn.Linear(3, 4, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]])
    cost = cost_of(model, torch.ones(1, 3))
    assert cost.sparsity == 0.75
    assert (cost.params, 12 / cost.params) == (3, 4.0)
    rows = model[0].weight.abs().sum(1)
    assert len(rows) / int((rows != 0).sum()) == 2.0


@pytest.mark.parametrize(
    ("name", "expected"), [("l1", [0.5 - 0.1 * 0.3, -0.2 + 0.1 * 0.3, 0.0]), ("l2", [0.485, -0.194, 0.0])]
)
def test_penalties_add_to_the_gradient(name, expected):
    model = nn.Sequential(linear_of([0.5, -0.2, 0.0]))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    engine = pruner(model, {"regularizer": {name: {"strength": 0.3}}, **NEVER}, optimizer=optimizer)
    engine.epoch_start()
    model[0].weight.grad = torch.zeros(1, 3)
    optimizer.step()
    assert model[0].weight.flatten().tolist() == pytest.approx(expected, abs=1e-7)
