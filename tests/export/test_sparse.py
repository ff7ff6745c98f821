"""The sparse encoding in an exported folder, and the loader that reads it alone."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prune_search.cost import encoding, size_bytes
from prune_search.export import load_safetensors as loader
from prune_search.export.network import export_network

from .networks import INFO, VALIDATION


@pytest.fixture
def sparse_mlp() -> nn.Module:
    """64-300-100-3, of whose 49,500 weights 5 % are not zero."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU())
    network.append(nn.Linear(100, 3))
    with torch.no_grad():
        for layer in network[1::2]:
            count = layer.weight.numel()
            kept = torch.randperm(count, generator=generator).view(layer.weight.shape) < count // 20
            layer.weight.copy_(torch.rand(kept.shape, generator=generator).sub(0.5) * kept)
            layer.bias.copy_(torch.rand(layer.bias.shape, generator=generator))
    return network


def run_alone(folder: Path, inputs: Tensor) -> Tensor:
    """What the loader answers in a process that has no prune_search."""
    save_file({"inputs": inputs}, folder / "inputs")
    code = (
        "import sys; sys.modules['prune_search'] = None; sys.path.insert(0, '.')\n"
        "from safetensors.torch import load_file, save_file\n"
        "from load import load\n"
        "save_file({'outputs': load('.')(load_file('inputs')['inputs']).detach()}, 'outputs')"
    )
    process = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return load_file(folder / "outputs")["outputs"]


def test_a_sparse_network_is_a_small_file_and_answers_bit_for_bit(sparse_mlp: nn.Module, tmp_path: Path) -> None:
    """Data: bitmaps of 19,200, 30,000 and 300 bits, 2,475 weights, 403 biases."""
    written = {"out": tmp_path, "formats": ["safetensors"], "info": INFO}
    exported = export_network(sparse_mlp, example_input=VALIDATION[0][:1], validation=VALIDATION, **written)
    size, data = exported.sizes["model.safetensors"], 2400 + 3750 + 38 + 4 * (2475 + 403)
    assert data < size < data + 800
    assert size == size_bytes(sparse_mlp)
    with torch.no_grad():
        assert torch.equal(run_alone(tmp_path, VALIDATION[0]), sparse_mlp(VALIDATION[0]))
    assert (
        f"{size:,} bytes, header included, for tensors of {4 * 49_903:,} bytes" in (tmp_path / "README.md").read_text()
    )
    assert json.loads((tmp_path / "metadata.json").read_text())["tensor_bytes"] == 4 * 49_903


def test_a_dense_folder_of_version_1_still_loads(tmp_path: Path) -> None:
    architecture = {
        "format": "prune-search-architecture",
        "version": 1,
        "torch": "2.11.0",
        "input_shape": [2],
        "layers": {"fc": {"kind": "Linear", "arguments": {"in_features": 2, "out_features": 1}}},
        "tensors": {},
        "nodes": [
            {"name": "x", "op": "placeholder", "target": "input", "args": [], "kwargs": {}},
            {"name": "fc", "op": "call_module", "target": "fc", "args": [{"node": "x"}], "kwargs": {}},
            {"name": "output", "op": "output", "target": "output", "args": [{"node": "fc"}], "kwargs": {}},
        ],
    }
    (tmp_path / "architecture.json").write_text(json.dumps(architecture))
    weights = {"fc.weight": torch.tensor([[2.0, 0.0]]), "fc.bias": torch.tensor([1.0])}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert loader.load(tmp_path)(torch.tensor([[3.0, 4.0]])).tolist() == [[7.0]]


@pytest.mark.parametrize("name", ["read_tensors", "_unpack"])
def test_the_loader_reads_as_the_package_does(name: str) -> None:
    assert inspect.getsource(getattr(loader, name)) == inspect.getsource(getattr(encoding, name))
