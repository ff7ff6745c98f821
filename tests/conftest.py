"""Shared by all tests: one thread, no telemetry, no idle Ray workers, tests' own folders importable as packages."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_prestart_worker_first_driver"] = "0"
sys.path.insert(0, str(Path(__file__).parent))
