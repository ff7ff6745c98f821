"""Tests run in a process of their own that has the heavy libraries already: without that, most of the time goes into importing torch."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import get_context
from pathlib import Path

PRELOADED = [
    "torch",
    "torchvision",
    "scipy.stats",
    "sklearn",
    "optuna",
    "moocore",
    "plotly.graph_objects",
    "ray.tune",
    "pytest",
]
OPTIONS = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-o", "addopts="]

os.environ["OMP_NUM_THREADS"] = "1"
_forks = get_context("forkserver")
_forks.set_forkserver_preload([*PRELOADED, __name__])


def run(copy: Path, tests: list[str], seconds: float) -> tuple[bool | None, str]:
    """Whether these tests of a checkout pass, None where they take longer; and which of them failed."""
    listed, said = copy / "tests.txt", copy / "said.txt"
    listed.write_text("\n".join(tests))
    said.write_text("")
    process = _forks.Process(target=_tested, args=(copy, listed, said))
    process.start()
    process.join(seconds)
    passed = None if process.exitcode is None else process.exitcode == 0
    try:
        os.killpg(process.pid, signal.SIGKILL)  # also what the tests have left running
    except ProcessLookupError:
        process.kill()
    process.join()
    return passed, next(
        (line[:200] for line in said.read_text().splitlines() if line.startswith(("FAILED", "ERROR"))), ""
    )


def _tested(copy: Path, listed: Path, said: Path) -> None:
    import pytest

    os.setsid()
    os.chdir(copy)
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path = [str(copy), *(path for path in sys.path if Path(path).resolve() != Path.cwd() and path)]
    code = pytest.main([*OPTIONS, f"@{listed}"])
    sys.stdout.flush()
    os._exit(code)
