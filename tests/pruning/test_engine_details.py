"""The engine in exact numbers on a few weights: its clock, pruning at the start, its state, and what parts are told."""

import copy
import math

import pytest
import torch
from pruning.nets import linear_of, pruner, small_net
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from prune_search.errors import UserError
from prune_search.pruning import pruner as engine_module
from prune_search.pruning.backpropagation import Backward
from prune_search.pruning.context import Done, Passes, Pool, Units, apportion, measurement
from prune_search.pruning.growth.none import NoGrowth
from prune_search.pruning.registry import Part, part, parts
from prune_search.pruning.regularizing import Regularizer
from prune_search.pruning.rewinding import Rewind
from prune_search.pruning.selection import select
from prune_search.removal import RemovalError, apply

ONE_TO_TEN = [float(i) for i in range(1, 11)]
HALF = {"one-shot": {"final_sparsity": 0.5}}
FIFTH = {"per-round": {"rate": 0.2}}
PLAIN = {"preset": "magnitude", "dense_epochs": 1, "final_epochs": 1, "removal": "never"}


def tiny(values, epochs=8, optimizer=None, **recipe):
    """A model of one Linear without bias, with these weights, and its pruner; an event every epoch."""
    model = nn.Sequential(linear_of(values))
    return model, pruner(model, {**PLAIN, **recipe}, epochs=epochs, optimizer=optimizer)


def go(engine, epochs, accuracies=None, losses=None):
    """Epochs without training; their outcomes."""
    outcomes = []
    for epoch in range(epochs):
        engine.epoch_start()
        loss, accuracy = losses[epoch] if losses else 1.0, accuracies[epoch] if accuracies else 0.5
        outcomes.append(engine.epoch_end(loss=loss, accuracy=accuracy))
    return outcomes


def step(model, engine, inputs):
    engine.optimizer.zero_grad()
    model(inputs).sum().backward()
    engine.optimizer.step()


def alive(engine):
    return engine.masks["0.weight"].flatten().nonzero().flatten().tolist()


# The clock


def test_lengths_of_zero_leave_the_first_and_the_last_epoch():
    schedule = {"linear": {"final_sparsity": 0.5}}
    _, engine = tiny([1.0] * 8, epochs=5, schedule=schedule, dense_epochs=0, final_epochs=0)
    outcomes = go(engine, 5)
    assert engine.history.events == [1, 2, 3, 4]
    assert engine.history.live_after_masking == [7, 6, 5, 4]
    assert [outcome.finished for outcome in outcomes] == [False] * 4 + [True]
    assert outcomes[-1].reason == "epochs"


@pytest.mark.parametrize("recipe", ["dense", {"preset": "dense", "max_events": 0, "schedule": FIFTH}])
def test_a_recipe_without_any_event_trains_to_the_cap(recipe):
    engine = pruner(nn.Sequential(linear_of(ONE_TO_TEN)), recipe, epochs=8)
    assert [outcome.finished for outcome in go(engine, 8)] == [False] * 7 + [True]
    assert (engine.history.events, engine.live) == ([], 10)


def test_one_shot_has_one_event_and_ends_when_the_window_does():
    _, engine = tiny(ONE_TO_TEN, schedule=HALF, final_epochs=3)
    outcomes = go(engine, 5)
    assert engine.history.events == [1]
    assert [outcome.event for outcome in outcomes] == [True, False, False, False, False]
    assert [outcome.finished for outcome in outcomes] == [False, False, False, False, True]
    assert outcomes[-1].reason == "final sparsity reached"


def test_a_schedule_that_stands_still_has_not_ended():
    _, engine = tiny([1.0, 2.0, 3.0, 4.0], epochs=9, schedule={"linear": {"final_sparsity": 0.5}})
    go(engine, 9)
    assert engine.history.live_after_masking == [3, 2]
    assert engine.history.events == [3, 6]


def test_counts_are_rounded_not_cut():
    _, engine = tiny(ONE_TO_TEN, schedule={"one-shot": {"final_sparsity": 0.24}})
    go(engine, 1)
    assert engine.live == 8


def test_the_longest_round_yields_to_the_shortest():
    _, engine = tiny(ONE_TO_TEN, epochs=12, schedule=FIFTH, stopping={"every": {"epochs": 9}},
                     round={"min_epochs": 4, "max_epochs": 2})  # fmt: skip
    go(engine, 12)
    assert engine.history.events == [4, 8]
    assert engine.history.reasons == ["longest round"] * 2


