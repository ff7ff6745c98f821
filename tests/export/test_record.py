from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from prune_search.errors import UserError
from prune_search.export.load_safetensors import FUNCTIONS, LAYERS, METHODS, Refused, build, load
from prune_search.export.record import capture, record


def difference(network: nn.Module, rebuilt: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        return (network.eval()(inputs) - rebuilt(inputs)).abs().max().item()


def test_rebuilt_network_is_equal_and_the_model_is_left_alone(conv_net: nn.Module) -> None:
    before = {name: value.clone() for name, value in conv_net.state_dict().items()}
    architecture, weights = capture(conv_net, torch.randn(2, 1, 8, 8))
    rebuilt = build(json.loads(json.dumps(architecture)), weights)

    assert conv_net.training and not rebuilt.training
    assert conv_net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in conv_net.state_dict().items())
    assert set(rebuilt.state_dict()) == set(before) | {"gain"} == set(weights)
    assert {name for name, _ in rebuilt.named_parameters()} == {name for name, _ in conv_net.named_parameters()}
    assert difference(conv_net, rebuilt, torch.randn(5, 1, 8, 8)) == 0


def test_record_is_plain_data(conv_net: nn.Module) -> None:
    architecture = record(conv_net, torch.randn(2, 1, 8, 8))

    assert architecture["input_shape"] == [1, 8, 8]
    assert architecture["layers"]["norm"] == {"kind": "BatchNorm2d", "arguments": {"num_features": 4}}
    assert architecture["layers"]["stem"]["arguments"] == {
        "in_channels": 1,
        "out_channels": 4,
        "kernel_size": {"tuple": [3, 3]},
        "stride": {"tuple": [1, 1]},
        "padding": {"tuple": [1, 1]},
        "dilation": {"tuple": [1, 1]},
        "bias": False,
    }
    assert architecture["tensors"] == {"gain": "buffer"}
    everything, strided = {"slice": [None, None, None]}, {"slice": [None, None, 2]}
    (sliced,) = (node for node in architecture["nodes"] if node["target"] == "operator.getitem")
    assert sliced["args"][1] == {"tuple": [everything, everything, strided, strided]}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vgg11_bn"])
def test_torchvision(name: str) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 32, 32)
    with torch.device("meta"):
        network = getattr(torchvision.models, name)(num_classes=10)
    network.load_state_dict(small_weights(network), assign=True)
    architecture, weights = capture(network, inputs)
    assert difference(network, build(architecture, weights), inputs) <= 1e-6


def small_weights(network: nn.Module) -> dict[str, Tensor]:
    """Random weights for a network on the meta device, whose own initialisation would take seconds."""
    return {
        name: torch.rand(value.shape) * 0.05 if value.is_floating_point() else torch.zeros((), dtype=value.dtype)
        for name, value in network.state_dict().items()
    }


