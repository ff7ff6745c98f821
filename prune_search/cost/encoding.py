"""The tensors of a network as one safetensors file, in which a tensor with many zeros is a bitmap and its other values.

A sparse tensor NAME of n entries is stored as two: ``NAME.bitmap``, uint8 [ceil(n / 8)], one bit per entry in row-major
order, the first in the lowest bit of a byte (``numpy.packbits`` with ``bitorder="little"``), set where an entry is
stored; and ``NAME.values``, the stored entries in the same order, in the dtype of the tensor. An entry that is not
stored is zero in all of its bits, so -0.0 is stored. The metadata of the file holds ``sparse``: JSON {NAME: shape}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

_HEADER = 128  # bytes, with twice the name: what the second tensor and the shape add to a header, at most


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """The safetensors file of ``tensors``: the same bytes for the same tensors, sparse ones only where that is smaller.

    Args:
        tensors: By name, of any shape, strides, device and dtype that safetensors knows; left untouched.
    """
    stored: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        dense = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        sparse = _pack(name, dense)
        smaller = sum(part.nbytes for part in sparse.values()) + _HEADER + 2 * len(name) < dense.nbytes
        if smaller and not sparse.keys() & tensors.keys():
            stored |= sparse
            shapes[name] = list(dense.shape)
        else:
            stored[name] = dense
    # safetensors writes more than one key of metadata in random order
    metadata = {"sparse": json.dumps(shapes, separators=(",", ":"))} if shapes else {"format": "pt"}
    return save(stored, metadata=metadata)


def unsigned_zeros(tensor: Tensor) -> Tensor:
    """``tensor`` with 0.0 for each -0.0: a mask leaves -0.0 of a negative weight, and that would be stored."""
    return tensor + 0.0 if tensor.is_floating_point() else tensor


def _pack(name: str, tensor: Tensor) -> dict[str, Tensor]:
    entries = tensor.view(-1).view(torch.uint8).view(tensor.numel(), tensor.itemsize)
    kept = (entries != 0).any(1)
    bitmap = torch.from_numpy(np.packbits(kept.numpy(), bitorder="little"))
    return {f"{name}.bitmap": bitmap, f"{name}.values": entries[kept].view(tensor.dtype).view(-1)}


# The two functions below stand in export/load_safetensors.py too, word for word: that file must work alone.


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, on the CPU, bit for bit as encoded; sparse ones in full.

    Raises:
        ValueError: it is no safetensors file; or bitmap, values and shape of a sparse tensor do not fit together.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = (file.metadata() or {}).get("sparse", "{}")
    except (SafetensorError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    try:
        shapes = dict(json.loads(metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the metadata 'sparse' is no JSON object of shapes: {metadata[:80]!r}") from error
    for name, shape in shapes.items():
        if name in tensors:
            raise ValueError(f"the tensor {name!r} is stored twice, in full and sparse")
        tensors[name] = _unpack(name, shape, tensors.pop(f"{name}.bitmap", None), tensors.pop(f"{name}.values", None))
    return tensors


def _unpack(name: str, shape: list[int], bitmap: Tensor | None, values: Tensor | None) -> Tensor:
    if bitmap is None or values is None:
        raise ValueError(f"the sparse tensor {name!r} lacks its bitmap or its values")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"the sparse tensor {name!r} has the shape {shape!r}, which is no list of sizes")
    count = math.prod(shape)
    size = -(-count // 8)
    if bitmap.dtype != torch.uint8 or bitmap.shape != (size,):
        found = f"{str(bitmap.dtype).removeprefix('torch.')} {list(bitmap.shape)}"
        raise ValueError(f"the bitmap of {name!r} is {found}; the shape {shape} needs uint8 [{size}]")
    kept = (bitmap[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).view(-1).bool()
    if kept[count:].any():
        raise ValueError(f"the bitmap of {name!r} has bits set after its {count} entries")
    stored = int(kept.sum())
    if values.shape != (stored,):
        raise ValueError(f"the values of {name!r} are {list(values.shape)}; its bitmap has {stored} bits set")
    entries = torch.zeros(count, values.itemsize, dtype=torch.uint8)
    entries[kept[:count]] = values.view(torch.uint8).view(stored, values.itemsize)
    return entries.view(values.dtype).view(shape)
