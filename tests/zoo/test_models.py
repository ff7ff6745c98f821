from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prune_search.cost import encode
from prune_search.errors import UserError
from prune_search.zoo.data import load_data
from prune_search.zoo.models import build_model, check_model
from prune_search.zoo.names import MODELS
from prune_search.zoo.networks import BUILDERS

GREY, RGB = (1, 28, 28), (3, 32, 32)


def build(name: str, shape: tuple[int, ...] = GREY, classes: int = 10, seed: int = 0, **changes) -> nn.Module:
    known = {key: changes.pop(key) for key in ("checkpoint", "resolve") if key in changes}
    return build_model(name, input_shape=shape, num_classes=classes, seed=seed, options=changes, **known)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", root=".", train_size=20, validation_size=10)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "params", "weights"),
    [
        ("lenet-300-100", GREY, 10, 266_610, 266_200),
        ("lenet-300-100", (1, 8, 8), 10, 64 * 300 + 300 + 30_100 + 1_010, 64 * 300 + 31_000),
        ("mlp-1000", GREY, 10, 2_797_010, 2_794_000),
        ("lenet-5", GREY, 10, 431_080, 430_500),
        ("resnet-20", RGB, 10, 269_722, 268_336),
        ("resnet-32", RGB, 10, 464_154, 461_872),
        ("resnet-56", RGB, 10, 853_018, 848_944),
        ("vgg-11", RGB, 10, 9_228_362, 9_222_848),
        ("vgg-16", RGB, 10, 14_724_042, 14_715_584),
        ("vgg-19", RGB, 10, 20_035_018, 20_024_000),
        ("vgg-19", (3, 64, 64), 200, 20_132_488, 20_018_880 + 102_400),
        ("resnet-18-cifar", RGB, 10, 11_173_962, 11_164_352),
        ("resnet-18-cifar", RGB, 100, 11_220_132, 11_159_232 + 51_200),
    ],
)
def test_parameter_counts(name, shape, classes, params, weights):
    with torch.device("meta"):
        model = BUILDERS[name](shape, classes)
    assert sum(p.numel() for p in model.parameters()) == params
    assert sum(m.weight.numel() for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))) == weights


def test_layer_names_of_lenet_300_100():
    assert [name for name, _ in build("LeNet-300-100").named_children()] == [
        "flatten", "fc1", "relu1", "fc2", "relu2", "fc3"
    ]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_networks_are_traced_exported_and_give_scores(name):
    with torch.device("meta"):
        model = BUILDERS[name]((1, 16, 16), 7).eval()
        x = torch.randn(2, 1, 16, 16)
        assert torch.fx.symbolic_trace(model)(x).shape == (2, 7)
        assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == sum(
            node.op == "call_module" and "relu" in str(type(model.get_submodule(node.target))).lower()
            for node in torch.fx.symbolic_trace(model).graph.nodes
        )


@pytest.mark.parametrize("name", ["lenet-5", "resnet-20"])
def test_export_agrees_with_the_model(name):
    model, x = build(name).eval(), torch.randn(3, *GREY, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
    assert torch.allclose(program.module()(x[:2]), model(x[:2]), atol=1e-6)


def test_option_a_shortcut_subsamples_and_pads_with_zeros():
    block = build("resnet-20", RGB).layers[1][0].shortcut
    x = torch.rand(2, 16, 8, 8)
    y = block(x)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2]) and not y[:, 16:].any() and y.shape == (2, 32, 4, 4)
    assert not list(block.parameters())


@pytest.mark.parametrize("name", ["lenet-300-100", "resnet-20", "squeezenet1_0"])
def test_the_seed_decides_and_global_generators_are_left_alone(name):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first, again, other = (build(name, RGB, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(states[0], torch.get_rng_state()) and random.getstate() == states[2]
    assert (np.random.get_state()[1] == states[1]).all()


def test_torchvision_classifiers_get_the_number_of_classes(digits):
    model = build("ShuffleNet_v2_x0_5", RGB, classes=7).eval()
    assert model(torch.randn(2, *RGB)).shape == (2, 7)
    assert build("squeezenet1_0", RGB, dropout=0.25).classifier[0].p == 0.25


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"name": "resnet-20x"},
            "'resnet-20x' is unknown. Did you mean 'resnet-20'.*Built in: lenet-300-100",
        ),
        (
            {"name": "lenet-5", "shape": (1, 8, 8)},
            r"lenet-5 needs images of 16x16 pixels or more; the data gives \[1, 8, 8\]",
        ),
        ({"name": "resnet-20", "shape": (40,)}, r"takes images \[C, H, W\]; the data gives \[40\]"),
        ({"name": "vgg-16", "width": 3}, "model.width is unknown: vgg-16 takes no options"),
        ({"name": "squeezenet1_0", "depth": 3}, "squeezenet1_0 cannot be built with {'depth': 3}"),
        ({"name": "no_such_package.nets:build"}, "there is no module 'no_such_package'"),
        ({"name": "math:prod"}, "math:prod"),
        ({"name": "lenet-5", "checkpoint": "gone.safetensors"}, "gone.safetensors is no file"),
        ({"name": "lenet-5", "checkpoint": "models:/net/1"}, "model registry"),
    ],
)
def test_what_cannot_be_built(arguments, said):
    with pytest.raises(UserError, match=said):
        build(**arguments)


