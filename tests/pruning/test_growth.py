"""Dynamic sparse training: SET and RigL."""

import math

import pytest
import torch
from pruning.nets import lenet300, linear_of, pruner
from torch import nn

EVERY = {"stopping": "every", "dense_epochs": 1, "final_epochs": 1, "removal": "never", "schedule": "constant"}
START = {"score": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.5}}, "distribution": "global"}


def exchange(growth, values=tuple(range(1, 11)), gradient=None, epochs=5):
    """One layer of ten weights at 50 %, after one event."""
    model = nn.Sequential(linear_of([float(v) for v in values]))
    optimizer = torch.optim.SGD(model.parameters(), 0.0, momentum=0.9)
    inputs = torch.tensor([gradient or [1.0] * 10])
    engine = pruner(
        model,
        {**EVERY, "growth": growth, "at_start": START},
        epochs=epochs,
        optimizer=optimizer,
        loss=lambda outputs, labels: outputs.sum(),
        batches=lambda n: [(inputs, torch.zeros(1, dtype=torch.long))] * n,
    )
    engine.epoch_start()
    model[0].weight.grad = torch.ones(1, 10)
    optimizer.step()
    outcome = engine.epoch_end(loss=1.0, accuracy=0.5)
    return model, engine, outcome


def test_set_drops_the_smallest_and_grows_as_many():
    model, engine, outcome = exchange({"random": {"fraction": 0.4}})
    mask = engine.masks["0.weight"][0]
    assert outcome.event and engine.live == 5
    assert mask[7:].all()  # 8, 9, 10 were not dropped
    assert engine.history.live_after_masking == [5, 5]


def test_rigl_grows_where_the_gradient_is_largest():
    gradient = [0.1, 0.9, 0.2, -0.8, 0.3, 5.0, 5.0, 0.0, 0.0, 0.0]
    model, engine, outcome = exchange({"gradient": {"fraction": 0.8, "images": 1}}, gradient=gradient, epochs=2)
    # one possible event epoch: progress 1, nothing is exchanged
    assert engine.masks["0.weight"].tolist() == [[False] * 5 + [True] * 5]
    model, engine, outcome = exchange({"gradient": {"fraction": 0.8, "images": 1}}, gradient=gradient, epochs=3)
    # half-way: 0.4 of 5 drop (6 and 7), and come back: their gradients are the largest
    assert engine.masks["0.weight"].tolist() == [[False] * 5 + [True] * 5]
    gradient[5:7] = [0.0, 0.0]
    model, engine, outcome = exchange({"gradient": {"fraction": 0.8, "images": 1}}, gradient=gradient, epochs=3)
    assert engine.masks["0.weight"].tolist() == [[False, True, False, True, False, False, False, True, True, True]]
    assert model[0].weight.tolist() == [[0, 0, 0, 0, 0, 0, 0, 8, 9, 10]]
    momentum = engine.optimizer.state[model[0].weight]["momentum_buffer"][0]
    assert momentum[[1, 3]].tolist() == [0.0, 0.0] and momentum[8] == 1.0
    assert outcome.passes == (1, 1)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.3), (5, 0.15), (10, 0.0)])
def test_rigl_fraction_falls_as_a_cosine(epoch, expected):
    engine = pruner(lenet300(), {"preset": "rigl", "dense_epochs": 1, "final_epochs": 2}, 12, **_inputs())
    engine.history.losses = [1.0] * epoch
    assert engine.recipe.growth.share(engine.history) == pytest.approx(expected, abs=1e-12)
    assert engine.history.progress == epoch / 10


def _inputs():
    batch = (torch.randn(64, 784, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10)
    return {"loss": nn.functional.cross_entropy, "batches": lambda n: [batch] * n}


@pytest.mark.parametrize("preset", ["set", "rigl"])
def test_layers_keep_their_erk_counts_through_all_events(preset):
    engine = pruner(lenet300(), preset, epochs=8, **_inputs())
    counts, masks = [], []
    for _ in range(8):
        engine.epoch_start()
        engine.optimizer.zero_grad()
        batch = next(iter(engine.batches(1)))
        engine.loss(engine.model(batch[0]), batch[1]).backward()
        engine.optimizer.step()
        engine.epoch_end(loss=1.0, accuracy=0.5)
        counts.append([int(mask.sum()) for mask in engine.masks.values()])
        masks.append(engine.masks["1.weight"])
    assert counts == [[18_714, 6_906, 1_000]] * 8
    assert engine.history.events == ([1, 2, 3, 4, 5, 6] if preset == "set" else [1, 2, 3, 4, 5])
    changed = [int((a != b).sum()) for a, b in zip(masks, masks[1:])]
    if preset == "set":
        assert all(0.5 * 2 * 0.3 * 18_714 < count <= 2 * round(0.3 * 18_714) for count in changed[:5])
    else:
        bounds = [2 * round(0.15 * (1 + math.cos(math.pi * e / 6)) * 18_714) for e in range(2, 7)]
        assert all(count <= bound for count, bound in zip(changed, bounds))
        assert changed[0] > changed[3] > changed[4] == 0


def test_growth_on_a_falling_schedule_keeps_the_schedules_counts():
    recipe = {"schedule": {"linear": {"final_sparsity": 0.8}}, "growth": "random", "dense_epochs": 1}
    engine = pruner(lenet300(), {**recipe, "final_epochs": 2, "stopping": "every"}, epochs=6)
    for _ in range(6):
        engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.history.live_after_masking == [round(266_200 * (1 - 0.2 * k)) for k in range(1, 5)]
