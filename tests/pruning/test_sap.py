"""The property tests of SAP's page, by its numbers."""

import dataclasses
import itertools

import pytest
import torch
from pruning.nets import linear_of, pruner, small_net
from torch import nn

from prune_search.pruning.context import Pool
from prune_search.pruning.schedule.pq_index import bound, index, removed

PAIRS = [(1.0, 2.0), (0.5, 1.0)]
PEAKED = [10.0] + [1.0] * 9


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def goes(values, p, q, gamma=1.0, beta=0.9, eta=0.0):
    live = torch.tensor(len(values))
    return int(removed(live, bound(double(*values), p, q, eta), gamma, beta))


def event(weights, distribution="global", **pq):
    """A pruner on one Linear per list of weights; the live counts after one event."""
    model = nn.Sequential(*[linear_of(values) for values in weights])
    recipe = {"schedule": {"pq-index": pq}, "distribution": distribution, "stopping": "every", "dense_epochs": 1}
    engine = pruner(model, {**recipe, "removal": "never"})
    engine.epoch_end(loss=1.0, accuracy=0.5)
    return engine


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_1_index_and_bound(p, q):
    assert float(index(double(1, 1, 1, 1), p, q)) == pytest.approx(0, abs=1e-15)
    assert float(bound(double(1, 1, 1, 1), p, q)) == pytest.approx(4)
    assert float(index(double(1, 0, 0, 0), p, q)) == pytest.approx({1.0: 0.5, 0.5: 0.75}[p])
    assert float(bound(double(1, 0, 0, 0), p, q)) == pytest.approx(1)
    assert float(bound(double(3, 1), p, q)) == pytest.approx({1.0: 1.6, 0.5: 1.8660254}[p])
    assert (float(index(double(0, 0), p, q)), float(bound(double(0, 0), p, q))) == (0, 0)


def test_2_removal():
    assert float(index(double(*PEAKED), 1, 2)) == pytest.approx(0.42451, abs=5e-6)
    assert float(bound(double(*PEAKED), 1, 2)) == pytest.approx(361 / 109)
    assert float(index(double(*PEAKED), 0.5, 1)) == pytest.approx(0.22147, abs=5e-6)
    assert float(bound(double(*PEAKED), 0.5, 1)) == pytest.approx(7.78532, abs=5e-6)
    assert goes(PEAKED, 1, 2) == 6
    assert goes(PEAKED, 0.5, 1) == 2
    engine = event([PEAKED], p=1.0, gap=1.0)
    assert engine.masks["0.weight"].tolist() == [[True] * 4 + [False] * 6]


@pytest.mark.parametrize("distribution", ["uniform", "per-neuron"])
def test_weights_that_are_all_zero_say_nothing_and_stay(distribution):
    engine = event([[0.0] * 10, PEAKED], distribution, p=1.0, gap=1.0)
    assert [int(mask.sum()) for mask in engine.masks.values()] == [10, 4]


def test_3_zeros_do_not_change_the_bound():
    assert float(bound(double(5, 2, 1), 1, 2)) == pytest.approx(64 / 30)
    assert float(bound(double(5, 2, 1, 0, 0), 1, 2)) == pytest.approx(64 / 30)
    assert float(index(double(5, 2, 1), 1, 2)) == pytest.approx(0.15673, abs=5e-6)
    assert float(index(double(5, 2, 1, 0, 0), 1, 2)) == pytest.approx(0.34680, abs=5e-6)
    assert (goes([5, 2, 1], 1, 2), goes([5, 2, 1, 0, 0], 1, 2)) == (0, 2)
    assert event([[5.0, 2, 1, 0, 0]], p=1.0, gap=1.0).masks["0.weight"].tolist() == [[True] * 3 + [False] * 2]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_4_invariance(p, q):
    weights = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).abs()
    r = float(bound(weights, p, q))
    for scale in (1e-12, 1e12):
        assert float(bound(scale * weights, p, q)) == pytest.approx(r, rel=1e-12)
    assert float(bound(weights.repeat(2), p, q)) == pytest.approx(2 * r, rel=1e-12)
    assert float(bound(weights.flip(0), p, q)) == pytest.approx(r, rel=1e-12)
    signed = weights.float().tolist()
    signed[::2] = [-value for value in signed[::2]]
    masks = [event([values], p=p, gap=q - p).masks["0.weight"] for values in (signed, list(map(abs, signed)))]
    assert torch.equal(*masks)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda g: torch.rand(10**6, dtype=torch.float64, generator=g), {1.0: (0.134, 0.25), 0.5: (0.111, 0.111)}),
        (
            lambda g: torch.randn(10**6, dtype=torch.float64, generator=g),
            {1.0: (0.2021, 0.363), 0.5: (0.153, 0.153)},
        ),
        (
            lambda g: torch.empty(10**6, dtype=torch.float64).exponential_(generator=g),
            {1.0: (0.293, 0.5), 0.5: (0.215, 0.215)},
        ),
    ],
    ids=["uniform", "gaussian", "laplace"],
)
@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_5_distributions(draw, expected, p, q):
    magnitudes = draw(torch.Generator().manual_seed(0)).abs()
    gone = removed(torch.tensor(10**6), bound(magnitudes, p, q), 1.0, 0.9)
    assert float(index(magnitudes, p, q)) == pytest.approx(expected[p][0], abs=0.002)
    assert float(gone) / 10**6 == pytest.approx(expected[p][1], abs=0.002)


