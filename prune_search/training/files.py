"""What a trial keeps in its folder, and reading its reports. Importable without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from prune_search.cost.metrics import Report

CHECKPOINT = "checkpoint.safetensors"
CONFIG = "config.json"
ERROR = "error.txt"
REPORTS = "reports.jsonl"


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
