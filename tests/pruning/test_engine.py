"""What holds for every recipe: masks, counts, state, clock."""

import copy
import dataclasses

import pytest
import torch
from pruning.nets import conv_net, lenet300, pruner, single, small_net
from torch import nn

from prune_search import prune
from prune_search.errors import UserError
from prune_search.pruning.context import Context, Pool, Units, apportion
from prune_search.pruning.ranking import NonFiniteScore
from prune_search.pruning.recipe import PRESETS, RecipeError, length, resolve
from prune_search.pruning.registry import AXES, parts
from prune_search.pruning.selection import select, smallest


def train(engine, inputs, epochs, losses=None):
    labels = torch.arange(len(inputs)) % 4
    for epoch in range(epochs):
        engine.epoch_start()
        for _ in range(3):
            engine.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(engine.model(inputs), labels)
            loss.backward()
            engine.optimizer.step()
        value = float(loss.detach()) if losses is None else losses[epoch]
        if engine.epoch_end(loss=value, accuracy=0.5).finished:
            break


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_resolve_and_read_back(preset):
    recipe = resolve(preset)
    assert resolve(recipe.values()) == recipe
    assert recipe.preset == preset


@pytest.mark.parametrize("axis", AXES)
def test_every_part_has_a_source_and_documented_fields(axis):
    for part in parts(axis).values():
        assert part.source
        for field in dataclasses.fields(part):
            assert f"{field.name}" in (part.__doc__ or "") + "".join(b.__doc__ or "" for b in part.__mro__)


def test_t3_sgd_momentum_does_not_revive_a_pruned_weight():
    model, engine = single([1.0, 2.0], schedule={"one-shot": {"final_sparsity": 0.5}}, stopping="every")
    inputs = torch.ones(1, 2)
    for _ in range(2):
        engine.optimizer.zero_grad()
        model(inputs).sum().backward()
        engine.optimizer.step()
    engine.epoch_end(loss=1.0, accuracy=0.5)
    for _ in range(100):
        engine.optimizer.zero_grad()
        (model(inputs) ** 2).sum().backward()
        engine.optimizer.step()
        assert model[0].weight[0, 0] == 0.0
    assert model[0].weight[0, 1] != 0.0


def test_exact_count_under_ties_lower_index_stays():
    model, engine = single([0.5] * 10, schedule={"one-shot": {"final_sparsity": 0.3}}, stopping="every")
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.masks["0.weight"].tolist() == [[True] * 7 + [False] * 3]


@pytest.mark.parametrize("count", range(7))
def test_smallest_counts_exactly(count):
    scores = torch.tensor([2.0, 1.0, 1.0, 3.0, 1.0, 0.0])
    chosen = smallest(scores, count)
    order = [5, 4, 2, 1, 0, 3]
    assert sorted(chosen.nonzero().flatten().tolist()) == sorted(order[:count])


def test_select_global_against_uniform():
    values = {"a": torch.tensor([10.0, 11, 12, 13, 14]), "b": torch.tensor([1.0, 2, 3, 4, 5])}
    units = {name: Units(v, torch.ones(5, dtype=torch.bool), 1) for name, v in values.items()}
    together = select(units, [Pool(("a", "b"), 6)], 0.0)
    assert (together["a"].tolist(), together["b"].tolist()) == ([True] * 5, [False] * 4 + [True])
    apart = select(units, [Pool(("a",), 3), Pool(("b",), 3)], 0.0)
    assert apart["a"].tolist() == apart["b"].tolist() == [False, False, True, True, True]


def test_select_by_row_ranks_the_live_units_of_each_row():
    units = Units(torch.tensor([-3.0, -1, -2, 9, 5, 5, 5, 5]), torch.tensor([True] * 3 + [False] + [True] * 4), 1)
    kept = select({"a": units}, [Pool(("a",), torch.tensor([2, 3]))], 0.0)
    assert kept["a"].tolist() == [False, True, True, False, True, True, True, False]


