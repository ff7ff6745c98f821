"""What a process holds of the machine, from /proc."""

from __future__ import annotations

import gc
import os
from pathlib import Path


def descendants(pid: int | None = None) -> list[int]:
    """Processes below this one, children of children included."""
    found, open_ = [], [os.getpid() if pid is None else pid]
    while open_:
        parent = open_.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                children = [*map(int, task.read_text().split())]
            except OSError:  # it has ended
                continue
            found += children
            open_ += children
    return found


def called(word: str) -> list[int]:
    """Descendants whose command line has ``word``."""
    found = []
    for pid in descendants():
        try:
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def _memory() -> float:
    """Resident, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def held() -> dict[str, float]:
    """Memory (MB, as it is and with garbage collected), file handles and threads of this process, processes below it, MB in
    shared memory.

    Among so many objects Python's collector comes by too rarely to tell from memory as it is what is kept for good.
    """
    uncollected = _memory()
    gc.collect()
    memory = sum(f.stat().st_size for f in Path("/dev/shm").rglob("*") if f.is_file())
    return {
        "uncollected_mb": uncollected,
        "memory_mb": _memory(),
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "processes": len(descendants()),
        "shared_mb": memory / 1e6,
    }