def test_a_round_that_ends_by_itself_at_its_longest_has_its_own_reason():
    _, engine = tiny(ONE_TO_TEN, schedule=FIFTH, stopping={"every": {"epochs": 3}}, round={"max_epochs": 3})
    go(engine, 4)
    assert engine.history.reasons == ["epochs"]


def test_a_round_in_fractions_of_the_trial():
    _, engine = tiny(ONE_TO_TEN, epochs=12, schedule=FIFTH, stopping={"every": {"epochs": 0.25}})
    go(engine, 12)
    assert engine.history.events == [3, 6, 9]


def test_the_gate_is_at_the_best_accuracy_before_the_first_event():
    _, engine = tiny([1.0] * 100, schedule=FIFTH, dense_epochs=2, round={"accuracy_gate": 0.25})
    go(engine, 8, accuracies=[0.5, 0.75, 1.0, 0.5, math.nan, 0.49, 0.5, 0.5])
    assert engine.history.events == [2, 3, 4, 7]


def test_planned_rounds():
    """What learning rates over rounds are stretched to, before each epoch; with ends of rounds in the comments."""

    def planned(epochs, **recipe):
        _, engine = tiny([1.0] * 100, epochs=epochs, **recipe)
        seen = []
        for _ in range(epochs):
            seen.append(engine.clock("round")[1])
            if go(engine, 1)[0].finished:
                break
        return seen

    two = {"stopping": {"every": {"epochs": 2}}, "dense_epochs": 3, "final_epochs": 2}
    linear = {"linear": {"final_sparsity": 0.9}}
    assert planned(12, schedule=linear, **two) == [3] * 3 + [2] * 6 + [1] + [2] * 2  # 3, 5, 7, 9, 10
    assert planned(6, schedule=linear, round={"min_epochs": 2}) == [2, 2, 2, 2, 1, 1]  # 2, 4, 5
    assert planned(7, schedule=FIFTH, stopping={"every": {"epochs": 4}}, round={"max_epochs": 2}) == [2] * 6 + [1]
    assert planned(6, schedule=linear, stopping="plateau") == [5] * 3 + [2] * 2 + [1]  # 3, 5
    assert planned(9, schedule=FIFTH, stopping="plateau", final_epochs=4)[:5] == [5] * 3 + [2] * 2  # 3, then up to 5


def test_planned_rounds_reach_the_end_of_the_trial():
    """A round that no event can end any more is as long as the trial goes on."""
    _, engine = tiny([1.0] * 100, 12, schedule=FIFTH, stopping={"every": {"epochs": 2}}, dense_epochs=3,
                     final_epochs=2)  # fmt: skip
    go(engine, 9)
    assert engine.history.events == [3, 5, 7, 9]
    assert engine.clock("round") == (0, 12 - 9)
    _, engine = tiny([1.0] * 100, 12, schedule=FIFTH, max_events=1, final_epochs=4)
    outcomes = go(engine, 5)
    assert (engine.history.events, engine.clock("round")) == ([1], (4, 4))
    assert [outcome.finished for outcome in outcomes] == [False] * 4 + [True]
    _, engine = tiny([1.0] * 100, 12, schedule="size-scaled")  # the rate is 0 from the start
    go(engine, 2)
    assert engine.clock("round") == (2, 12)


def test_an_event_that_would_change_nothing_is_none():
    _, engine = tiny(ONE_TO_TEN, schedule={"per-round": {"rate": 0.5}}, floor=0.5)
    assert [outcome.event for outcome in go(engine, 3)] == [True, False, False]
    assert engine.history.events == [1]


# Pruning at the start


def at_start(**changes):
    return {"preset": "dense", "at_start": {"score": "magnitude", "schedule": HALF, **changes}}


def test_pruning_at_the_start_happens_once_and_holds():
    model = nn.Sequential(linear_of(ONE_TO_TEN))
    engine = pruner(model, at_start(), epochs=3)
    for _ in range(2):
        engine.epoch_start()
        step(model, engine, torch.ones(1, 10))
        engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.history.live_after_masking == [5]
    assert engine.history.events == []
    assert alive(engine) == [5, 6, 7, 8, 9]
    assert model[0].weight[0, :5].tolist() == [0.0] * 5

    again = pruner(nn.Sequential(linear_of(ONE_TO_TEN[::-1])), at_start(), epochs=3)
    again.load_state_dict(engine.state_dict())
    again.epoch_start()
    assert again.history.live_after_masking == [5]
    assert alive(again) == [5, 6, 7, 8, 9]


