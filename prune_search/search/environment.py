"""What a search runs on: versions, the machine, the user's own code."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PATIENCE = 5.0  # seconds for an answer of git


def versions(*packages: str) -> dict[str, str]:
    """Python's version and those of packages; ``not installed`` where there is none, as of a source tree on the path."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """Of the driver: processor, cores, bytes of memory, and NVIDIA's GPUs by name."""
    processor = _first(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [_first(card, "Model") for card in cards],
    }


def code(folder: Path, modules: Iterable[Path]) -> dict[str, str]:
    """The user's own code: git's commit of the folder, if it has one, and the sha256 of each module or package.

    Args:
        folder: Where the search space lies.
        modules: Files, and folders of packages, as ``Spec.own_modules`` finds them.
    """
    found = {}
    if commit := _git(folder, "rev-parse", "HEAD"):
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        found["git commit"] = f"{commit} and changes" if changed else commit
    for module in modules:
        digest = hashlib.sha256()
        for file in sorted(module.rglob("*.py")) if module.is_dir() else [module]:
            digest.update(f"{file.relative_to(module.parent)}\0".encode() + file.read_bytes())
        found[module.name] = digest.hexdigest()
    return found


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _first(file: Path, key: str) -> str:
    """The value of the first line ``key: value``."""
    try:
        with file.open() as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
    except OSError:
        return ""
