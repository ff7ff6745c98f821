"""DyPrune: the property tests of its specification, with its numbers."""

import math

import pytest
import torch
from pruning.nets import lenet300, pruner, single

from prune_search.pruning.masking import CollapsedLayer
from prune_search.pruning.recipe import resolve
from prune_search.pruning.schedule.size_scaled import rate
from prune_search.pruning.stopping.loss_gradient import flat

EVERY_3 = {"preset": "dyprune", "stopping": {"every": {"epochs": 3}}, "removal": "at-end"}


@pytest.mark.parametrize(
    ("live", "expected", "removed"),
    [
        (403, 0.0, 0),
        (404, 0.000141, 0),
        (1_000, 0.090776, 91),
        (10_000, 0.321034, 3_210),
        (266_200, 0.649200, 172_817),
        (1_000_000, 0.781551, 781_551),
        (2_794_000, 0.884298, 2_470_730),
        (3_269_017, 0.89999999, 2_942_115),
        (20_024_000, 0.9, 18_021_600),
    ],
)
def test_t1_rate_table(live, expected, removed):
    assert rate(live) == pytest.approx(expected, abs=1e-6)
    assert round(rate(live) * live) == removed


def events(losses, period=None, **options):
    """Epochs after which the trigger fires, the last epoch being kept free."""
    fired = []
    for epoch in range(1, len(losses)):
        seen = losses[:epoch]
        if period is None:
            fires = flat(seen, fired, **options)
        else:
            fell = any(b < a for a, b in zip(seen, seen[1:]))
            fires = fell and epoch > 1 and (epoch - 1) % period == 0
        if fires:
            fired.append(epoch)
    return fired


@pytest.mark.parametrize(
    ("losses", "expected", "options"),
    [
        ([1.0, 0.6, 0.59, 0.585, 0.58, 0.575, 0.57, 0.565, 0.56, 0.555], [3, 6, 9], {}),
        ([1.0, 0.6, 0.61, 0.60, 0.50, 0.499, 0.52, 0.51], [4], {}),
        ([1.0, 1.1, 1.2, 1.15, 1.149, 1.14], [5], {}),
        ([1.0] + [0.6] * 8, [3, 6], {}),
        ([1.0, 0.8, 0.795, 1.3, 0.7, 0.688, 0.68, 0.675, 0.67], [3, 6], {}),
        ([1.0, 0.8, 0.795, 1.3, 0.7, 0.688, 0.68, 0.675, 0.67], [3, 7], {"reference": "exclude_cooldown"}),
    ],
)
def test_t2_trigger(losses, expected, options):
    assert events(losses, **options) == expected


def run(recipe, losses):
    """Drive the real engine over given losses; the epochs of its events."""
    engine = pruner(lenet300(), recipe, epochs=len(losses))
    for loss in losses:
        engine.epoch_start()
        engine.epoch_end(loss=loss, accuracy=0.5)
    return engine.history.events


def test_t2_through_the_engine_the_last_epoch_stays_free():
    assert run("dyprune-authors", [1.0] + [0.6] * 8) == [3, 6]
    assert run("dyprune-authors", [1.0, 0.6, 0.59, 0.585, 0.58, 0.575, 0.57, 0.565, 0.56, 0.555]) == [3, 6, 9]


def test_t2_static_schedule_waits_for_a_first_fall():
    losses = [1.0, 1.1, 1.2, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8]
    assert run({"preset": "dyprune-authors", "stopping": {"periodic": {"period": 2}}}, losses) == [5, 7]


@pytest.mark.parametrize("at", range(8))
def test_t2_nan_neither_raises_nor_fires(at):
    losses = [1.0, 0.6, 0.59, 0.585, 0.58, 0.575, 0.57, 0.565]
    losses[at] = math.nan
    assert at + 1 not in events(losses)


def test_t5_live_counts_on_lenet_300_100():
    engine = pruner(lenet300(), {**EVERY_3, "final_epochs": 1, "round": {"max_epochs": None}}, epochs=24)
    for _ in range(24):
        engine.epoch_start()
        engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.history.total == 266_200
    assert engine.history.live_after_masking == [93_383, 42_541, 22_724, 13_564, 8_796, 6_085, 4_434]
    assert engine.history.events == [3, 6, 9, 12, 15, 18, 21]


