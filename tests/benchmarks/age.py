"""How old this process is."""

from __future__ import annotations

import os
import time
from pathlib import Path


def age() -> float:
    """Seconds since this process was started (Linux)."""
    started = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
