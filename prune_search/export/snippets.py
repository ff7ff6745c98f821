"""Code that loads an exported network, for its model card: plain torch or onnxruntime, run in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prune_search.export.card import CardInfo

_TORCH = """```python
import json
import torch
{imports}
classes = json.load(open("metadata.json", encoding="utf-8"))["classes"]
raw = torch.rand(4, {shape}) * {divide_by:g}  # your inputs, values from 0 to {divide_by:g}
inputs = {normalised}

network = {load}
with torch.no_grad():
    logits = network(inputs)
print([classes[index] for index in logits.argmax(1)])
```"""

_ONNX = """```python
import json
import numpy as np
import onnxruntime

classes = json.load(open("metadata.json", encoding="utf-8"))["classes"]
raw = np.random.rand(4, {shape}) * {divide_by:g}  # your inputs, values from 0 to {divide_by:g}
inputs = ({normalised}).astype(np.float32)

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(logits,) = session.run(None, {{session.get_inputs()[0].name: inputs}})
print([classes[index] for index in logits.argmax(1)])
```"""

_SNIPPETS = {
    "pt2": (_TORCH, {"imports": "", "load": 'torch.export.load("model.pt2").module()'}),
    "onnx": (_ONNX, {}),
    "safetensors": (
        _TORCH,
        {"imports": "from load import load  # load.py lies beside the file\n", "load": 'load(".")'},
    ),
}


def snippet(name: str, info: CardInfo) -> str:
    """The code block for one format, with the normalisation of ``info``."""
    template, words = _SNIPPETS[name]
    make = "np.array" if template is _ONNX else "torch.tensor"
    ones = ", 1" * (len(info.input_shape) - 1)
    normalised = f"raw / {info.divide_by:g}" if info.divide_by != 1 else "raw"
    if info.mean:
        normalised = f"({normalised} - {make}({list(info.mean)}).reshape(-1{ones}))"
    if info.std:
        normalised = f"{normalised} / {make}({list(info.std)}).reshape(-1{ones})"
    shape = ", ".join(map(str, info.input_shape))
    return template.format(shape=shape, divide_by=info.divide_by, normalised=normalised, **words)
