"""Presets that prune before the first epoch, in the user's own loop."""

import pytest
import torch
from pruning.nets import pruner, small_net
from torch import nn

from prune_search import prune
from prune_search.errors import UserError
from prune_search.pruning.context import Passes
from prune_search.pruning.recipe import resolve


def loader(number):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(32, 8, generator=generator), torch.arange(32) % 4) for _ in range(number)]


@pytest.mark.parametrize(
    ("preset", "passes"), [("snip", Passes(40, 40)), ("grasp", Passes(80, 200)), ("synflow", Passes(100, 100))]
)
def test_presets_prune_at_the_start_and_count_their_passes(preset, passes):
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    inputs = {"loss": nn.functional.cross_entropy, "batches": loader, "example_input": torch.zeros(1, 8)}
    engine = prune(model, {"preset": preset, "floor": 0.05}, optimizer=optimizer, epochs=3, **inputs)
    assert engine.epoch_start() == passes
    assert engine.live == 37
    masks = {name: mask.clone() for name, mask in engine.masks.items()}
    for _ in range(3):
        assert engine.epoch_start() == Passes()
        for images, labels in loader(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        outcome = engine.epoch_end(loss=1.0, accuracy=0.5)
        assert outcome.finished == (engine.history.epoch == 3) and not outcome.event
    assert engine.exhausted == "no further event"
    assert all(torch.equal(masks[name], mask) for name, mask in engine.masks.items())
    assert sum(int(weight.count_nonzero()) for weight in engine._context().weights().values()) == 37


def test_channels_that_go_at_the_start_are_never_trained():
    start = {"score": "random", "schedule": {"one-shot": {"final_sparsity": 0.5}}, "distribution": "uniform"}
    recipe = {"preset": "dense", "granularity": "channel", "at_start": start}
    inputs, engines = torch.randn(5, 8), []
    for removal in ("never", "at-events"):
        engines.append(pruner(small_net(), {**recipe, "removal": removal}, example_input=inputs))
        engines[-1].epoch_start()
    masked, removed = engines
    assert removed.model[0].out_features < 16 == masked.model[0].out_features
    assert masked.live == removed.live == sum(mask.numel() for mask in removed.masks.values())
    assert torch.allclose(removed.model(inputs), masked.model(inputs), atol=1e-6)
    assert {id(p) for p in removed.model.parameters()} == {id(p) for p in removed.optimizer.param_groups[0]["params"]}


def test_iterations_score_anew():
    """SynFlow of one step ranks the dense network only; of more, what the steps before left."""
    masks = []
    for iterations in (1, 20):
        recipe = {"preset": "synflow", "at_start": {"iterations": iterations}, "floor": 0.05}
        engine = pruner(small_net(), recipe, example_input=torch.zeros(1, 8))
        engine.start()
        masks.append(torch.cat([mask.flatten() for mask in engine.masks.values()]))
    assert masks[0].sum() == masks[1].sum() == 37
    assert not torch.equal(*masks)


def test_prune_takes_a_probe_and_names_what_is_missing():
    asked = []

    def probe(images=None, *, per_class=None):
        asked.append((images, per_class))
        return loader(1)[0]

    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recipe = {"preset": "snip", "at_start.score": {"snip": {"images_per_class": 7}}, "floor": 0.05}
    prune(model, recipe, optimizer=optimizer, epochs=2, loss=nn.functional.cross_entropy, probe=probe).start()
    assert asked == [(None, 7)]
    with pytest.raises(UserError, match=r"score 'synflow' needs example_input. Give prune\(..., example_input=...\)"):
        prune(model, "synflow", optimizer=optimizer, epochs=2)
    with pytest.raises(UserError, match="score 'grasp' needs loss and batches"):
        prune(model, "grasp", optimizer=optimizer, epochs=2)


def test_a_presets_sparsity_and_iterations_can_be_replaced():
    recipe = resolve({"preset": "synflow", "at_start.schedule.final_sparsity": 0.99, "at_start": {"iterations": 20}})
    assert (recipe.at_start.score.name, recipe.at_start.schedule.final_sparsity) == ("synflow", 0.99)
    assert recipe.at_start.iterations == 20