def test_6_cap_and_factors():
    assert goes([1.0] + [0.0] * 99, 1, 2, beta=0.9) == 90
    assert int(removed(torch.tensor(100), double(85)[0], 3.0, 0.9)) == 45
    for (p, q), eta, factor in [((1, 2), 1.0, 0.25), ((0.5, 1), 1.0, 0.25), ((1, 2), 0.1, 0.82645)]:
        ratio = bound(double(*PEAKED), p, q, eta) / bound(double(*PEAKED), p, q)
        assert float(ratio) == pytest.approx(factor, abs=5e-6)


def test_7_masked_entries_are_ignored():
    model = nn.Sequential(linear_of([5.0, 2, 1, 100, 100]))
    engine = pruner(model, {"schedule": {"pq-index": {"p": 1.0, "gap": 1.0}}, "dense_epochs": 1, "removal": "never"})
    masks = {"0.weight": torch.tensor([[True, True, True, False, False]])}
    context = dataclasses.replace(engine._context(), masks=masks)
    assert engine.recipe.schedule.remaining(context, {}) == [Pool(("0.weight",), 3)]


@pytest.mark.parametrize(("distribution", "left"), [("uniform", [4, 4]), ("global", [1, 4])])
def test_8_scope(distribution, left):
    engine = event([[1.0] * 4, PEAKED], distribution, p=1.0, gap=1.0)
    counts = [int(mask.sum()) for mask in engine.masks.values()]
    if distribution == "uniform":
        assert counts == left
    assert sum(counts) == sum(left)


def test_8_scope_of_neurons():
    model = nn.Sequential(nn.Linear(10, 2, bias=False))
    model[0].weight.data = torch.tensor([PEAKED, [1.0] * 10])
    recipe = {"schedule": {"pq-index": {"p": 1.0, "gap": 1.0}}, "distribution": "per-neuron", "stopping": "every"}
    engine = pruner(model, {**recipe, "dense_epochs": 1, "removal": "never"})
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert engine.masks["0.weight"].tolist() == [[True] * 4 + [False] * 6, [True] * 10]


def test_9_the_closed_form_is_the_definition():
    generator = torch.Generator().manual_seed(1)
    grid = [(p, p + gap) for p, gap in itertools.product((0.2, 0.5, 1.0), (0.2, 0.5, 1.0))]
    for trial in range(100):
        w = torch.randn(5 + trial, dtype=torch.float64, generator=generator).abs()
        d = len(w)
        for p, q in grid:
            norms = [w.pow(k).sum().pow(1 / k) for k in (p, q)]
            definition = 1 - d ** (1 / q - 1 / p) * float(norms[0] / norms[1])
            assert float(index(w, p, q)) == pytest.approx(definition, rel=1e-10, abs=1e-12)
            least = d * (1 - definition) ** (p * q / (q - p))
            assert float(bound(w, p, q)) == pytest.approx(least, rel=1e-10)


def test_10_masks_shrink_and_rewinds_give_the_start_back():
    model = small_net()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    engine = pruner(model, {"preset": "sap", "dense_epochs": 1, "stopping": "every", "floor": 0.05}, epochs=9)
    engine.epoch_start()
    before = dict(engine.masks)
    for _ in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        assert engine.epoch_end(loss=1.0, accuracy=0.5).event
        for name, mask in engine.masks.items():
            assert (mask <= before[name]).all()
        before = dict(engine.masks)
        for name, value in model.state_dict().items():
            assert torch.equal(value, start[name] * engine.masks.get(name, torch.tensor(1.0)))
        assert all(map(torch.equal, engine.states["rewind"]["point"].values(), start.values()))


def test_rounding_errors_keep_no_weight_more():
    least = bound(double(1, 4, 7, 9) * 0.1, 1, 2)
    assert float(least) > 3  # 21^2 / 147 is 3
    assert int(removed(torch.tensor(4), least, 1.0, 0.9)) == 1
    assert goes([4, 1, 1, 0], 1, 2) == 2
    assert int(removed(torch.tensor(1000), double(900)[0], 0.29, 0.9)) == 29  # 0.29 * 100 is 28.999999999999996
