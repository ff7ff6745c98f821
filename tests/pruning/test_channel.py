"""Channels as the unit: what goes with one, exact amounts, coupled layers, training on alike masked and removed."""

import copy

import pytest
import torch
from pruning.nets import pruner
from torch import nn
from torch.nn import functional as F

from prune_search.cost import cost_of
from prune_search.errors import UserError
from prune_search.removal import remove
from prune_search.removal.channels import channels

PLAIN = {"preset": "magnitude", "granularity": "channel", "dense_epochs": 1, "final_epochs": 1, "removal": "never"}


def one_shot(sparsity, **more):
    return {**PLAIN, "schedule": {"one-shot": {"final_sparsity": sparsity}}, **more}


def pruned(model, recipe, x):
    engine = pruner(model, recipe, example_input=x)
    engine.epoch_end(loss=1.0, accuracy=0.5)
    return engine


def hidden():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.1, 0.2], [3.0, 4.0], [0.3, 6.6]]))
        model[2].weight.copy_(torch.ones(2, 4))
        model[0].bias.fill_(1.0)
    return model


@pytest.mark.parametrize(("reduce", "order"), [("mean", [1, 0, 3, 2]), ("sum", [1, 0, 3, 2]), ("max", [1, 0, 2, 3])])
@pytest.mark.parametrize(("sparsity", "gone"), [(0.25, 1), (0.3, 2), (0.5, 2), (0.75, 3)])
def test_a_unit_takes_its_row_its_column_and_its_bias_along(reduce, order, sparsity, gone):
    """16 weights in 4 units of 2 + 2."""
    model = hidden()
    engine = pruned(model, one_shot(sparsity, granularity={"channel": {"reduce": reduce}}), torch.zeros(1, 2))
    stays = torch.ones(4, dtype=torch.bool)
    stays[order[:gone]] = False
    assert torch.equal(engine.masks["0.weight"], stays[:, None].expand(4, 2))
    assert torch.equal(engine.masks["2.weight"], stays[None].expand(2, 4))
    assert torch.equal(engine.companions["0.bias"], stays)
    assert (model[0].bias[~stays] == 0).all() and (model[0].bias[stays] == 1).all()
    assert engine.live == 4 * int(stays.sum())


class Block(nn.Module):
    """A residual block with a squeeze: stem, two convolutions, a depthwise one, a sum, a head."""

    def __init__(self, width=16):
        super().__init__()
        conv = lambda i, o, **more: nn.Conv2d(i, o, 3, padding=1, bias=False, **more)
        self.stem, self.norm0 = conv(3, width), nn.BatchNorm2d(width)
        self.a, self.norm1 = conv(width, 24), nn.BatchNorm2d(24)
        self.deep, self.norm2 = conv(24, 24, groups=24), nn.BatchNorm2d(24)
        self.b, self.norm3 = conv(24, width), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = F.relu(self.norm0(self.stem(x)))
        y = F.relu(self.norm1(self.a(x)))
        y = F.relu(self.norm2(self.deep(y)))
        x = F.relu(x + self.norm3(self.b(y)))
        return self.head(x.mean((2, 3)))


def block():
    torch.manual_seed(0)
    model = Block()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model, torch.randn(8, 3, 6, 6)


def test_what_goes_together():
    model, x = block()
    found = channels(model, x)
    assert found.count == 16 + 24
    assert torch.equal(found.rows["stem.weight"], found.rows["b.weight"])
    assert torch.equal(found.rows["a.weight"], found.rows["deep.weight"])
    assert torch.equal(found.columns["b.weight"], found.rows["a.weight"])
    assert torch.equal(found.columns["head.weight"], found.rows["stem.weight"])
    assert (found.rows["head.weight"] == -1).all() and (found.columns["stem.weight"] == -1).all()
    assert "deep.weight" not in found.columns
    assert torch.equal(found.beside["norm0.bias"], found.rows["stem.weight"])
    assert set(found.beside) == {f"norm{i}.{which}" for i in range(4) for which in ("weight", "bias")} | {"head.bias"}
    families = found.families({name for name, p in model.named_parameters() if p.dim() > 1})
    assert [len(members) for members in families.values()] in ([16, 24], [24, 16])
    assert list(found.families({"stem.weight", "a.weight", "deep.weight"}).values())[0].numel() == 24


@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("distribution", ["global", "uniform"])
def test_amounts_are_the_most_that_channels_allow_and_nothing_but_them_is_left(sparsity, distribution):
    model, x = block()
    engine = pruned(model, one_shot(sparsity, distribution=distribution), x)
    total = engine.history.total
    smallest = 24 * 9 * 16 + 9 * 24  # more than a channel of either kind takes along
    assert total * (1 - sparsity) - smallest / 4 < engine.live <= round(total * (1 - sparsity))
    small = remove(model, x, fold_batchnorm=False)
    assert cost_of(small, x).prunable == engine.live == cost_of(small, x).live
    assert cost_of(small, x).physical_params == cost_of(small, x).params
    assert len({small.stem.out_channels, small.b.out_channels, small.norm3.num_features}) == 1
    assert small.deep.groups == small.a.out_channels < 24 or distribution == "global"


@pytest.mark.parametrize("multiple", [4, 8])
def test_widths_are_rounded_up_to_a_multiple(multiple):
    model, x = block()
    plain = pruned(block()[0], one_shot(0.7, distribution="uniform"), x)
    engine = pruned(model, one_shot(0.7, distribution="uniform", granularity={"channel": {"multiple": multiple}}), x)
    rows = lambda engine, name: int(engine.masks[name].flatten(1).any(1).sum())
    for name in ("a.weight", "deep.weight", "stem.weight"):
        assert rows(engine, name) % multiple == 0
        assert plain.masks[name].numel() and rows(engine, name) <= -(-rows(plain, name) // multiple) * multiple
    assert engine.live <= round(engine.history.total * 0.3)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=5e-2),
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    ],
)
def test_masked_and_removed_networks_train_on_alike(make):
    engines = []
    for removal in ("never", "at-events"):
        model, x = block()
        engine = pruner(
            model, one_shot(0.6, removal=removal, distribution="uniform"), 6, make(model.parameters()), example_input=x
        )
        train(engine, 3)
        engine.epoch_end(loss=1.0, accuracy=0.5)
        train(engine, 10)
        engines.append(engine)
    masked, removed = engines
    assert removed.model.a.out_channels < 24 == masked.model.a.out_channels
    with torch.no_grad():
        for training in (True, False):
            pair = [copy.deepcopy(engine.model).train(training)(x) for engine in engines]
            assert torch.allclose(*pair, atol=1e-5 * float(pair[0].abs().max()))
    assert masked.live == removed.live


def train(engine, steps):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        inputs = torch.randn(8, 3, 6, 6, generator=generator)
        engine.optimizer.zero_grad()
        F.cross_entropy(engine.model(inputs), torch.arange(8) % 4).backward()
        engine.optimizer.step()


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.a(x)) if x.sum() > 0 else self.b(x)


def test_networks_without_channels_to_cut_are_refused_at_once():
    with pytest.raises(UserError, match="torch.fx cannot trace.*granularity: weight"):
        pruner(Branching(), PLAIN, example_input=torch.zeros(1, 4))
    with pytest.raises(UserError, match="no channel that could go"):
        pruner(nn.Sequential(nn.Linear(4, 2)), PLAIN, example_input=torch.zeros(1, 4))
    with pytest.raises(UserError, match="needs example_input"):
        pruner(hidden(), PLAIN)
