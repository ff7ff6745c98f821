"""The formats that a network is written in. Each is a function and a line in :data:`FORMATS`."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode

from prune_search.cost.encoding import encode, unsigned_zeros
from prune_search.errors import UserError, nearest
from prune_search.export import LOADER, NETWORK
from prune_search.export.record import capture
from prune_search.export.verify import ExportError


class Source:
    """The network to write (eval mode, CPU) and its exported program, made once for all formats."""

    def __init__(self, model: nn.Module, example_input: Tensor) -> None:
        self.model = model
        self.example_input = example_input

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The network with a free batch dimension. It holds no example data and no paths of this machine."""
        inputs = torch.zeros(2, *self.example_input.shape[1:])
        try:
            with torch.no_grad():
                batch = torch.export.Dim("batch", min=1)
                program = torch.export.export(self.model, (inputs,), dynamic_shapes=({0: batch},))
        except Exception as error:
            raise ExportError(
                f"torch.export cannot export this network with a free batch size ({type(error).__name__}): {error}"
            ) from error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        return program

    def close(self) -> None:
        """Let the exported program go.

        What remains of it holds itself in memory (torch 2.14: 0.24 MB of every network): fake tensors and the
        environment of their symbolic shapes refer to each other through C++, where Python's collector does not look.
        """
        program = vars(self).pop("program", None)
        mode = program and detect_fake_mode([node.meta.get("val") for node in program.graph.nodes])
        if mode:
            mode.shape_env.tracked_fakes = None
            mode.shape_env.fake_tensor_cache.clear()


def _write_pt2(source: Source, folder: Path) -> None:
    torch.export.save(source.program, folder / "model.pt2")


def _write_onnx(source: Source, folder: Path) -> None:
    program = torch.onnx.export(
        source.program, (), dynamo=True, verbose=False, input_names=["input"], output_names=["logits"]
    )
    program.save(folder / "model.onnx", external_data=False)


def write_network(model: nn.Module, example_input: Tensor, folder: Path) -> None:
    """Write a network as data (:data:`prune_search.export.NETWORK`), rebuilt from it and compared on the example before.

    Raises:
        UserError: something in the network is not on the lists of what an architecture may hold.
    """
    architecture, weights = capture(model, example_input)
    weights = {name: unsigned_zeros(tensor) for name, tensor in weights.items()}
    for name, content in zip(
        NETWORK, (encode(weights), json.dumps(architecture, indent=1).encode() + b"\n"), strict=True
    ):
        (folder / name).write_bytes(content)


def _write_safetensors(source: Source, folder: Path) -> None:
    write_network(source.model, source.example_input, folder)
    shutil.copyfile(LOADER, folder / "load.py")


@dataclass(frozen=True)
class Format:
    """A format: its main file, all files it consists of, what writes them, and the packages that takes."""

    file: str
    write: Callable[[Source, Path], None]
    beside: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


FORMATS: dict[str, Format] = {
    "pt2": Format("model.pt2", _write_pt2),
    "onnx": Format("model.onnx", _write_onnx, packages=("onnx", "onnxscript", "onnxruntime")),
    "safetensors": Format("model.safetensors", _write_safetensors, beside=("architecture.json", "load.py")),
}


def check_formats(formats: Sequence[str]) -> None:
    """Raise a UserError unless all ``formats`` exist and the packages they take are installed."""
    if not formats:
        raise UserError(f"no export format was given; the formats are {', '.join(FORMATS)}.")
    for name in formats:
        if name not in FORMATS:
            raise UserError(
                f"unknown export format '{name}'; the formats are {', '.join(FORMATS)}." + nearest(name, FORMATS)
            )
        if missing := missing_packages(name):
            raise UserError(
                f"the {name} format needs what is not installed: {', '.join(missing)}; run"
                f" pip install 'prune-search[{name}]', or choose another format."
            )


def missing_packages(name: str) -> list[str]:
    """What a format takes and this environment lacks."""
    return [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]
