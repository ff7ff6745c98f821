"""What every part passes by being registered, alone and with every other part it works with."""

import copy
import itertools

import pytest
import torch
from pruning.nets import Residual, conv_net, grouped_net, small_net
from torch import nn

from prune_search.pruning.pruner import Pruner
from prune_search.pruning.recipe import PRESETS, compatible, resolve
from prune_search.pruning.registry import AXES, parts

PARTS = [(axis, name) for axis in AXES for name in parts(axis)]
NETS = {"mlp": small_net, "conv": conv_net, "grouped": grouped_net, "residual": Residual}
TRAINED_BY = {"mlp": "sgd", "conv": "adamw", "grouped": "sgd", "residual": "adamw"}
OPTIMIZERS = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-2),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1),
}
COMMON = {"floor": 0.05, "dense_epochs": 1, "final_epochs": 2, "round": {"max_epochs": 2}}
EPOCHS = 6
STEPS = 2
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def complete(chosen):
    """A valid recipe with the parts ``chosen``: the controls' parts elsewhere, others where those do not fit; or None."""
    base = dict(PRESETS["magnitude"])
    options = [(axis, dict.fromkeys([_name(base[axis]), *parts(axis)])) for axis in AXES if axis not in chosen]

    def extend(recipe, left):
        if compatible(recipe):
            return None
        if not left:
            return recipe
        axis, names = left[0]
        return next(filter(None, (extend({**recipe, axis: name}, left[1:]) for name in names)), None)

    return extend(dict(chosen), options)


def _name(part):
    return part if isinstance(part, str) else next(iter(part))


def grows(recipe):
    return recipe["growth"] != "none"


class Loop:
    """A small training loop with everything a part may ask for."""

    def __init__(self, net, recipe, optimizer="sgd", device="cpu", dtype=torch.float32, **common):
        torch.manual_seed(1)
        model = net().to(device, dtype)
        generator = torch.Generator().manual_seed(3)
        self.inputs = torch.randn((16, *net.input_shape), generator=generator).to(device, dtype)
        self.labels = (torch.arange(16) % 4).to(device)
        self.engine = Pruner(
            model,
            resolve({"preset": "magnitude", **COMMON, **recipe, **common}),
            optimizer=OPTIMIZERS[optimizer](model),
            epochs=EPOCHS,
            loss=nn.functional.cross_entropy,
            batches=lambda n: [(self.inputs, self.labels)] * n,
            evaluate=self.evaluate,
            example_input=self.inputs,
            seed=5,
        )

    @torch.no_grad()
    def evaluate(self, model):
        mode = model.training
        outputs = model.eval()(self.inputs).float()
        model.train(mode)
        accuracy = (outputs.argmax(1) == self.labels).double().mean()
        return float(nn.functional.cross_entropy(outputs, self.labels)), float(accuracy)

    def epoch(self):
        engine = self.engine
        engine.epoch_start()
        engine.model.train()
        for _ in range(STEPS):
            engine.optimizer.zero_grad()
            nn.functional.cross_entropy(engine.model(self.inputs), self.labels).backward()
            engine.optimizer.step()
        loss, accuracy = self.evaluate(engine.model)
        return engine.epoch_end(loss=loss, accuracy=accuracy)

    def weights(self):
        return [value.clone() for value in self.engine.model.state_dict().values()]

    def saved(self):
        engine = self.engine
        return copy.deepcopy((engine.model.state_dict(), engine.optimizer.state_dict(), engine.state_dict()))

    def restore(self, saved):
        model, optimizer, engine = saved
        self.engine.model.load_state_dict(model)
        self.engine.optimizer.load_state_dict(optimizer)
        self.engine.load_state_dict(engine)


def check_masks(engine):
    weights = dict(engine.model.named_parameters())
    for name, mask in engine.masks.items():
        assert mask.dtype == torch.bool
        assert mask.any(), f"{name} collapsed"
        units = mask if engine.recipe.granularity.name == "weight" else mask.flatten(1).any(1)
        assert units.sum() >= 0.05 * units.numel() - 1
        assert (weights[name][~mask] == 0).all()
    assert engine.live == sum(int(mask.sum()) for mask in engine.masks.values())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("axis", "name"), PARTS, ids=[f"{a}-{n}" for a, n in PARTS])