def test_a_users_function_gets_what_it_takes(user_module):
    name = user_module(
        "from torch import nn\n"
        "def build(num_classes, width=3):\n    return nn.Linear(width, num_classes)\n"
        "class Net(nn.Linear):\n    def __init__(self, input_shape, **options):\n        "
        "super().__init__(input_shape[0], 4)\n"
        "def text():\n    return 'net'\n"
    )
    assert build(f"{name}:build", width=8).weight.shape == (10, 8)
    assert build(f"{name}:Net", (6,)).weight.shape == (4, 6)
    assert torch.equal(build(f"{name}:build").weight, build(f"{name}:build").weight)
    with pytest.raises(UserError, match="gave a str; it must return a torch.nn.Module"):
        build(f"{name}:text")


def test_lazy_layers_are_built_by_the_seed(user_module):
    name = user_module(
        "from torch import nn\n"
        "def build(num_classes):\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    first = build(f"{name}:build", (1, 8, 8))
    torch.rand(3)
    assert first[1].weight.shape == (10, 64) and first.training
    assert torch.equal(first[1].weight, build(f"{name}:build", (1, 8, 8))[1].weight)


def test_a_sparse_exported_file_is_a_checkpoint(tmp_path):
    saved = build("lenet-5", seed=3).state_dict()
    saved["fc1.weight"][:, 5:] = 0
    (tmp_path / "model.safetensors").write_bytes(encode(saved))
    assert b"fc1.weight.bitmap" in (tmp_path / "model.safetensors").read_bytes()
    loaded = build("lenet-5", checkpoint=tmp_path / "model.safetensors").state_dict()
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_checkpoints_are_loaded(tmp_path, suffix):
    saved, path = build("lenet-5", seed=3).state_dict(), tmp_path / f"net{suffix}"
    save_file(saved, path) if suffix == ".safetensors" else torch.save({"state_dict": saved}, path)
    for options in ({"checkpoint": path}, {"checkpoint": "models:/net/1", "resolve": lambda uri: path}):
        loaded = build("lenet-5", **options).state_dict()
        assert all(torch.equal(loaded[key], saved[key]) for key in saved)


def test_checkpoints_that_do_not_fit_or_cannot_be_read(tmp_path):
    state = build("lenet-300-100", classes=9).state_dict()
    state["extra"] = state.pop("fc1.bias")
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(UserError) as error:
        build("lenet-300-100", checkpoint=tmp_path / "other.safetensors")
    for said in (
        "1 missing (fc1.bias)",
        "1 unexpected (extra)",
        "fc3.weight is [9, 100], not [10, 100]",
        "6 tensors",
    ):
        assert said in str(error.value)
    torch.save(nn.Linear(2, 2), tmp_path / "pickle.pt")
    with pytest.raises(UserError, match="pickled code is not loaded"):
        build("lenet-5", checkpoint=tmp_path / "pickle.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        build("lenet-5", checkpoint=tmp_path / "numbers.pt")


def test_check_model_passes_and_leaves_the_model_as_it_was(digits):
    model = build("resnet-20", digits.input_shape)
    model.layers[0].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert check_model(model, digits) is None
    assert model.training and not model.layers[0].training and model.layers[1].training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: build("resnet-20", RGB), r"cannot take inputs \[2, 1, 8, 8\].*to have 3 channels"),
        (
            lambda: build("lenet-300-100", (1, 8, 8), classes=9),
            r"gives \[2, 9\].*a tensor \[2, 10\] is needed",
        ),
        (lambda: Pair(), r"gives a tuple .*a tensor \[2, 10\] is needed"),
    ],
)
def test_check_model_says_which_shapes_came(digits, model, said):
    with pytest.raises(UserError, match=said):
        check_model(model(), digits)


def test_an_option_may_be_called_like_anything(user_module):
    name = user_module(
        "from torch import nn\ndef build(seed, checkpoint, name, num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, seed + checkpoint + name), nn.Linear(seed + checkpoint + name, num_classes))\n"
    )
    options = {"seed": 1, "checkpoint": 2, "name": 3, "num_classes": 4}
    model = build_model(f"{name}:build", input_shape=GREY, num_classes=10, seed=0, options=options)
    assert model[1].out_features == 6 and model[2].out_features == 4
