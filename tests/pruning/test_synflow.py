"""SynFlow, SNIP, GraSP: the property tests of their specification, with its numbers."""

import pytest
import torch
from pruning.nets import pruner, small_net
from torch import nn

from prune_search.cost import cost_of
from prune_search.pruning.masking import CollapsedLayer
from prune_search.pruning.ranking import NonFiniteScore, Ranking
from prune_search.pruning.registry import parts

TOTAL = 266_200


SCORES = [name for name, score in parts("score").items() if "weight" in score.requires.get("granularity", ("weight",))]


def chain(*weights):
    """Linear layers with these weights, no biases, ReLU between."""
    layers = []
    for values in weights:
        weight = torch.as_tensor(values, dtype=torch.float64)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
        layer.weight.data = weight.clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def kaiming(seed):
    """784-300-100-10, Kaiming normal."""
    torch.manual_seed(seed)
    layers = [nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    for layer in layers[::2]:
        nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers)


def inputs_of(model, width=None):
    """What scores may ask for: 40 inputs of 4 classes."""
    first = next(model.parameters())
    inputs = torch.randn(40, width or first.shape[1], generator=torch.Generator().manual_seed(0)).to(first.dtype)
    batch = (inputs, torch.arange(40) % 4)
    return {
        "loss": nn.functional.cross_entropy,
        "probe": lambda *_, **__: batch,
        "example_input": inputs,
    }


def scores(model, score, **inputs):
    """One score of every weight."""
    engine = pruner(model, {"score": score}, **{**inputs_of(model), **inputs})
    return engine.recipe.score.score(engine._context(), {})


def keep(model, score, remaining):
    """The masks one step leaves, collapsed layers included."""
    engine = pruner(model, {"score": score, "removal": "never"}, **inputs_of(model))
    ranking = Ranking(engine._context(), engine.recipe.score, engine.recipe.granularity, None, {}, 0.0)
    return ranking.masks(parts("distribution")["global"]().pools(remaining, engine.masks))


def counts(masks):
    return [int(mask.sum()) for mask in masks.values()]


def start(model, score, remaining, iterations, schedule="exponential"):
    """Prune at initialisation; the masks after each iteration, the last one collapsed or not."""
    total = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)
    chosen = {"score": score, "schedule": {schedule: {"final_sparsity": 1 - remaining / total}}}
    recipe = {"preset": "dense", "at_start": {**chosen, "iterations": iterations}}
    engine, seen = pruner(model, recipe, **inputs_of(model)), []
    apply = engine._set_masks
    engine._set_masks = lambda masks, context: (seen.append(masks), apply(masks, context))
    try:
        engine.start()
    except CollapsedLayer:
        pass
    return seen


HAND = ([[1, -2], [3, 4]], [[-5, 6]])


def test_1_by_hand():
    first, second = scores(chain(*HAND), "synflow").values()
    assert first.tolist() == [[5, 10], [18, 24]]
    assert second.tolist() == [[15, 42]]
    assert first.sum() == second.sum() == 57
    assert first.sum(1).tolist() == second.sum(0).tolist() == [15, 42]


def test_2_iteration_matters():
    masks = keep(chain(*HAND), "synflow", 3)
    assert [mask.tolist() for mask in masks.values()] == [[[False, False], [True, True]], [[False, True]]]
    first, second = scores(chain([[0, -2], [3, 4]], [[-5, 6]]), "synflow").values()
    assert first.tolist() == [[0, 10], [18, 24]]
    assert second.tolist() == [[10, 42]]
    assert first.sum() == 52


def test_3_collapse_by_ties():
    ties = ([[1, 1], [1, 1]], [[0.1, 0.1]])
    first, second = scores(chain(*ties), "synflow").values()
    assert first.tolist() == [[0.1, 0.1], [0.1, 0.1]]
    assert second.tolist() == [[0.2, 0.2]]
    assert counts(keep(chain(*ties), "synflow", 3)) == [1, 2]
    assert counts(keep(chain(*ties), "magnitude", 3)) == [3, 0]


def test_4_maximal_critical_compression():
    masks = start(kaiming(0), "synflow", 3, 100)[-1]
    assert counts(masks) == [1, 1, 1]
    path = [mask.nonzero()[0].tolist() for mask in masks.values()]
    assert path[0][0] == path[1][1] and path[1][0] == path[2][1]


