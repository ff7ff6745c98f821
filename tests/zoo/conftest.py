from __future__ import annotations

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRUNE_SEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module into the current directory and gives its name."""
    names = []

    def write(source: str) -> str:
        name = f"user_module_{tmp_path.name}_{len(names)}"
        names.append(name)
        (tmp_path / f"{name}.py").write_text(source)
        return name

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def write_image() -> Callable[..., None]:
    """Writes one lossless image in one colour."""

    def write(path: Path, colour: object, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, colour).save(path)

    return write


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """A small MNIST, root/MNIST/raw/*.gz: 20 training images all equal to their number, 5 test images."""
    raw = tmp_path / "idx" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count in (("train", 20), ("t10k", 5)):
        images = np.arange(count, dtype=np.uint8).repeat(6).tobytes()
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        header = struct.pack(">IIII", 0x803, count, 2, 3)
        (raw / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images))
        (raw / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 0x801, count) + labels))
    return tmp_path / "idx"
