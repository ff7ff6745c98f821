"""Checkpoints: one safetensors file, written atomically, with all that is no tensor as JSON in its header. No pickle."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from prune_search.errors import UserError


class Broken(UserError):
    """A file that :func:`save` did not write, or not to its end."""


@dataclass(frozen=True)
class Packed:
    """A state as it was when it was packed: copies of its tensors on the CPU, the rest as JSON."""

    tensors: dict[str, torch.Tensor]
    plain: str


def pack(state: dict[str, Any]) -> Packed:
    """Copy nested dicts, lists, numbers, strings and tensors."""
    tensors: dict[str, torch.Tensor] = {}
    plain = _split(state, "", tensors)
    return Packed(tensors, json.dumps(plain))


def write(path: Path, packed: Packed) -> None:
    """Write to ``path``; an older file is replaced only when done.

    Raises:
        OSError: The storage does not take it.
    """
    part = path.with_name(path.name + ".part")
    try:
        save_file(packed.tensors, part, metadata={"state": packed.plain})
    except SafetensorError as error:
        if code := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(part)) from None
        raise
    os.replace(part, path)


def save(path: Path, state: dict[str, Any]) -> None:
    """:func:`pack` and :func:`write`."""
    write(path, pack(state))


def load(path: Path, *names: str) -> dict[str, Any]:
    """Read what :func:`save` wrote, or these parts of it; tensors are on the CPU.

    Raises:
        Broken: It is something else.
        OSError: The storage does not give it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            items = json.loads(file.metadata()["state"])["$items"]
            return {key: _join(item, file) for key, item in items if not names or key in names}
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError, RuntimeError) as error:
        raise Broken(
            f"{path} is no checkpoint ({type(error).__name__}: {str(error)[:200]}). Delete it, and train the trial again: "
            "prune-search rerun NAME --trial N"
        ) from error


def _split(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().contiguous().to("cpu", copy=True)
        return {"$tensor": path}
    if isinstance(value, dict):
        return {"$items": [[key, _split(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_split(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _join(value: Any, file: Any) -> Any:
    if isinstance(value, dict):
        if "$tensor" in value:
            return file.get_tensor(value["$tensor"])
        return {key: _join(item, file) for key, item in value["$items"]}
    if isinstance(value, list):
        return [_join(item, file) for item in value]
    return value
