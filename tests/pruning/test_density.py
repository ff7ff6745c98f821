"""Activation density: what is counted, what sizes follow, when a round ends, and that shrinking keeps the function."""

import copy
import math

import pytest
import torch
from pruning.nets import pruner
from torch import nn
from torch.nn import functional as F

from prune_search.pruning.context import Passes, measurements
from prune_search.pruning.density import densities, proposed
from prune_search.pruning.history import History
from prune_search.pruning.registry import parts

PRESET = {"preset": "activation-density", "round": {"min_epochs": 1}, "dense_epochs": 1, "final_epochs": 1}


def engine_of(model, inputs, epochs=10, **recipe):
    probe = lambda images, **_: (inputs[:images], None)
    return pruner(model, {**PRESET, **recipe}, epochs, probe=probe, example_input=inputs)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(inplace=True), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))


def test_1_counts_are_summed_over_batches_and_taken_behind_the_activation(monkeypatch):
    """128 images with 6,400 of 12,800 entries, then 32 with 320 of 3,200: 0.42, not the mean 0.30 of 0.5 and 0.1."""
    monkeypatch.setattr("prune_search.pruning.measurement.density.BATCH", 128)
    model = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 2))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[:50, 0] = 1.0
        model[0].weight[:10, 1] = 1.0
        model[0].bias.zero_()
    inputs = torch.tensor([[1.0, 0.0]] * 128 + [[0.0, 1.0]] * 32)
    context = engine_of(model, inputs)._context()
    values, passes = measurements()["density"].take(context, images=160)
    assert (int(values.nansum() * 160), passes) == (6720, Passes(forward=160))
    assert list(densities(context, 160).values()) == [pytest.approx(0.42)]


def test_1_half_of_what_batch_norm_gives_and_not_behind_the_pool():
    torch.manual_seed(0)
    layers = []
    for width_in, width in ((3, 16), (16, 16), (16, 16)):
        layers += [nn.Conv2d(width_in, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 4))
    inputs = torch.randn(64, 3, 16, 16)
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    model(inputs)
    found = densities(engine_of(model, inputs)._context(), 64)
    assert len(found) == 3
    assert all(0.45 < value < 0.55 for value in found.values())


def test_activations_without_zeros_count_from_a_hundredth_of_their_root_mean_square():
    model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [1.0], [1e-4], [1.0]]))
        model[0].bias.zero_()
    context = engine_of(model, torch.ones(3, 1))._context()
    assert densities(context, 3).popitem()[1] == 0.75


def test_convolutions_of_signals_get_the_widths_of_the_same_ones_on_maps():
    torch.manual_seed(0)
    layers = [nn.Conv1d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 12, 3, padding=1), nn.ReLU()]
    signals = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 4))
    layers = [nn.Conv2d(3, 8, (1, 3), padding=(0, 1)), nn.ReLU(), nn.Conv2d(8, 12, (1, 3), padding=(0, 1)), nn.ReLU()]
    maps = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))
    maps.load_state_dict({name: value.view_as(maps.state_dict()[name]) for name, value in signals.state_dict().items()})
    inputs = torch.randn(64, 3, 16)
    engines = engine_of(signals, inputs), engine_of(maps, inputs[:, :, None])
    found = [engine.recipe.schedule.remaining(engine._context(), {}) for engine in engines]
    assert found[0] == found[1] and len(found[0]) == 2


@pytest.mark.parametrize(
    ("width", "density", "exponent", "least", "expected"),
    [
        (64, 0.42, 1, 4, 27),
        (512, 0.10, 1, 4, 51),
        (5, 0.5, 1, 1, 3),
        (8, 0.002, 1, 4, 4),
        (64, 1.0, 1, 4, 64),
        (3, 0.5, 1, 4, 3),
        (64, 0.25, 0.5, 4, 32),
    ],
)
def test_2_size_rule(width, density, exponent, least, expected):
    assert proposed(width, density, exponent, least) == expected


class Fixed:
    """A context whose groups have given densities, epoch by epoch."""

    def __init__(self, monkeypatch, rows):
        self.history, self.rows = History(epochs=99, first=1, last=90, total=1), rows
        monkeypatch.setattr(
            "prune_search.pruning.stopping.density_saturation.densities",
            lambda context, images: dict(enumerate(rows[context.history.epoch - 1])),
        )

    def fires(self, **options):
        stop, state, fired = parts("stopping")["density-saturation"](**options), {}, []
        for epoch in range(1, len(self.rows) + 1):
            self.history.losses.append(1.0)
            if stop.ended(self, state):
                fired.append(epoch)
        return fired


FALLING = [0.50, 0.46, 0.43, 0.42, 0.415, 0.412, 0.411]


def test_3_saturation(monkeypatch):
    assert Fixed(monkeypatch, [[value] for value in FALLING]).fires() == [6, 7]
    both = [[value, (0.3, 0.4)[i % 2]] for i, value in enumerate(FALLING)]
    assert Fixed(monkeypatch, both).fires() == []
    assert Fixed(monkeypatch, both).fires(quorum=0.5) == [6, 7]