def test_pruning_at_the_start_has_its_own_score_distribution_and_progress(own):
    model = nn.Sequential(linear_of([1.0, 2.0, 3.0, 4.0]), nn.ReLU(), nn.Linear(1, 4, bias=False))
    model[2].weight.data = torch.tensor([[5.0], [6.0], [7.0], [8.0]])
    engine = pruner(model, {**at_start(distribution="uniform"), "score": "random", "distribution": "global"}, epochs=3)
    engine.start()
    assert [mask.flatten().tolist() for mask in engine.masks.values()] == [[False, False, True, True]] * 2

    seen = []

    @part("score", "spy", source="a test")
    class Score(Part):
        """Magnitude."""

        def score(self, context, state):
            seen.append(context.live)
            return {name: weight.abs() for name, weight in context.weights().items()}

    recipe = at_start(score="spy", schedule={"linear": {"final_sparsity": 0.9}}, iterations=3)
    engine = pruner(nn.Sequential(linear_of(ONE_TO_TEN)), recipe, epochs=3)
    engine.start()
    assert [*seen, engine.live] == [10, 7, 4, 1]


# What is drawn, and what is kept


def test_draws_follow_the_seed_and_the_epoch():
    def first_masks(seed, dense_epochs=1):
        model = nn.Sequential(linear_of([1.0] * 64))
        recipe = {**PLAIN, "score": "random", "schedule": HALF, "dense_epochs": dense_epochs}
        engine = pruner(model, recipe, epochs=8, seed=seed)
        torch.manual_seed(dense_epochs)
        go(engine, dense_epochs)
        return alive(engine)

    assert first_masks(1) == first_masks(1) != first_masks(2)
    assert first_masks(1) != first_masks(1, dense_epochs=2)


def test_redrawn_biases_follow_the_seed_and_the_inputs():
    def biases(seed):
        model = nn.Sequential(nn.Linear(4, 100))
        torch.manual_seed(seed)
        recipe = {**PLAIN, "schedule": HALF, "rewind": {"none": {"biases": "redrawn"}}}
        go(pruner(model, recipe, seed=5), 1)
        return model[0].bias.detach()

    assert torch.equal(biases(0), biases(1))
    assert 0.45 < float(biases(0).abs().max()) <= 0.5


def test_all_state_comes_back():
    stale = {"a": 0.0, "b": 4.6051701859880913682, "max_rate": 0.5, "pool": "stale"}  # half of 10, then none of 5
    _, engine = tiny(ONE_TO_TEN, schedule={"size-scaled": stale})
    go(engine, 1)
    model, again = tiny(ONE_TO_TEN, schedule={"size-scaled": stale})
    again.load_state_dict(copy.deepcopy(engine.state_dict()))
    assert model[0].weight.tolist() == [[0.0] * 5 + ONE_TO_TEN[5:]]
    assert (again.history, again.live) == (engine.history, 5)
    model[0].weight.data *= 10
    assert not go(again, 1)[0].event

    several = {"schedule": FIFTH, "stopping": {"every": {"epochs": 3}}, "max_events": 1, "final_epochs": 4}
    _, engine = tiny(ONE_TO_TEN, epochs=12, **several)
    go(engine, 6)
    _, again = tiny(ONE_TO_TEN, epochs=12, **several)
    again.load_state_dict(engine.state_dict())
    assert again.exhausted == "most events reached"
    assert go(again, 1)[0].finished


def test_a_pruner_that_is_taken_off_holds_no_weight_any_more():
    model, engine = tiny([1.0, 2.0], schedule=HALF)
    go(engine, 1)
    step(model, engine, torch.ones(1, 2))
    assert model[0].weight[0, 0] == 0
    engine.detach()
    step(model, engine, torch.ones(1, 2))
    assert model[0].weight[0, 0] != 0