def test_apportion_is_exact_and_respects_caps():
    assert apportion([1, 1, 1], [10, 10, 10], 10) == [4, 3, 3]
    assert apportion([100, 1, 1], [5, 10, 10], 15) == [5, 5, 5]
    assert apportion([1, 1], [3, 3], 100) == [3, 3]
    assert apportion([0, 0], [3, 3], 3) == [2, 1]


def test_erk_densities():
    masks = {n: torch.ones(s, dtype=torch.bool) for n, s in {"a": (300, 784), "b": (100, 300), "c": (10, 100)}.items()}
    pools = parts("distribution")["erk"]().pools(26_620, masks)
    assert [pool.keep for pool in pools] == [18_714, 6_906, 1_000]


@pytest.mark.parametrize(
    ("name", "at_half"),
    [("linear", 0.45), ("cubic", 0.7875), ("cosine", 0.45), ("exponential", 1 - 0.1**0.5), ("one-shot", 0.9)],
)
def test_schedules_halfway_and_at_the_end(name, at_half):
    schedule = parts("schedule")[name](final_sparsity=0.9)
    assert schedule.sparsity(0.0) == 0.0
    assert schedule.sparsity(0.5) == pytest.approx(at_half)
    assert schedule.sparsity(1.0) == pytest.approx(0.9)


@pytest.mark.parametrize("name", ["linear", "cubic", "cosine", "exponential", "one-shot"])
@pytest.mark.parametrize("stopping", ["every", "plateau", "loss-gradient", {"every": {"epochs": 4}}])
def test_final_sparsity_is_reached_exactly_whatever_the_stopping(name, stopping):
    recipe = {
        "schedule": {name: {"final_sparsity": 0.83}},
        "stopping": stopping,
        "dense_epochs": 0.1,
        "final_epochs": 0.3,
    }
    engine = pruner(lenet300(), {**recipe, "removal": "never"}, epochs=20)
    for epoch in range(20):
        engine.epoch_start()
        if engine.epoch_end(loss=1 / (epoch + 1), accuracy=0.5).finished:
            break
    assert engine.live == round(266_200 * (1 - 0.83))
    assert max(engine.history.events) <= 14


def test_per_round_counts_do_not_drift():
    engine = pruner(
        lenet300(), {"schedule": {"per-round": {"rate": 0.2}}, "stopping": "every", "final_epochs": 1}, epochs=11
    )
    for _ in range(11):
        engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.history.live_after_masking == [round(266_200 * 0.8**i) for i in range(1, 11)]


def test_target_sparsity_and_most_events_end_the_events():
    every = {"schedule": {"per-round": {"rate": 0.5}}, "stopping": "every", "removal": "never", "dense_epochs": 1}
    engine = pruner(lenet300(), {**every, "target_sparsity": 0.8, "final_epochs": 2}, epochs=20)
    outcomes = []
    while not outcomes or not outcomes[-1].finished:
        outcomes.append(engine.epoch_end(loss=1.0, accuracy=0.5))
    assert engine.history.live_after_masking == [133_100, 66_550, 53_240]
    assert (len(outcomes), outcomes[-1].reason) == (5, "target sparsity reached")
    engine = pruner(lenet300(), {**every, "max_events": 1, "final_epochs": 3}, epochs=20)
    while not engine.epoch_end(loss=1.0, accuracy=0.5).finished:
        pass
    assert engine.history.live_after_masking == [133_100]
    assert engine.history.epoch == 4


def test_round_limits_gate_and_exit():
    base = {"schedule": {"per-round": {"rate": 0.5}}, "stopping": "every", "dense_epochs": 2, "final_epochs": 1}
    engine = pruner(lenet300(), {**base, "round": {"accuracy_gate": 0.01}}, epochs=9)
    for accuracy in (0.80, 0.90, 0.80, 0.895, 0.5, 0.5, 0.9, 0.5, 0.5):
        engine.epoch_end(loss=1.0, accuracy=accuracy)
    assert engine.history.events == [2, 4, 7]
    base["stopping"] = {"every": {"epochs": 5}}
    engine = pruner(lenet300(), {**base, "round": {"accuracy_exit": True}}, epochs=14)
    for accuracy in [0.8] * 4 + [0.9] + [0.8, 0.9] + [0.8] * 7:
        engine.epoch_end(loss=1.0, accuracy=accuracy)
    assert list(zip(engine.history.events, engine.history.reasons)) == [
        (5, "epochs"), (7, "accuracy regained"), (12, "epochs")
    ]  # fmt: skip