def test_3_an_event_empties_the_window_and_a_time_out_ends_a_round():
    model, inputs = mlp(), torch.randn(32, 6)
    engine = engine_of(model, inputs, 20, schedule={"density": {"least_width": 1}}, max_events=9)
    events = [epoch for epoch in range(1, 13) if engine.epoch_end(loss=1.0, accuracy=0.5).event]
    assert events[:2] == [3, 6]  # weights do not move: three epochs make a window
    engine = engine_of(mlp(), inputs, 20, stopping={"density-saturation": {"window": 8}}, round={"max_epochs": 4})
    events = [epoch for epoch in range(1, 8) if engine.epoch_end(loss=1.0, accuracy=0.5).event]
    assert events == [4] and engine.history.reasons == ["longest round"]


def test_4_5_dead_channels_go_and_the_rest_stays_in_order():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, 2)
    )  # fmt: skip
    with torch.no_grad():
        model[1].bias[[1, 4, 6]] = -50
    model.eval()
    inputs = torch.randn(16, 3, 6, 6)
    before, filters = model(inputs), model[0].weight.detach().clone()
    context = engine_of(model, inputs)._context()
    values = measurements()["density"].take(context, images=16)[0]
    assert (values[[1, 4, 6]] == 0).all() and (values[[0, 2, 3, 5, 7]] > 0.3).all()
    schedule = {"density": {"exponent": math.log(5 / 8) / math.log(values[:8].mean())}}
    engine = engine_of(model, inputs, stopping="every", recalibrate_batchnorm=0, schedule=schedule)
    assert engine.epoch_end(loss=1.0, accuracy=0.5).removed
    assert torch.equal(model[0].weight, filters[[0, 2, 3, 5, 7]])
    assert torch.allclose(model(inputs), before, atol=1e-6)


def test_channels_are_chosen_by_density_then_norm_then_place():
    model = nn.Sequential(nn.Linear(1, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [-1.0], [2.0], [1.0]]))
    inputs = torch.tensor([[1.0], [1.0], [-1.0]])
    engine = engine_of(model, inputs)
    score = engine.recipe.score.score(engine._context(), {})["0.weight"].flatten()
    assert score.argsort(descending=True).tolist() == [2, 0, 3, 1]


def test_channels_without_an_activation_stay_longest():
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.fill_(9.0)
        model[2].weight.fill_(1.0)
    engine = engine_of(model, torch.ones(3, 1))
    score = engine.recipe.score.score(engine._context(), {})
    assert score["0.weight"].max() < score["2.weight"].min()


class Stream(nn.Module):
    """A residual stream of 8 channels with a block-internal width of 12."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 3, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.b(F.relu(self.a(x))))
        return self.head(x.mean((2, 3)))


def test_7_a_residual_stream_is_one_group_with_pooled_counts():
    torch.manual_seed(0)
    model, inputs = Stream(), torch.randn(8, 3, 4, 4)
    context = engine_of(model, inputs)._context()
    with torch.no_grad():
        first = F.relu(model.stem(inputs))
        inner = F.relu(model.a(first))
        last = F.relu(first + model.b(inner))
    expected = {
        "stream": float(torch.cat([first, last]).ne(0).double().mean()),
        "inner": float(inner.ne(0).double().mean()),
    }
    found = {"inner" if name.startswith("a.") else "stream": value for name, value in densities(context, 8).items()}
    assert found == pytest.approx(expected)


def test_6_training_goes_on_in_the_smaller_network():
    torch.manual_seed(0)
    model, inputs, labels = Stream(), torch.randn(16, 3, 4, 4), torch.arange(16) % 2
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    probe = lambda images, **_: (inputs, labels)
    engine = pruner(model, {**PRESET, "stopping": "every", "schedule": {"density": {"least_width": 2}}}, 6, optimizer, probe=probe, example_input=inputs)  # fmt: skip
    before = copy.deepcopy(model)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    momentum = optimizer.state[model.a.weight]["momentum_buffer"].clone()
    assert engine.epoch_end(loss=1.0, accuracy=0.5).removed
    assert (model.stem.out_channels, model.b.out_channels) != (8, 8) or model.a.out_channels < 12
    assert model.stem.out_channels == model.b.out_channels == model.head.in_features
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert optimizer.state[model.a.weight]["momentum_buffer"].shape == model.a.weight.shape != momentum.shape
    after = copy.deepcopy(model.state_dict())
    optimizer.zero_grad()
    F.cross_entropy(model(inputs), labels).backward()
    optimizer.step()
    assert not any(torch.equal(value, after[name]) for name, value in model.state_dict().items() if "weight" in name)
    assert all(value > 0 for value in densities(engine._context(), 16).values())
    assert before.stem.out_channels == 8