@pytest.mark.parametrize(
    ("net", "recipe", "why"),
    [
        (lambda: weight_norm(nn.Linear(4, 2)), {}, "no Linear or Conv layer has a weight of its own"),
        (lambda: nn.LSTM(4, 2), {"preset": "snip"}, "no Linear or Conv layer has a weight of its own"),
        (lambda: nn.Embedding(4, 2), {"preset": "dense"}, "no Linear or Conv layer has a weight of its own"),
        (small_net, {"exclude": ["0", "[24]"]}, r"exclude: 0, \[24\] names all 3 layers. Use recipe: dense"),
    ],
)
def test_a_network_with_nothing_to_prune_is_refused(net, recipe, why):
    with pytest.raises(UserError, match=why):
        pruner(net(), recipe)


def test_the_dense_control_may_exclude_all_layers():
    assert pruner(small_net(), {"preset": "dense", "exclude": ["*"]}).masks == {}


def test_layers_are_excluded_by_pattern():
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3)))
    assert list(pruner(model, {"exclude": ["[02]"]}).masks) == ["1.weight"]


# Which weights stay


def test_the_floor_is_a_share_of_the_whole_layer_rounded_up():
    _, engine = tiny(ONE_TO_TEN, schedule={"per-round": {"rate": 0.5}}, floor=0.31)
    go(engine, 4)
    assert engine.history.live_after_masking == [5, 4]


@pytest.mark.parametrize("name", ["uniform", "erk"])
def test_layers_that_have_fewer_left_pass_the_rest_on(name):
    masks = {"a": torch.ones(2, 4, dtype=torch.bool), "b": torch.zeros(2, 4, dtype=torch.bool)}
    masks["b"][0, :2] = True
    pools = lambda remaining: [pool.keep for pool in parts("distribution")[name]().pools(remaining, masks)]
    assert (pools(4), pools(8)) == ([2, 2], [6, 2])
    masks["b"][:] = True
    masks["b"][1] = False
    assert pools(6) == [3, 3]  # of the layers as they were, not of what is left of them


def test_uniform_shares_follow_the_sizes_of_layers():
    masks = {"a": torch.ones(2, 4, dtype=torch.bool), "b": torch.ones(1, 4, dtype=torch.bool)}
    assert [pool.keep for pool in parts("distribution")["uniform"]().pools(6, masks)] == [4, 2]


def test_no_cap_is_exceeded_by_rounding():
    assert apportion([1, 1], [2, 8], 5) == [2, 3]


def test_units_of_several_weights_never_exceed_the_count():
    units = {"a": Units(torch.tensor([3.0, 1.0, 2.0]), torch.ones(3, dtype=torch.bool), 4)}
    assert select(units, [Pool(("a",), 11)], 0.0)["a"].tolist() == [True, False, True]


def test_units_of_different_sizes_go_by_their_scores_until_the_weights_fit():
    units = {
        "a": Units(torch.tensor([3.0, 1.0, 2.0]), torch.ones(3, dtype=torch.bool), 4),
        "b": Units(torch.tensor([1.5, 0.5]), torch.ones(2, dtype=torch.bool), 2),
    }
    kept = select(units, [Pool(("a", "b"), 11)], 0.0)  # of 16; 14 without the last of b, 10 without the second of a
    assert {name: mask.tolist() for name, mask in kept.items()} == {"a": [True, False, True], "b": [True, False]}


def test_per_round_ends_before_the_last_weight_goes():
    _, engine = tiny([1.0, 2.0, 3.0], schedule={"per-round": {"rate": 0.6}})
    outcomes = go(engine, 2)
    assert engine.history.live_after_masking == [1]
    assert (outcomes[-1].finished, outcomes[-1].reason) == (True, "nothing left to prune")


def test_size_scaled_keeps_to_its_limits_and_names_its_end():
    _, engine = tiny([1.0] * 1000, schedule={"size-scaled": {"max_rate": 0.05}})
    go(engine, 1)
    assert engine.live == 950
    _, engine = tiny([1.0] * 1000, schedule={"size-scaled": {"min_rate": 0.2}})
    go(engine, 1)
    assert engine.live == 800
    _, engine = tiny([1.0] * 100, schedule={"size-scaled": {}})
    go(engine, 1)
    assert engine.exhausted == "the rate is 0 at 100 weights"


def test_a_round_ends_on_a_plateau_of_its_own():
    losses = [1.0, 0.5, 0.499, 0.498, 0.6, 0.61, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1]
    _, engine = tiny([1.0] * 100, epochs=12, schedule=FIFTH, stopping="plateau")
    go(engine, 12, losses=losses)
    assert engine.history.events == [4, 10]  # 0.6 is the best of the second round until 0.3 comes