def test_excluded_layers_are_not_pruned_and_not_counted():
    model = small_net()
    engine = pruner(model, {"schedule": {"one-shot": {"final_sparsity": 0.5}}, "exclude": ["4"], "dense_epochs": 1})
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert set(engine.masks) == {"0.weight", "2.weight"}
    assert engine.live == (8 * 16 + 16 * 12) // 2
    assert (model[4].weight != 0).all()


@pytest.mark.parametrize(
    ("value", "epochs", "expected"), [(0.12, 25, 3), (0.12, 12, 1), (3, 12, 3), (0, 12, 0), (0.01, 9, 1)]
)
def test_lengths(value, epochs, expected):
    assert length(value, epochs) == expected


def test_removal_at_events_shrinks_the_network_and_keeps_its_function():
    model = lenet300()
    engine = pruner(
        model, {"schedule": {"one-shot": {"final_sparsity": 0.97}}, "dense_epochs": 1, "removal": "at-events"}
    )
    inputs = torch.randn(16, 784)
    for _ in range(2):
        engine.optimizer.zero_grad()
        model(inputs).square().mean().backward()
        engine.optimizer.step()
    masked = pruner(
        copy.deepcopy(model),
        {"schedule": {"one-shot": {"final_sparsity": 0.97}}, "dense_epochs": 1, "removal": "never"},
    )
    outcome, _ = engine.epoch_end(loss=1.0, accuracy=0.5), masked.epoch_end(loss=1.0, accuracy=0.5)
    assert outcome.removed
    assert model[3].in_features < 300
    expected = masked.model(inputs)
    assert torch.allclose(model(inputs), expected, atol=1e-5 * float(expected.detach().abs().max()))
    for parameter in model.parameters():
        assert engine.optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape
    weights = dict(model.named_parameters())
    assert all(mask.shape == weights[name].shape for name, mask in engine.masks.items())
    model(inputs).sum().backward()
    engine.optimizer.step()
    assert all((weights[name][~mask] == 0).all() for name, mask in engine.masks.items())


@pytest.mark.parametrize(("how", "kept"), [("slice", True), ("zero", True), ("fresh", False)])
def test_optimizer_state_at_an_event(how, kept):
    model, engine = single(
        [1.0, 2.0],
        schedule={"one-shot": {"final_sparsity": 0.5}},
        stopping="every",
        rewind={"none": {"optimizer": how}},
    )
    model(torch.ones(1, 2)).sum().backward()
    engine.optimizer.step()
    before = engine.optimizer.state[model[0].weight]["momentum_buffer"].clone()
    engine.epoch_end(loss=1.0, accuracy=0.5)
    state = engine.optimizer.state.get(model[0].weight, {})
    assert bool(state) == kept
    if how == "slice":
        assert torch.equal(state["momentum_buffer"], before)
    if how == "zero":
        assert state["momentum_buffer"].tolist() == [[0.0, before[0, 1].item()]]


def test_biases_are_kept_unless_the_defect_is_asked_for():
    for biases, equal in (("keep", True), ("redrawn", False)):
        model = lenet300()
        recipe = {
            "schedule": {"one-shot": {"final_sparsity": 0.1}},
            "dense_epochs": 1,
            "rewind": {"none": {"biases": biases}},
        }
        before = model[1].bias.clone()
        pruner(model, recipe).epoch_end(loss=1.0, accuracy=0.5)
        assert torch.equal(model[1].bias, before) == equal


def test_a_score_that_is_not_finite_has_a_name():
    model, engine = single([1.0, float("nan")], schedule={"one-shot": {"final_sparsity": 0.5}}, stopping="every")
    with pytest.raises(NonFiniteScore, match="magnitude.*0.weight"):
        engine.epoch_end(loss=1.0, accuracy=0.5)