@pytest.mark.parametrize("seed", range(3))
def test_4_no_layer_is_empty_at_ten_thousand_times(seed):
    assert counts(start(kaiming(seed), "synflow", 27, 100)[-1]) == pytest.approx([11, 7, 9], abs=3)
    assert counts(keep(kaiming(seed), "magnitude", 27)) == pytest.approx([0, 1, 26], abs=3)
    assert counts(keep(kaiming(seed), "synflow", 27)) == [0, 0, 27]


def test_4_linear_steps_collapse():
    assert counts(start(kaiming(1), "synflow", 27, 100, "linear")[-1]) == [0, 1, 26]


def test_5_at_a_hundred_times():
    """Means of three draws, since a single one scatters by up to 8 %."""
    nets = [kaiming(seed) for seed in range(3)]
    found = {
        "synflow, 100 steps": [counts(start(net, "synflow", 2662, 100)[-1]) for net in nets],
        "synflow, 1 step": [counts(keep(kaiming(seed), "synflow", 2662)) for seed in range(3)],
        "magnitude": [counts(keep(kaiming(seed), "magnitude", 2662)) for seed in range(3)],
    }
    expected = {
        "synflow, 100 steps": [1300, 775, 590],
        "synflow, 1 step": [0, 1714, 948],
        "magnitude": [566, 1814, 282],
    }
    for name, values in expected.items():
        assert torch.tensor(found[name]).double().mean(0).tolist() == pytest.approx(values, rel=0.05), name


class Awkward(nn.Module):
    """Zeros, an integer buffer, a negative norm mean, dropout, noise, one norm of two in eval mode, a frozen layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first, self.norm, self.dropout = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.5)
        self.hidden, self.other, self.last = nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)
        self.register_buffer("order", torch.arange(16).flip(0))
        self.register_buffer("scale", torch.tensor(-2.0))
        self.norm.running_mean.fill_(-0.5)
        self.norm.running_var.fill_(0.25)
        with torch.no_grad():
            self.first.weight[:4] = 0
            self.norm.weight[0] = -1
        self.other.eval()
        self.hidden.weight.requires_grad_(False)

    def forward(self, x):
        x = self.dropout(self.norm(self.first(x)))[:, self.order] * self.scale
        return self.last(torch.relu(self.other(self.hidden(x + 0 * torch.rand_like(x)))))


@pytest.mark.parametrize("score", SCORES)
def test_6_no_trace(score):
    model = Awkward()
    inputs = inputs_of(model, width=8)
    model(inputs["example_input"]).sum().backward()
    model.first.register_forward_hook(lambda *_: None)
    parameters = dict(model.named_parameters())

    def state():
        tensors = {**model.state_dict(), **{f"{name}.grad": p.grad for name, p in parameters.items()}}
        return {name: None if value is None else value.clone() for name, value in tensors.items()}

    def rest():
        modules = list(model.modules())
        return (
            [module.training for module in modules],
            [[list(hooks) for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)] for m in modules],
            {name: (id(p), p.requires_grad, id(p.grad)) for name, p in model.named_parameters()},
            {name: id(b) for name, b in model.named_buffers()},
            torch.is_grad_enabled(),
        )

    before, around, random = state(), rest(), torch.get_rng_state()
    engine = pruner(model, {"score": score}, **inputs)
    with torch.no_grad():
        engine.recipe.score.score(engine._context(), {})
    assert torch.is_grad_enabled()
    assert rest() == around
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in state().items():
        assert value is before[name] is None or torch.equal(value, before[name]), name


def test_6_no_data():
    model = small_net()
    labels = torch.arange(40) % 4
    found = [
        scores(model, "synflow", example_input=data, probe=lambda *_, **__: (data, order))
        for data, order in ((torch.rand(40, 8), labels), (torch.full((1, 8), 3.0), labels.flip(0)))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor, dtype=torch.float64))

    def forward(self, x):
        return x * self.factor


def test_7_scale():
    torch.manual_seed(0)
    weights = [torch.randn(12, 8).double(), torch.randn(10, 12).double(), torch.randn(4, 10).double()]
    plain, kept = scores(chain(*weights), "synflow"), keep(chain(*weights), "synflow", 100)
    scaled = scores(nn.Sequential(Times(7.0), *chain(*weights)), "synflow", example_input=torch.ones(1, 8))
    for values, expected in zip(scaled.values(), plain.values()):
        assert torch.allclose(values, 7 * expected, rtol=1e-12)
    flipped = [weight * torch.randn_like(weight).sign() for weight in weights]
    hundred = [weights[0], 100 * weights[1], weights[2]]
    for changed in (flipped, hundred):
        again = keep(chain(*changed), "synflow", 100)
        assert all(torch.equal(again[name], kept[name]) for name in kept)
    assert counts(keep(chain(*weights), "magnitude", 100)) != counts(keep(chain(*hundred), "magnitude", 100))


def half_square(outputs, _):
    return outputs.square().mean() / 2


def single(weights, score):
    """Scores of y = w.x for x = (1, 3) and the loss y^2 / 2."""
    batch = (torch.tensor([[1.0, 3.0]]).double(), torch.zeros(1))
    (values,) = scores(chain([weights]), score, loss=half_square, probe=lambda *_, **__: batch).values()
    return values[0]


@pytest.mark.parametrize(
    ("weights", "expected", "shares"), [((4, -1), (4, 3), (4 / 7, 3 / 7)), ((2, 1), (10, 15), (0.4, 0.6))]
)
def test_8_snip_by_hand(weights, expected, shares):
    found = single(weights, "snip")
    assert found.tolist() == pytest.approx(expected)
    assert (found / found.sum()).tolist() == pytest.approx(shares)


@pytest.mark.parametrize(("weights", "expected", "first"), [((4, -1), (40, -30), 1), ((2, -1), (-20, 30), 0)])
def test_9_grasp_by_hand(weights, expected, first):
    found = single(weights, {"grasp": {"temperature": 1}})
    assert found.tolist() == pytest.approx(expected)
    assert found.argmin() == first
    assert single(weights, {"grasp": {"temperature": 10}}).tolist() == pytest.approx([e / 10_000 for e in expected])


@pytest.mark.parametrize("score", SCORES)
def test_10_monotone_and_exact(score):
    """Of weights with many ties and zeros."""
    torch.manual_seed(0)
    weights = [torch.randn(shape).mul(2).round() / 8 for shape in ((16, 8), (12, 16), (4, 12))]
    seen = start(chain(*weights), score, 37, 10)
    assert [sum(counts(masks)) for masks in seen] == [round(368 * (37 / 368) ** (k / 10)) for k in range(1, 11)]
    for before, after in zip(seen, seen[1:]):
        assert all((before[name] | ~after[name]).all() for name in after)


@pytest.mark.parametrize("score", sorted({*SCORES} - {"random"}))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_10_a_score_that_is_not_finite_names_the_score_and_the_layer(score, value):
    model = small_net()
    model[2].weight.data[1, 1] = value
    with pytest.raises(NonFiniteScore, match=rf"'{score}' is not finite in \d\.weight"):
        start(model, score, 100, 1)


def test_10_overflow_names_the_layer():
    """Layers of 1e200, 1e200 and 1e-200: only the last layer's score, 1e-200 times inf, is not finite."""
    with pytest.raises(NonFiniteScore, match="'synflow' is not finite in 4.weight"):
        start(chain([[1e200]], [[1e200]], [[1e-200]]), "synflow", 2, 1)