def test_every_part_on_every_network(axis, name, net, device):
    """Masks binary and permanent, floor kept, no layer empty, deterministic, resumed bit for bit from any epoch."""
    recipe = complete({axis: name})
    assert recipe, f"no valid recipe has {axis} '{name}'"
    optimizer = TRAINED_BY[net]
    first, twin = (Loop(NETS[net], recipe, optimizer, device) for _ in range(2))
    live, saved = [], []
    for _ in range(EPOCHS):
        saved.append(first.saved())
        first.epoch()
        twin.epoch()
        check_masks(first.engine)
        live.append(first.engine.live)
    assert all(map(torch.equal, first.weights(), twin.weights()))
    assert first.engine.history == twin.engine.history
    if not grows(recipe) and not first.engine.recipe.removal.at_events:
        assert live == sorted(live, reverse=True)
    for cut in (2, 4):
        resumed = Loop(NETS[net], recipe, optimizer, device)
        shapes = [value.shape for value in saved[cut][0].values()]
        if shapes != [value.shape for value in resumed.weights()]:
            continue  # a network that shrank is resized by the trial, tested there
        resumed.restore(saved[cut])
        for _ in range(cut, EPOCHS):
            resumed.epoch()
        assert all(map(torch.equal, first.weights(), resumed.weights()))
        assert first.engine.history == resumed.engine.history


PAIRS = [pair for pair in itertools.combinations(PARTS, 2) if pair[0][0] != pair[1][0]]


def covering():
    """Recipes, each with as many pairs of parts that no earlier one has as a greedy choice finds, until all are had."""
    left = {frozenset(pair) for pair in PAIRS if complete(dict(pair))}
    recipes = []
    for pair in PAIRS:
        if frozenset(pair) not in left:
            continue
        recipe = dict(pair)
        for axis in [axis for axis in AXES if axis not in recipe]:
            fresh = lambda name: sum(frozenset([(axis, name), part]) in left for part in recipe.items())
            names = sorted(parts(axis), key=fresh, reverse=True)
            recipe[axis] = next(name for name in names if complete({**recipe, axis: name}))
        left -= {frozenset(pair) for pair in itertools.combinations(recipe.items(), 2)}
        recipes.append(recipe)
    return recipes


@pytest.mark.parametrize("recipe", covering(), ids=lambda recipe: "+".join(recipe[axis] for axis in AXES))
def test_every_pair_that_declares_itself_valid(recipe):
    """Every two parts that do not exclude each other run together, in one of these recipes."""
    loop = Loop(small_net, recipe)
    for _ in range(EPOCHS):
        loop.epoch()
        check_masks(loop.engine)


def test_two_parts_that_exclude_each_other_have_no_recipe():
    excluded = [pair for pair in PAIRS if complete(dict(pair)) is None]
    assert excluded
    for pair in excluded:
        with pytest.raises(ValueError):
            resolve({"preset": "magnitude", **dict(pair)})


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("net", NETS)
def test_every_preset_runs(preset, net):
    loop = Loop(NETS[net], {"preset": preset}, floor=0.05)
    for _ in range(EPOCHS):
        if loop.epoch().finished:
            break
        check_masks(loop.engine)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "activation-density"])  # has no channel to cut
def test_every_preset_runs_on_a_model_that_is_one_layer(preset):
    def net():
        return nn.Linear(8, 4)

    net.input_shape = small_net.input_shape
    loop = Loop(net, {"preset": preset}, floor=0.05)
    assert set(loop.engine.masks) == {"weight"}
    for _ in range(EPOCHS):
        if loop.epoch().finished:
            break
        check_masks(loop.engine)


@pytest.mark.parametrize(("axis", "name"), PARTS, ids=[f"{a}-{n}" for a, n in PARTS])
def test_every_part_in_bf16(axis, name):
    loop = Loop(conv_net, complete({axis: name}), dtype=torch.bfloat16)
    for _ in range(EPOCHS):
        loop.epoch()
        check_masks(loop.engine)


@pytest.mark.parametrize(
    "name", [name for name in parts("score") if not compatible({"score": name, "granularity": "weight"})]
)
def test_counts_are_exact_whatever_the_score(name):
    """Ties, zeros and all: after every event of an exponential schedule exactly so many weights live."""
    recipe = complete({"score": name, "schedule": "exponential", "stopping": "every", "distribution": "uniform"})
    recipe["schedule"] = {"exponential": {"final_sparsity": 0.8}}
    loop = Loop(conv_net, recipe, removal="never", floor=0.0)
    with torch.no_grad():
        for parameter in list(loop.engine.model.parameters())[:1]:
            parameter.fill_(0.25)
    history = loop.engine.history
    for _ in range(EPOCHS):
        loop.epoch()
    window = history.last - history.first + 1
    expected = [round(history.total * 0.2 ** ((e - history.first + 1) / window)) for e in history.events]
    assert len(expected) >= 4
    assert history.live_after_masking == expected
