"""Proof that exported files work without this package: each runs in its own process and must answer alike.

As a script (``python -I verify.py FOLDER FORMAT PROBE``) this file needs torch, safetensors and, for onnx,
onnxruntime only, and makes ``prune_search`` impossible to import.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

TOLERANCE = 1e-4  # largest difference of a logit, of the scale (the largest absolute logit); our choice
BATCH = 64


class ExportError(Exception):
    """An export that failed or does not answer like the network it was made from; exit code 1."""


@dataclass(frozen=True)
class Verdict:
    """What an exported file answers: accuracy in [0, 1], and the largest difference from the expected logits.

    ``scale`` is the largest absolute expected logit.
    """

    accuracy: float
    max_abs_difference: float
    scale: float


def accuracy_of(logits: Tensor, labels: Tensor) -> float:
    """The share of rows of ``logits`` [N, classes] whose largest entry is at ``labels`` int64 [N]."""
    return (logits.argmax(1) == labels).sum().item() / len(labels)


def verify_exports(
    folder: Path, formats: Sequence[str], inputs: Tensor, labels: Tensor, expected_logits: Tensor
) -> dict[str, Verdict]:
    """Run every exported file in a new process, on one thread, and compare.

    Args:
        folder: holds the exported files.
        formats: names of formats to verify.
        inputs: normalised float32 inputs ``[N, ...]``.
        labels: int64 ``[N]``.
        expected_logits: what the network answered, ``[N, classes]``.

    Raises:
        ExportError: a process fails, an accuracy differs at all, or a logit differs by more than
            :data:`TOLERANCE` of the scale.
    """
    probe = {"inputs": inputs, "labels": labels, "expected": expected_logits}
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as pool:
        path = Path(temporary) / "probe.safetensors"
        save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in probe.items()}, path)
        verdicts = dict(zip(formats, pool.map(lambda name: _run(Path(folder), name, path), formats), strict=True))
    for name, verdict in verdicts.items():
        judge(name, verdict, accuracy_of(expected_logits, labels))
    return verdicts


def judge(name: str, verdict: Verdict, accuracy: float) -> None:
    """Raise an ExportError unless the file answers like the network, which has ``accuracy``."""
    difference, scale = verdict.max_abs_difference, verdict.scale
    if not difference <= TOLERANCE * scale:
        raise ExportError(
            f"the exported {name} file answers differently: a logit is off by {difference:.3g}, where"
            f" {TOLERANCE:g} x {scale:.3g} (the largest logit) is allowed."
        )
    if verdict.accuracy != accuracy:
        raise ExportError(
            f"the exported {name} file has an accuracy of {verdict.accuracy:.6f} on the validation inputs;"
            f" the network it was made from has {accuracy:.6f}."
        )


def _run(folder: Path, name: str, probe: Path) -> Verdict:
    command = [sys.executable, "-I", __file__, str(folder), name, str(probe)]
    process = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    if process.returncode != 0:
        last = "\n".join(process.stderr.strip().splitlines()[-5:])
        raise ExportError(f"the exported {name} file does not run on its own (exit code {process.returncode}):\n{last}")
    return Verdict(**json.loads(process.stdout.strip().splitlines()[-1]))


def _load_pt2(folder: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(folder / "model.pt2").module()


def _load_onnx(folder: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: torch.from_numpy(session.run(None, {name: inputs.numpy()})[0])


def _load_safetensors(folder: Path) -> Callable[[Tensor], Tensor]:
    spec = importlib.util.spec_from_file_location("load", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["load"] = module
    spec.loader.exec_module(module)
    return module.load(folder)


_LOADERS = {"pt2": _load_pt2, "onnx": _load_onnx, "safetensors": _load_safetensors}


def main() -> None:
    """Print one line of JSON: the fields of a :class:`Verdict`. The first batch is a single input."""
    sys.modules["prune_search"] = None
    sys.dont_write_bytecode = True
    folder, name, probe_file = sys.argv[1:]
    probe = load_file(probe_file)
    inputs, labels, expected = probe["inputs"], probe["labels"], probe["expected"]
    network = _LOADERS[name](Path(folder))
    with torch.no_grad():
        outputs = torch.cat([network(batch) for batch in (inputs[:1], *inputs[1:].split(BATCH)) if len(batch)])
    if outputs.shape != expected.shape:
        raise ValueError(f"the outputs have shape {tuple(outputs.shape)} instead of {tuple(expected.shape)}")
    difference, scale = (outputs - expected).abs().max().item(), expected.abs().max().item()
    verdict = {"accuracy": accuracy_of(outputs, labels), "max_abs_difference": difference, "scale": scale}
    print(json.dumps(verdict))


if __name__ == "__main__":
    main()
