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


def held() -> dict[str, float]:
    """Memory (MB), file handles and threads of this process, processes below it, MB in shared memory.

    Garbage is collected before: among so many objects Python's collector comes by too rarely to tell it from what is kept.
    """
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    memory = sum(f.stat().st_size for f in Path("/dev/shm").rglob("*") if f.is_file())
    return {
        "memory_mb": int(status["VmRSS"].split()[0]) / 1024,
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": int(status["Threads"]),
        "processes": len(descendants()),
        "shared_mb": memory / 1e6,
    }
