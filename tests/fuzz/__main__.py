"""The command of :mod:`tests.fuzz`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import __doc__ as about
from .targets import TARGETS

ROOT = Path(__file__).parents[2]
MARGIN = 120  # seconds that a process may take beyond its time: imports, and an input that does not return


def fuzz(name: str, inputs: int, seconds: float, folder: Path) -> str:
    """Run a target in a process of its own; what went wrong with the process itself."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(inputs), str(seconds), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(folder / "log.txt", "wb") as log:
        try:
            code = subprocess.run(
                command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=seconds + MARGIN
            ).returncode
        except subprocess.TimeoutExpired:
            code = "no answer"
    if code == 0:
        return ""
    (folder / "escapes").mkdir(exist_ok=True)
    if (folder / "last").exists():
        (folder / "last").replace(folder / "escapes" / "process")
    return f"the process ended with {code}; see {folder / 'log.txt'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, default=100_000, help="for each target")
    parser.add_argument("--minutes", type=float, default=30.0, help="for each target, at most")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--state", type=Path, default=ROOT / "runs" / "fuzz")
    given = parser.parse_args()
    names, state = given.targets or [*TARGETS], given.state.absolute()
    with ThreadPoolExecutor(given.jobs) as pool:
        ends = dict(
            zip(names, pool.map(lambda n: fuzz(n, given.inputs, given.minutes * 60, state / n), names), strict=True)
        )
    table = Table("target", "inputs so far", "a second", "corpus", "escapes")
    total = escapes = 0
    for name in TARGETS:
        file = state / name / "count.json"
        if not file.exists():
            continue
        count, kept = json.loads(file.read_text()), sorted((state / name / "escapes").glob("*"))
        found = [path.name for path in kept if path.suffix != ".txt"]
        total, escapes = total + count["inputs"], escapes + len(found)
        rate = count["inputs"] / max(count["seconds"], 1e-9)
        shown = "\n".join([*found, *filter(None, [ends.get(name, "")])])
        table.add_row(
            name, f"{count['inputs']:,}", f"{rate:,.0f}", str(len(list((state / name / "corpus").iterdir()))), shown
        )
    Console(width=120).print(table)
    print(f"{total:,} inputs, {escapes} escapes, kept in {state}")
    return 1 if escapes or any(ends.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
