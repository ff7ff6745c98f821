"""What a new part may rely on: its state, the context, measurements, hooks, reshaping, and what it requires."""

import pytest
import torch
from pruning.nets import lenet300, pruner

from prune_search.pruning.context import Passes, measurement
from prune_search.pruning.growth.none import NoGrowth
from prune_search.pruning.recipe import RecipeError, compatible, resolve
from prune_search.pruning.registry import Part, hyper, part
from prune_search.pruning.regularizing import Regularizer
from prune_search.pruning.rewinding import Rewind


def test_a_part_is_one_class_with_one_decorator(own):
    @part("score", "smallest-index", source="a test")
    class SmallestIndex(Part):
        """The index.

        Attributes:
            sign: Which end goes first.
        """

        sign: float = hyper(1.0, choices=(1.0, -1.0))

        def score(self, context, state):
            state["asked"] = state.get("asked", 0) + 1
            return {n: self.sign * torch.arange(w.numel()).float().view_as(w) for n, w in context.weights().items()}

    recipe = {"score": {"smallest-index": {"sign": -1.0}}, "schedule": {"one-shot": {"final_sparsity": 0.5}}}
    engine = pruner(torch.nn.Sequential(torch.nn.Linear(4, 1, bias=False)), {**recipe, "dense_epochs": 1})
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.masks["0.weight"].tolist() == [[True, True, False, False]]
    assert engine.state_dict()["states"]["score"] == {"asked": 1}
    with pytest.raises(ValueError, match="two parts are called"):
        part("score", "smallest-index", source="again")(SmallestIndex)
    with pytest.raises(RecipeError, match="must be one of 1.0, -1.0"):
        resolve({"score": {"smallest-index": {"sign": 2.0}}})


def test_a_measurement_is_taken_once_and_its_passes_are_counted(own):
    taken = []

    @measurement("norm")
    def norm(context):
        taken.append(context.history.epoch)
        return 1.0, Passes(forward=64, backward=32)

    @part("score", "measured", source="a test", needs=("norm",))
    class Measured(Part):
        """Magnitude over a measured norm."""

        def score(self, context, state):
            return {name: weight.abs() / context.measure("norm") for name, weight in context.weights().items()}

    @part("stopping", "measured", source="a test", needs=("norm",))
    class Stops(Part):
        """Ends when the norm is one."""

        def ended(self, context, state):
            return "norm" if context.measure("norm") == 1.0 else None

    recipe = {"score": "measured", "stopping": "measured", "schedule": {"linear": {"final_sparsity": 0.5}}}
    engine = pruner(lenet300(), {**recipe, "dense_epochs": 1}, epochs=6)
    outcomes = [engine.epoch_end(loss=1.0, accuracy=0.5) for _ in range(2)]
    assert taken == [1, 2]
    assert [outcome.passes for outcome in outcomes] == [Passes(64, 32)] * 2
    assert engine.history.reasons == ["norm", "norm"]


def test_hooks_growth_and_reshape_are_called(own):
    calls = []

    @part("regularizer", "spy", source="a test")
    class Spy(Regularizer):
        """Pulls pruned weights away from zero: the masks must win."""

        def after_step(self, context, state):
            calls.append("step")
            with torch.no_grad():
                for weight in context.weights().values():
                    weight.add_(1.0)

    @part("growth", "first", source="a test", requires={"removal": ("never", "at-end")})
    class First(NoGrowth):
        """The first weight of each layer always comes back."""

        def regrow(self, context, state, masks, pools):
            grown = {name: mask.clone() for name, mask in masks.items()}
            for mask in grown.values():
                mask.view(-1)[0] = True
            return grown

    @part("rewind", "ones", source="a test")
    class Ones(Rewind):
        """Surviving weights become one."""

        optimizer: str = hyper("slice", choices=("slice",))
        learning_rate: str = hyper("continue", choices=("continue",))

        def restore(self, context, state):
            with torch.no_grad():
                for name, weight in context.weights().items():
                    weight.copy_(context.masks[name])

    model = torch.nn.Sequential(torch.nn.Linear(4, 1, bias=False))
    model[0].weight.data = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    recipe = {
        "schedule": {"one-shot": {"final_sparsity": 0.5}},
        "regularizer": "spy",
        "growth": "first",
        "rewind": "ones",
    }
    engine = pruner(model, {**recipe, "dense_epochs": 1})
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.masks["0.weight"].tolist() == [[True, False, True, True]]
    assert model[0].weight.tolist() == [[1.0, 0.0, 1.0, 1.0]]
    model(torch.ones(1, 4)).sum().backward()
    engine.epoch_start()
    engine.optimizer.step()
    assert calls == ["step"]
    assert model[0].weight[0, 1] == 0.0 and model[0].weight[0, 0] > 1.0
    assert compatible({"growth": "first", "removal": "at-events"}).startswith(
        "growth 'first' does not work with removal"
    )
    with pytest.raises(RecipeError, match="Allowed for removal: never, at-end"):
        resolve({"growth": "first", "removal": "at-events"})


def test_state_that_follows_parameters_is_reshaped_when_the_network_shrinks(own):
    seen = []

    @part("score", "remembers", source="a test")
    class Remembers(Part):
        """Magnitude; keeps a tensor for each weight."""

        def score(self, context, state):
            scores = {name: weight.abs() for name, weight in context.weights().items()}
            state["first"] = {name: score.clone() for name, score in scores.items()}
            return scores

        def reshape(self, state, kept):
            seen.append(sorted(kept))

    model = lenet300()
    recipe = {"score": "remembers", "schedule": {"one-shot": {"final_sparsity": 0.99}}, "removal": "at-events"}
    engine = pruner(model, {**recipe, "dense_epochs": 1}, example_input=torch.zeros(1, 784))
    outcome = engine.epoch_end(loss=1.0, accuracy=0.5)
    assert outcome.removed
    assert seen and {"1.weight", "3.weight", "1.bias"} <= set(seen[0])
