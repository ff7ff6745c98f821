"""Cutting in place while training goes on: plan, optimizer, masks, shapes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune_search.removal import RemovalError, apply, dead_units, remove, resize, shapes_of, slice_like

INPUT = torch.zeros(1, 12)


def masked_net(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 4))
    masks = {n: (torch.rand(p.shape) > 0.85).float() for n, p in model.named_parameters() if p.dim() > 1}
    for i in (0, 2):
        masks[f"{i}.bias"] = ((masks[f"{i}.weight"] != 0).any(1) & (masks[f"{i + 2}.weight"] != 0).any(0)).float()
    # what becomes dead through another's death is masked too, until nothing changes
    for _ in range(3):
        for i in (0, 2):
            live = masks[f"{i}.bias"]
            masks[f"{i}.weight"] *= live[:, None]
            masks[f"{i + 2}.weight"] *= live
        for i in (0, 2):
            masks[f"{i}.bias"] *= (masks[f"{i}.weight"] != 0).any(1) & (masks[f"{i + 2}.weight"] != 0).any(0)
    apply_masks(model, masks)
    return model, masks


def apply_masks(model, masks):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in masks:
                parameter *= masks[name]


def train(model, masks, optimizer, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x, y = torch.randn(16, 12, generator=generator), torch.randint(4, (16,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        apply_masks(model, masks)


OPTIMIZERS = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4),
    lambda p: torch.optim.AdamW(p, lr=1e-2),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_training_goes_on_alike_in_both(make):
    model, masks = masked_net()
    optimizer = make(model.parameters())
    train(model, masks, optimizer, 5, seed=1)
    twin = copy.deepcopy(model)
    twin_optimizer = make(twin.parameters())
    twin_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    removed = apply(twin, dead_units(twin, INPUT), twin_optimizer)
    assert twin[0].out_features < 20 and twin[2].out_features < 20
    twin_masks = {name: slice_like(mask, removed.kept.get(name, ())) for name, mask in masks.items()}
    train(model, masks, optimizer, 10, seed=2)
    train(twin, twin_masks, twin_optimizer, 10, seed=2)
    x = torch.randn(32, 12)
    assert torch.allclose(model(x), twin(x), atol=1e-5)
    for name, parameter in twin.named_parameters():
        wide = slice_like(dict(model.named_parameters())[name], removed.kept.get(name, ()))
        assert torch.allclose(parameter, wide, atol=1e-5)


def test_kept_indices_slice_what_lies_beside_a_parameter():
    model, masks = masked_net()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    removed = apply(model, dead_units(model, INPUT))
    assert removed.created == ()
    for name, parameter in model.named_parameters():
        if name in removed.kept:
            assert torch.equal(slice_like(before[name], removed.kept[name]), parameter)
        else:
            assert torch.equal(before[name], parameter)


def test_gradients_are_cut_along():
    model, _ = masked_net()
    model(torch.randn(3, 12)).sum().backward()
    wide = model[2].weight.grad.clone()
    removed = apply(model, dead_units(model, INPUT))
    assert torch.equal(model[2].weight.grad, slice_like(wide, removed.kept["2.weight"]))


def test_remove_hands_the_optimizer_over():
    model, masks = masked_net()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.dim() > 1]},
            {"params": [model[4].bias, model[0].bias]},
        ]
    )
    train(model, masks, optimizer, 2, seed=1)
    wide = optimizer.state[model[0].weight]["exp_avg"].clone()
    rows = dead_units(model, INPUT).kept["0.weight"][0]
    small = remove(model, torch.randn(2, 12), optimizer=optimizer)
    first, second = optimizer.param_groups
    assert [id(p) for p in first["params"]] == [id(small[i].weight) for i in (0, 2, 4)]
    assert [id(p) for p in second["params"]] == [id(small[4].bias), id(small[0].bias)]
    assert set(optimizer.state) == set(first["params"] + second["params"])
    state = optimizer.state[small[0].weight]
    assert torch.equal(state["exp_avg"], wide[rows]) and state["step"] == 2
    train(small, {}, optimizer, 1, seed=3)


def test_what_else_an_optimizer_holds_stays_in_its_place():
    model, masks = masked_net()
    own = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.SGD([own[0], *model.parameters(), own[1]], lr=0.1, momentum=0.9)
    sum(parameter.sum() for parameter in own).backward()
    optimizer.step()
    train(model, masks, optimizer, 2, seed=1)
    momentum = [optimizer.state[parameter]["momentum_buffer"] for parameter in own]
    small = remove(model, torch.randn(2, 12), optimizer=optimizer)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [
        id(p) for p in (own[0], *small.parameters(), own[1])
    ]
    assert all(optimizer.state[p]["momentum_buffer"] is before for p, before in zip(own, momentum, strict=True))


def test_created_bias_joins_its_weights_group():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        model[0].weight[0] = 0
        model[0].bias[0] = 0.5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    expected = model[2].weight[:, 0].detach() * 0.5
    removed = apply(model, dead_units(model, torch.zeros(1, 2)), optimizer)
    assert removed.created == ("2.bias",)
    assert torch.allclose(model[2].bias, expected)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]


def test_folded_norm_leaves_the_optimizer():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 1, 4, 4)).sum().backward()
    optimizer.step()
    small = remove(model, torch.randn(2, 1, 4, 4), optimizer=optimizer)
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in small.parameters()}
    assert set(optimizer.state) == {small[3].weight, small[3].bias}


def test_state_of_another_shape_is_refused_and_nothing_changes():
    model, _ = masked_net()
    optimizer = torch.optim.Adafactor(model.parameters())
    model(torch.randn(3, 12)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model[0].weight[0] = 0
    before, parameters = shapes_of(model), list(model.parameters())
    with pytest.raises(RemovalError, match="Adafactor keeps '.*' of shape"):
        apply(model, dead_units(model, INPUT) or pytest.fail("nothing to cut"), optimizer)
    assert shapes_of(model) == before
    assert all(a is b for a, b in zip(optimizer.param_groups[0]["params"], parameters))


def test_planning_marks_nothing():
    model, _ = masked_net()
    model.train()
    before = copy.deepcopy(model.state_dict())
    first, second = dead_units(model, INPUT), dead_units(model, INPUT)
    assert first.kept.keys() == second.kept.keys() != set()
    for name, kept in first.kept.items():
        assert all(map(torch.equal, kept, second.kept[name]))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_frozen_stays_frozen():
    model, _ = masked_net()
    model[0].weight.requires_grad_(False)
    apply(model, dead_units(model, INPUT))
    assert not model[0].weight.requires_grad and model[2].weight.requires_grad


def test_resize_then_load():
    model = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 3, bias=False))
    with torch.no_grad():
        model[0].weight[:2] = 0
    small = remove(model, torch.randn(2, 4))
    fresh = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 3, bias=False))
    untouched = fresh[0].bias
    resize(fresh, {"0.bias": [6]})
    assert fresh[0].bias is untouched
    resize(fresh, shapes_of(small)).load_state_dict(small.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(fresh(x), small(x))
    assert (fresh[0].out_features, fresh[2].in_features) == (4, 4)


@pytest.mark.parametrize("name", ["0.weight", "9.weight"])
def test_resize_refuses_what_it_cannot(name):
    with pytest.raises(RemovalError, match=name):
        resize(nn.Sequential(nn.Conv2d(1, 2, 3)), {name: (3, 1, 3, 3)})
