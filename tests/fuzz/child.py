"""Fuzzes one target in this process: ``python -m tests.fuzz.child TARGET INPUTS SECONDS FOLDER``."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

import atheris

from .targets import CORPUS, TARGETS

MEMORY = 16 << 30  # bytes of address space
PATIENCE = 10.0  # seconds for one input
LONGEST = 1 << 14  # bytes of an input


class Hang(BaseException):
    """An input takes too long."""


class Run:
    """Counts inputs, keeps escapes, and ends the process when there were enough.

    Args:
        folder: Of the target; ``count.json`` goes on from what it says.
    """

    def __init__(self, name: str, inputs: int, seconds: float, folder: Path) -> None:
        self._check, self._vary = TARGETS[name].make(), TARGETS[name].vary
        self._left, self._deadline, self._folder = inputs, time.monotonic() + seconds, folder
        self._escapes, self._last = folder / "escapes", folder / "last"
        self._escapes.mkdir(parents=True, exist_ok=True)
        self._since, self._began = 0, time.monotonic()

    def one(self, data: bytes) -> None:
        self._last.write_bytes(data)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            self._check(data)
        except (Exception, Hang) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._keep(data, error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._since += 1
        self._left -= 1
        over = self._left <= 0 or time.monotonic() >= self._deadline
        if over or self._since >= 500:
            self._count()
        if over:
            os._exit(0)

    def vary(self, data: bytes, longest: int, seed: int) -> bytes:
        draw = random.Random(seed)
        varied = self._vary(data, draw) if draw.random() < 0.6 else atheris.Mutate(data, longest)
        return varied[:longest]

    def _keep(self, data: bytes, error: BaseException) -> None:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "prune_search" in frame.filename]
        place = f"{Path(ours[-1].filename).stem}-{ours[-1].name}" if ours else "elsewhere"
        file = self._escapes / f"{type(error).__name__}-{place}"
        if not file.exists():
            file.write_bytes(data)
            file.with_suffix(".txt").write_text("".join(traceback.format_exception(error))[-6000:])

    def _count(self) -> None:
        file = self._folder / "count.json"
        before = json.loads(file.read_text()) if file.exists() else {"inputs": 0, "seconds": 0.0}
        now = time.monotonic()
        found = {"inputs": before["inputs"] + self._since, "seconds": before["seconds"] + now - self._began}
        part = file.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.replace(file)
        self._since, self._began = 0, now


def main() -> None:
    name, inputs, seconds, folder = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    with atheris.instrument_imports(include=[*TARGETS[name].modules], enable_loader_override=False):
        for module in TARGETS[name].modules:
            importlib.import_module(module)
    importlib.import_module("torchvision")  # for seconds, at the first unknown name of a model: no input's fault
    run = Run(name, inputs, seconds, folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def late(number: int, frame: object) -> None:
        raise Hang(f"more than {PATIENCE} s")

    (folder / "corpus").mkdir(exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(str(time.time_ns()).encode()).digest()[:4], "big")
    options = ["-timeout=0", "-rss_limit_mb=0", f"-max_len={LONGEST}", "-verbosity=0", f"-seed={seed}"]
    places = [str(folder / "corpus"), str(CORPUS / name)]
    atheris.Setup([sys.argv[0], *options, *places], run.one, custom_mutator=run.vary)
    signal.signal(signal.SIGALRM, late)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