def test_trying_masks_leaves_no_trace():
    model = small_net()
    engine = pruner(model, "magnitude", evaluate=lambda m: (float(m[0].weight.detach().abs().sum()), 0.5))
    before = copy.deepcopy(model.state_dict())
    context: Context = engine._context()
    loss, _ = context.evaluate({"0.weight": torch.zeros_like(model[0].weight, dtype=torch.bool)})
    assert loss == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


def test_batch_norm_statistics_are_taken_anew_after_an_event():
    model = conv_net()
    batch = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
    recipe = {"schedule": {"one-shot": {"final_sparsity": 0.5}}, "dense_epochs": 1, "recalibrate_batchnorm": 2}
    engine = pruner(model, recipe, batches=lambda n: [(batch, None)] * n)
    outcome = engine.epoch_end(loss=1.0, accuracy=0.5)
    assert outcome.passes.forward == 32
    expected = model[0](batch).mean((0, 2, 3))
    assert torch.allclose(model[1].running_mean, expected, atol=1e-5)


def test_pruning_at_initialisation():
    start = {"score": "magnitude", "schedule": {"exponential": {"final_sparsity": 0.9}}, "iterations": 5}
    engine = pruner(lenet300(), {"preset": "dense", "at_start": start}, epochs=3)
    engine.start()
    assert engine.live == 26_620


def test_prune_in_an_own_loop():
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    engine = prune(model, {"schedule": {"linear": {"final_sparsity": 0.5}}}, optimizer=optimizer, epochs=10)
    train(engine, torch.randn(8, 8), 10)
    assert engine.live == round(engine.history.total * 0.5)
    with pytest.raises(UserError, match="Did you mean 'dyprune'"):
        prune(model, "dyprun", optimizer=optimizer, epochs=10)


@pytest.mark.parametrize(
    ("recipe", "path", "words"),
    [
        ({"schedule": {"cubic": {"final_sparsity": 1.5}}}, ("schedule", "cubic", "final_sparsity"), "got 1.5"),
        ({"schedule": {"cubic": {"final": 0.5}}}, ("schedule", "cubic", "final"), "Did you mean 'final_sparsity'"),
        ({"schedule": "cubik"}, ("schedule",), "Did you mean 'cubic'"),
        ({"stoping": "every"}, ("stoping",), "Did you mean 'stopping'"),
        ({"floor": "x"}, ("floor",), "got 'x' (str)"),
        ({"max_events": 1.5}, ("max_events",), "whole number"),
        ({"exclude": "fc1"}, ("exclude",), "a list of layer names"),
        ({"at_start": {"score": "random"}}, ("at_start",), "needs a schedule"),
        ({"round": {"min_epoch": 3}}, ("round", "min_epoch"), "Did you mean 'min_epochs'"),
    ],
)
def test_recipe_mistakes(recipe, path, words):
    with pytest.raises(RecipeError) as error:
        resolve(recipe)
    assert error.value.path == path
    assert words in error.value.message


def test_overrides_merge_into_the_presets_part_or_replace_it():
    merged = resolve({"preset": "dyprune", "schedule.b": 12})
    assert (merged.schedule.name, merged.schedule.b, merged.schedule.a) == ("size-scaled", 12, 6.0)
    nested = resolve({"preset": "dyprune", "schedule": {"b": 12}})
    assert nested == merged
    replaced = resolve({"preset": "dyprune", "stopping": {"every": {"epochs": 3}}, "removal": "at-end"})
    assert (replaced.stopping.name, replaced.stopping.epochs, replaced.removal.name) == ("every", 3, "at-end")


def test_a_layer_that_shares_its_weight_with_an_embedding_before_it():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(6, 4)
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens):
            return self.head(self.embedding(tokens).mean(1))

    model = Tied()
    engine = pruner(model, {"schedule": {"one-shot": {"final_sparsity": 0.5}}, "dense_epochs": 1, "removal": "never"})
    assert engine.epoch_end(loss=1.0, accuracy=0.5).event
    assert int((model.embedding.weight == 0).sum()) == 12