def test_10_float32_networks_do_not_overflow():
    """A 512-wide float32 chain of 40 layers: its absolute network overflows float32."""
    torch.manual_seed(0)
    layers = [nn.Linear(512, 512) for _ in range(40)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
    found = scores(nn.Sequential(*layers), "synflow")
    totals = torch.stack([values.sum() for values in found.values()])
    assert totals[0] > 1e50
    assert torch.allclose(totals, totals[0].expand(40), rtol=1e-9)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("exponential", {1: 0.955, 10: 0.631, 50: 0.1, 99: 0.0105, 100: 0.01}),
        ("linear", {1: 0.990, 10: 0.901, 50: 0.505, 99: 0.0199, 100: 0.01}),
    ],
)
def test_11_schedules(schedule, expected):
    curve = parts("schedule")[schedule]
    for step, kept in expected.items():
        assert float(f"{1 - curve(final_sparsity=0.99).sparsity(step / 100):.3g}") == kept
        assert curve(final_sparsity=0.0).sparsity(step / 100) == 0


def test_12_flops():
    conv = nn.Conv2d(3, 16, 3, padding=1)
    images = torch.zeros(1, 3, 32, 32)
    assert cost_of(conv, images).macs == 442_368
    assert cost_of(nn.Linear(512, 10), torch.zeros(1, 512)).macs == 5_120
    masks = torch.arange(conv.weight.numel()).view_as(conv.weight) % 2
    conv.weight.data.mul_(masks)
    assert cost_of(conv, images).macs == 221_184