STEPS = [1.0, 0.0, 0.0, -0.5, -0.5, -0.5, -0.5, -0.5]
RISE = [1.0, 0.6, 0.61, 0.3, 0.31, 0.2, 0.1, 0.0]
RECOVERY = [1.0, 0.8, 0.795, 1.3, 0.7, 0.688, 0.68, 0.675]


@pytest.mark.parametrize(
    ("losses", "options", "events"),
    [
        (STEPS, {}, [3, 6]),
        (STEPS, {"cooldown": 1}, [3, 5, 7]),
        (STEPS, {"max_gradient": 0.5, "cooldown": 0}, [3, 4, 5, 6, 7]),
        (RISE, {}, []),
        (RISE, {"min_gradient": -0.1}, [3]),
        (RECOVERY, {}, [3, 6]),
        (RECOVERY, {"reference": "exclude_cooldown"}, [3, 7]),
    ],
)
def test_every_option_of_the_loss_gradient_counts(losses, options, events):
    _, engine = tiny([1.0] * 100, schedule=FIFTH, stopping={"loss-gradient": options})
    go(engine, 8, losses=losses)
    assert engine.history.events == events


# Shrinking, batch norm, evaluation


def dead_net():
    """Of four hidden units, the two with small weights die at half sparsity."""
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 2.0], [0.1, 0.2], [3.0, 4.0], [0.3, 0.4]])
    model[2].weight.data = torch.tensor([[1.0, 0.1, 2.0, 0.2], [3.0, 0.3, 4.0, 0.4]])
    return model


@pytest.mark.parametrize(("removal", "units"), [("at-events", 2), ("at-end", 4), ("never", 4)])
def test_only_removal_at_events_shrinks_at_an_event(removal, units):
    model = dead_net()
    engine = pruner(model, {**PLAIN, "schedule": HALF, "removal": removal})
    model(torch.ones(3, 2))
    (outcome,) = go(engine, 1)
    assert (outcome.event, outcome.removed) == (True, units == 2)
    assert (model[0].out_features, engine.live) == (units, 8)


def test_removal_waits_for_the_shape_of_an_input():
    engine = pruner(dead_net(), {**PLAIN, "schedule": HALF, "removal": "at-events"})
    copied = copy.deepcopy(engine.model)
    (outcome,) = go(engine, 1)
    assert (outcome.event, outcome.removed) == (True, False)
    copied(torch.ones(1, 2))
    assert engine._first.value is None
    engine.model(torch.ones(3, 2))
    assert engine._first.value.shape == (1, 2) and not engine.model._forward_pre_hooks


def test_a_removal_that_changes_the_function_is_refused_where_there_is_an_example(monkeypatch):
    def damage(model, plan, optimizer):
        applied = apply(model, plan, optimizer)
        with torch.no_grad():
            model[0].weight[0, 0] += 1.0
        return applied

    monkeypatch.setattr(engine_module, "apply", damage)
    engine = pruner(dead_net(), {**PLAIN, "schedule": HALF, "removal": "at-events"}, example_input=torch.ones(1, 2))
    with pytest.raises(RemovalError, match="disagrees"):
        go(engine, 1)


def test_batch_norm_is_the_mean_over_the_batches_asked_for_and_left_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 4, bias=False))
    for value in (5.0, 7.0, 9.0):
        model(torch.full((2, 2), value))
    model.eval()
    batches = [torch.tensor(rows) for rows in ([[0.0, 0.0], [2.0, 4.0]], [[4.0, 4.0], [6.0, 8.0]], [[9.0, 9.0]] * 2)]
    recipe = {**PLAIN, "schedule": HALF, "recalibrate_batchnorm": 2}
    engine = pruner(model, recipe, batches=lambda n: [(batch, None) for batch in batches[:n]])
    (outcome,) = go(engine, 1)
    assert outcome.passes == Passes(forward=4)
    assert model[0].running_mean.tolist() == [3.0, 4.0]
    assert (model[0].momentum, model.training) == (0.1, False)


