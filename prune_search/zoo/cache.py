"""Decoded data sets on disk: read once per machine, then shared by all processes as memory-mapped tensors."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import uuid
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from prune_search.zoo.decoded import Decoded, Form, Source

_LAYOUT = 1  # raise when what is stored changes, so that older files are not read
_logger = logging.getLogger(__name__)


def folder() -> Path:
    """``$PRUNE_SEARCH_CACHE``, else ``~/.cache/prune_search``. It may be deleted at any time."""
    return Path(os.environ.get("PRUNE_SEARCH_CACHE") or "~/.cache/prune_search").expanduser()


def read(source: Source, part: str, *, seed: int | None = None, like: Form | None = None) -> Decoded:
    """One part of a source, in an order shuffled by ``seed`` (None: the source's own).

    Shuffled *before* it is stored, so that train and validation are slices of one mapped file that no
    process copies. A folder that cannot be written costs only the sharing.
    """
    if not source.files:
        return _shuffled(source.decode(part, like), seed)
    path = _path(source, part, seed, like)
    if found := _load(path):
        return found
    decoded = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if found := _load(path):
                return found
            decoded = _shuffled(source.decode(part, like), seed)
            path = _path(source, part, seed, like)  # decoding may have downloaded the files that name it
            _store(path, decoded)
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        _logger.warning("Decoded images are not shared: %s cannot be written (%s).", path.parent, error)
        return decoded or _shuffled(source.decode(part, like), seed)
    return _load(path) or decoded


def order(count: int, seed: int) -> torch.Tensor:
    """A permutation of ``count`` indices, int64. NumPy's legacy stream: the only frozen one."""
    return torch.from_numpy(np.random.RandomState(seed).permutation(count).astype(np.int64))


def _shuffled(decoded: Decoded, seed: int | None) -> Decoded:
    digest = hashlib.sha256(json.dumps([decoded.classes, list(decoded.images.shape)]).encode())
    for tensor in (decoded.images, decoded.labels):
        digest.update(tensor.contiguous().numpy())
    images, labels = decoded.images, decoded.labels
    if seed is not None:
        indices = order(len(labels), seed)
        images, labels = images[indices], labels[indices]
    return Decoded(images, labels, decoded.classes, digest.hexdigest())


def _path(source: Source, part: str, seed: int | None, like: Form | None) -> Path:
    form = None if like is None else [like.shape, like.classes]
    key = json.dumps([_LAYOUT, source.name, source.size, part, seed, form, _listing(source.files[part])])
    readable = re.sub(r"\W+", "_", source.name.lower())
    return folder() / f"{readable}-{part}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Path, size and time of change of every file below ``folder``; scandir, since there may be a million."""
    found, folders = [], [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    elif entry.is_file():
                        status = entry.stat()
                        found.append((entry.path, status.st_size, status.st_mtime_ns))
        except (FileNotFoundError, NotADirectoryError):
            continue
    return sorted(found)


def _load(path: Path) -> Decoded | None:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
        return Decoded(images, labels, tuple(json.loads(about["classes"])), about["digest"])
    except (OSError, SafetensorError, ValueError, TypeError, KeyError):  # what somebody else put there is decoded anew
        return None


def _store(path: Path, decoded: Decoded) -> None:
    about = {"classes": json.dumps(decoded.classes), "digest": decoded.digest}
    temporary = path.with_name(f"{path.stem}-{uuid.uuid4().hex}.tmp")
    try:
        save_file({"images": decoded.images.contiguous(), "labels": decoded.labels}, temporary, metadata=about)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
