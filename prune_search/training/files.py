"""What a trial keeps in its folder, and reading its reports. Importable without torch."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from prune_search.cost.metrics import Report

CHECKPOINT = "checkpoint.safetensors"
CONFIG = "config.json"
ERROR = "error.txt"
REPORTS = "reports.jsonl"
AWAY = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
T = TypeVar("T")


def _full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in AWAY


def patiently(
    write: Callable[[], T], patience: float = 900.0, pause: float = 1.0, passes: Callable[[Exception], bool] = _full
) -> T:
    """Call ``write`` again while the storage is full or does not answer: a trial waits rather than being lost.

    Args:
        patience: Seconds until its error is raised. Default (our choice): 15 minutes.
        pause: Seconds between two tries.
        passes: Whether an error may pass by itself. Default: those of a disk that is full or away.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return write()
        except Exception as error:
            if not passes(error) or time.monotonic() >= deadline:
                raise
        time.sleep(pause)


def write_reports(folder: Path, reports: Iterable[Report]) -> None:
    """Write all reports of a trial; a reader sees the old file or the new one."""
    part = folder / (REPORTS + ".part")
    part.write_text("".join(json.dumps(report.metrics()) + "\n" for report in reports))
    os.replace(part, folder / REPORTS)


def read_reports(folder: Path) -> list[Report]:
    """The reports of a trial, oldest first; none if it never reported."""
    path = folder / REPORTS
    if not path.exists():
        return []
    return [Report(**json.loads(line)) for line in path.read_text().splitlines()]