def test_without_batch_norm_or_batches_nothing_is_estimated():
    recipe = {**PLAIN, "schedule": HALF, "recalibrate_batchnorm": 2}
    batches = lambda n: [(torch.ones(3, 10), None)] * n
    (outcome,) = go(pruner(nn.Sequential(linear_of(ONE_TO_TEN)), recipe, batches=batches), 1)
    assert (outcome.event, outcome.passes) == (True, Passes())
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 4, bias=False))
    assert go(pruner(model, recipe), 1)[0].event


# What parts are told, and when


def test_every_axis_is_asked_when_it_says_and_its_state_is_kept(own):
    def counts(state):
        state["asked"] = state.get("asked", 0) + 1

    @part("score", "spy", source="a test")
    class Score(Part):
        """Magnitude; worthless numbers where a weight is dead."""

        def score(self, context, state):
            counts(state)
            return {n: w.abs() / context.masks[n] for n, w in context.weights().items()}  # 0 / 0 where it is dead

    @part("schedule", "spy", source="a test")
    class Schedule(Part):
        """Two events."""

        def remaining(self, context, state):
            counts(state)
            return context.live - 1 if state["asked"] < 3 else Done("two events")

    @part("stopping", "spy", source="a test")
    class Stopping(Part):
        """Every epoch."""

        def ended(self, context, state):
            counts(state)
            return "told so"

    @part("growth", "spy", source="a test")
    class Grows(NoGrowth):
        """Nothing."""

        def regrow(self, context, state, masks, pools):
            counts(state)
            return masks

    @part("rewind", "spy", source="a test")
    class Rewinds(Rewind):
        """Nothing."""

        def restore(self, context, state):
            counts(state)
            state["live"] = [*state.get("live", []), context.live]

    @part("regularizer", "spy", source="a test")
    class Regularizes(Regularizer):
        """Notes what it sees."""

        def after_step(self, context, state):
            counts(state)
            state["live"] = [*state.get("live", []), context.live]
            state["drawn"] = [*state.get("drawn", []), float(torch.rand((), generator=context.generator))]

    @part("backward", "spy", source="a test")
    class Spy(Backward):
        """Notes what it sees."""

        def select(self, context, state):
            counts(state)
            state["live"] = [*state.get("live", []), context.live]

    axes = ("score", "schedule", "stopping", "growth", "rewind", "regularizer", "backward")
    model, engine = tiny(ONE_TO_TEN, epochs=9, final_epochs=3, dense_epochs=1, **dict.fromkeys(axes, "spy"))
    for _ in range(5):
        engine.epoch_start()
        step(model, engine, torch.ones(1, 10))
        step(model, engine, torch.ones(1, 10))
        outcome = engine.epoch_end(loss=1.0, accuracy=0.5)
    assert (engine.history.events, outcome.finished, outcome.reason) == ([1, 2], True, "two events")
    states = engine.state_dict()["states"]
    asked = {axis: states[axis]["asked"] for axis in axes}
    assert asked == {
        "score": 2, "schedule": 3, "stopping": 3, "growth": 2, "rewind": 2, "regularizer": 10, "backward": 5
    }  # fmt: skip
    assert states["rewind"]["live"] == [9, 8]
    assert states["backward"]["live"] == [10, 9, 8, 8, 8]
    assert states["regularizer"]["live"] == [10, 10, 9, 9, 8, 8, 8, 8, 8, 8]
    assert len(set(states["regularizer"]["drawn"])) == 10


def test_what_runs_within_an_epoch_draws_and_measures_anew_in_each(own):
    taken = []

    @measurement("clock")
    def clock(context):
        taken.append(context.history.epoch)
        return context.history.epoch, Passes(forward=2)

    @part("backward", "spy", source="a test", needs=("clock",))
    class Spy(Backward):
        """Measures, and draws."""

        def select(self, context, state):
            assert context.measure("clock") == context.history.epoch
            state["drawn"] = [*state.get("drawn", []), float(torch.rand((), generator=context.generator))]

    _, whole = tiny(ONE_TO_TEN, schedule="none", backward="spy")
    passes = []
    for _ in range(3):
        passes.append(whole.epoch_start())
        whole.epoch_end(loss=1.0, accuracy=0.5)
    assert (taken, passes) == ([0, 1, 2], [Passes(forward=2)] * 3)
    _, resumed = tiny(ONE_TO_TEN, schedule="none", backward="spy")
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for engine in (whole, resumed):
        engine.epoch_start()
    drawn = [engine.states["backward"]["drawn"] for engine in (whole, resumed)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 4