class Custom(nn.Module):
    """Runs one function, so that tests can say what a network does in a line."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.layer = function, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.function(x))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: torch.linalg.svdvals(x), "linalg_svdvals"),
        (lambda x: x.storage(), "step 'storage' calls the tensor method 'storage'"),
        (lambda x: x * x.grad, "the attribute 'grad'"),
        (lambda x: x if x.sum() > 0 else -x, "torch.fx cannot trace it"),
        (nn.MultiheadAttention(4, 1), "torch.nn.modules.activation.MultiheadAttention"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "ParametrizedLinear"),
        (lambda x: x.to(torch.complex64), "torch.complex64"),
    ],
)
def test_what_cannot_be_recorded_is_named(function, reason: str) -> None:
    with pytest.raises(UserError) as error:
        record(Custom(function), torch.ones(2, 4))
    assert reason in str(error.value)
    assert "pt2 or onnx" in str(error.value)


def test_a_hook_that_changes_the_answer_is_noticed() -> None:
    network = nn.Sequential(nn.Linear(4, 4))
    network[0].register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(UserError, match="answers differently"):
        record(network, torch.ones(2, 4))


def hostile(**changes: object) -> tuple[dict, dict[str, Tensor]]:
    """A valid record, its second step (a call) changed."""
    architecture, weights = capture(Custom(torch.relu), torch.ones(2, 4))
    architecture["nodes"][1] |= changes
    return architecture, weights


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "torch.load"},
        {"target": "os.system", "args": ["true"]},
        {"target": "builtins.eval", "args": ["1"]},
        {"target": "torch.nn.functional.relu.__globals__"},
        {"target": "getattr", "args": [{"node": "x"}, "__class__"]},
        {"target": "getattr", "args": [{"node": "x"}, "shape"], "kwargs": {"name": "__class__"}},
        {"target": "getattr", "args": [{"node": "x"}, {"tuple": ["shape"]}]},
        {"op": "call_method", "target": "__reduce__"},
        {"op": "call_method", "target": "register_hook"},
        {"op": "call_method", "target": "numpy"},
        {"op": "call_module", "target": "function"},
        {"op": "get_attr", "target": "layer.weight.__class__"},
        {"op": "exec", "target": "1"},
        {"args": [{"node": "later"}]},
        {"args": [{"dtype": "load"}]},
        {"args": [{"pickle": "gASVAAA="}]},
        {"name": "x"},
    ],
)
def test_hostile_steps_are_refused(changes: dict) -> None:
    with pytest.raises(Refused):
        build(*hostile(**changes))


@pytest.mark.parametrize("kind", ["Module", "Sequential", "LSTM", "modules.linear.Linear", "Conv9d", "__dict__"])
def test_unknown_layers_are_refused(kind: str) -> None:
    architecture, weights = hostile()
    architecture["layers"]["layer"]["kind"] = kind
    with pytest.raises(Refused, match="not one of the layers"):
        build(architecture, weights)


@pytest.mark.parametrize("name", ["forward", "_modules", "__class__", "", "layer..weight"])
def test_layers_and_tensors_cannot_replace_the_loader(name: str) -> None:
    architecture, weights = hostile()
    architecture["tensors"][name] = "buffer"
    with pytest.raises(Refused):
        build(architecture, weights | {name: torch.ones(1)})


def test_attributes_are_read_of_tensors_only() -> None:
    architecture, weights = hostile(target="getattr", args=["text", "T"])
    with pytest.raises(Refused, match="not a tensor"):
        build(architecture, weights)(torch.ones(2, 4))


def test_weights_must_fit() -> None:
    architecture, weights = hostile()
    with pytest.raises(Refused, match="Unexpected key"):
        build(architecture, weights | {"more": torch.ones(1)})
    with pytest.raises(Refused, match="size mismatch"):
        build(architecture, weights | {"layer.weight": torch.ones(4, 5)})


def test_the_lists_hold_nothing_that_reads_writes_or_runs() -> None:
    words = (
        "load",
        "save",
        "file",
        "open",
        "exec",
        "eval",
        "compile",
        "hook",
        "apply",
        "storage",
        "numpy",
        "set_",
        "ops",
    )
    names = [*LAYERS, *METHODS, *(name.rpartition(".")[2] for name in FUNCTIONS)]
    assert [name for name in names if any(word in name for word in words)] == []
    assert all(issubclass(getattr(nn, name), nn.Module) for name in LAYERS)
    assert all(callable(getattr(Tensor, name)) for name in METHODS)


def test_load_reads_a_folder(conv_net: nn.Module, tmp_path: Path) -> None:
    architecture, weights = capture(conv_net, torch.randn(2, 1, 8, 8))
    (tmp_path / "architecture.json").write_text(json.dumps(architecture))
    save_file(weights, tmp_path / "model.safetensors")
    assert difference(conv_net, load(tmp_path), torch.randn(3, 1, 8, 8)) == 0
