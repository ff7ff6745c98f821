"""What the commands of this folder have in common: CIFAR-10 out of its archive, and searches that go on in the next call."""

from __future__ import annotations

import io
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

PART = 15_000_000  # bytes of one file of the packed state
LARGEST = 12_000_000  # bytes; larger files stay behind
STAY = {"artifacts", "ray", "ray-confirm", "tune", "stages"}


def pictures(archive: Path, folder: Path) -> Path:
    """``folder``, with train/CLASS/*.jpg and test/CLASS/*.jpg of ``archive`` in it."""
    if not (folder / "test").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
    return folder


def pack(runs: Path, out: Path) -> list[str]:
    """Write all searches in ``runs`` to ``out``/state.000, state.001, ...; the names of files that were too large.

    Checkpoints of large networks stay behind: their figures travel, they cannot be exported or gone on with.
    """
    packed, left = io.BytesIO(), []
    with tarfile.open(fileobj=packed, mode="w:xz", preset=6) as file:
        for path in sorted(runs.rglob("*")):
            name = path.relative_to(runs)
            if not path.is_file() or path.is_symlink() or STAY & {*name.parts[:-1]}:
                continue
            if path.stat().st_size > LARGEST:
                left.append(str(name))
            else:
                file.add(path, name)
    out.mkdir(parents=True, exist_ok=True)
    content = packed.getvalue()
    for number, start in enumerate(range(0, len(content), PART)):
        (out / f"state.{number:03}").write_bytes(content[start : start + PART])
    return left


def restore(state: Path | None, runs: Path) -> None:
    """Unpack what :func:`pack` wrote; what lies in ``runs`` already is newer and stays."""
    runs.mkdir(parents=True, exist_ok=True)
    parts = sorted(state.glob("state.[0-9][0-9][0-9]")) if state and not any(runs.iterdir()) else []
    if parts:
        packed = lzma.decompress(b"".join(part.read_bytes() for part in parts))
        with tarfile.open(fileobj=io.BytesIO(packed)) as file:
            file.extractall(runs, filter="data")


def command(runs: Path, *arguments: str) -> None:
    """Run the command and show what it prints; it raises if the command fails."""
    subprocess.run([sys.executable, "-m", "prune_search.cli.main", *arguments, "--runs", str(runs)], check=True)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [[*head], ["---"] * len([*head]), *([*map(str, row)] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
