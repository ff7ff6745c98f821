"""Bad things that happen to a search, each by its name; all of them are to be got over."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prune_search.search.driver import Search
from prune_search.search.layout import Layout
from prune_search.training.files import CHECKPOINT

from .health import called

ROOT = Path(__file__).parents[2]
DELAYS = (0.0, 8.0)  # seconds after trials have begun


def run(space: Path, runs: Path, name: str, fault: str, draw: random.Random) -> None:
    """Run a search to its end whatever happens to it.

    Args:
        fault: A key of :data:`FAULTS`, ``command`` (the whole command is killed) or ``none``.
    """
    layout = Layout(runs.resolve(), name)
    if fault == "command":
        _killed(space, layout, draw)
    else:
        search = Search(space, runs=runs, name=name)
        _disturbed(search, FAULTS.get(fault), draw)
        if not search.interrupted:
            return
    if draw.random() < 0.5:
        _cut(layout, draw)
    Search.resume(name, runs=runs).run()


def _disturbed(search: Search, fault: Callable[[Search, random.Random], None] | None, draw: random.Random) -> None:
    delay, over = draw.uniform(*DELAYS), threading.Event()

    def disturb() -> None:
        while not over.wait(0.05):
            if search.progress.running:
                if not over.wait(delay):
                    fault(search, draw)
                return

    thread = threading.Thread(target=disturb, daemon=True)
    if fault is not None:
        thread.start()
    try:
        search.run()
    finally:
        over.set()
        if fault is not None:
            thread.join()


def command(runs: Path, *arguments: str, **options: Any) -> subprocess.Popen:
    """``prune-search`` in a process of its own."""
    command = [sys.executable, "-m", "prune_search.cli.main", *arguments, "--runs", str(runs)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, **options)


def _killed(space: Path, layout: Layout, draw: random.Random) -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = command(layout.runs, "run", str(space), "--name", layout.name, **quiet)
    while process.poll() is None and not (layout.status.exists() and '"epoch"' in layout.status.read_text()):
        time.sleep(0.1)
    try:
        process.wait(draw.uniform(*DELAYS))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cut(layout: Layout, draw: random.Random) -> None:
    """Leave a checkpoint as a machine that loses its power may."""
    checkpoints = sorted((layout.folder / "trials").glob(f"*/{CHECKPOINT}"))
    running = [path for path in checkpoints if (path.parent.name in _unfinished(layout))]
    if running:
        path = draw.choice(running)
        with open(path, "rb+") as file:
            file.truncate(draw.randrange(path.stat().st_size))


def _unfinished(layout: Layout) -> set[str]:
    from prune_search.search.results import read

    return {str(record.number) for record in read(layout, layout.spec()).records if record.state == "running"}


def _kill(word: str) -> Callable[[Search, random.Random], None]:
    def kill(search: Search, draw: random.Random) -> None:
        if found := called(word):
            os.kill(draw.choice(found), signal.SIGKILL)

    return kill


def _stop(search: Search, draw: random.Random) -> None:
    search.stop()


def _fill(search: Search, draw: random.Random) -> None:
    """No room on the disk of the runs for a few seconds."""
    ballast = search.layout.runs / "ballast"
    try:
        with open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
    except OSError:
        time.sleep(draw.uniform(1, 4))
    ballast.unlink()


FAULTS: dict[str, Callable[[Search, random.Random], None]] = {
    "trial": _kill("ray::TrialWorker"),
    "rank": _kill("ray::Member"),
    "writer": _kill("prune_search.tracking.process"),
    "stop": _stop,
    "disk": _fill,
}
NAMES = ("none", "none", "command", *FAULTS)