def test_t5_only_live_weights_are_ranked():
    model, engine = single([float(i) for i in range(1, 11)], schedule={"per-round": {"rate": 0.5}}, stopping="every")
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert model[0].weight.tolist() == [[0, 0, 0, 0, 0, 6, 7, 8, 9, 10]]
    model[0].weight.data *= 10
    engine.recipe = resolve({**engine.recipe.values(), "schedule": {"per-round": {"rate": 1 - math.sqrt(0.3)}}})
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert model[0].weight[model[0].weight != 0].tolist() == [80, 90, 100]


def test_t5_the_stale_pool_of_the_authors_removes_less():
    share = {"a": 0.0, "b": 4.6051701859880913682, "max_rate": 0.5, "pool": "stale"}  # half of 10, then 0.4 of 5
    model, engine = single([float(i) for i in range(1, 11)], schedule={"size-scaled": share}, stopping="every")
    engine.epoch_end(loss=1.0, accuracy=0.5)
    model[0].weight.data *= 10
    outcome = engine.epoch_end(loss=1.0, accuracy=0.5)
    assert not outcome.event
    assert engine.live == 5


def test_t6_floor_and_ties():
    model = torch.nn.Sequential(torch.nn.Linear(1000, 1, bias=False), torch.nn.Linear(1, 1000, bias=False))
    torch.nn.init.constant_(model[0].weight, 0.001)
    torch.nn.init.constant_(model[1].weight, 1.0)
    recipe = {
        "preset": "magnitude",
        "schedule": {"one-shot": {"final_sparsity": 0.5}},
        "dense_epochs": 1,
        "removal": "never",
    }
    engine = pruner(model, {**recipe, "floor": 0.01})
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert [int((layer.weight != 0).sum()) for layer in model] == [10, 990]


def test_t6_without_a_floor_a_collapsed_layer_has_a_name():
    model = torch.nn.Sequential(torch.nn.Linear(10, 1, bias=False), torch.nn.Linear(1, 10, bias=False))
    torch.nn.init.constant_(model[0].weight, 0.001)
    engine = pruner(model, {"schedule": {"one-shot": {"final_sparsity": 0.5}}, "dense_epochs": 1})
    with pytest.raises(CollapsedLayer, match="0.weight"):
        engine.epoch_end(loss=1.0, accuracy=0.5)


def test_t7_no_event_where_the_rate_is_zero():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(13, 31, bias=False))  # 403 weights
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    engine = pruner(model, {**EVERY_3, "rewind": {"none": {"optimizer": "fresh"}}}, epochs=20, optimizer=optimizer)
    model(torch.randn(2, 13)).sum().backward()
    optimizer.step()
    before, buffer = model[0].weight.clone(), optimizer.state[model[0].weight]["momentum_buffer"].clone()
    outcomes = [engine.epoch_end(loss=1.0, accuracy=0.5) for _ in range(10)]
    assert not any(outcome.event for outcome in outcomes)
    assert torch.equal(model[0].weight, before)
    assert torch.equal(optimizer.state[model[0].weight]["momentum_buffer"], buffer)
    assert engine.history.events == []


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ((784, 1000, 1000, 1000, 10), [323_270, 107_124, 47_330, 24_778, 14_575, 9_347, 6_409, 4_637]),
    ],
)
def test_section_10_reference_sequence(sizes, counts):
    live = sum(a * b for a, b in zip(sizes, sizes[1:]))
    seen = []
    for _ in counts:
        live -= round(rate(live) * live)
        seen.append(live)
    assert seen == counts


def test_the_preset_has_a_longest_round_of_three_epochs_at_least():
    engine = pruner(lenet300(), {"preset": "dyprune", "removal": "at-end"}, epochs=25)
    for epoch in range(25):
        engine.epoch_start()
        engine.epoch_end(loss=1.0 + epoch, accuracy=0.5)  # the loss never falls: the bare trigger never fires
    assert engine.history.events == [3, 6, 9, 12, 15]
    assert engine.history.reasons == ["longest round"] * 5
