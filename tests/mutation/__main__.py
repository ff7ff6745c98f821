"""The command of :mod:`tests.mutation`."""

from __future__ import annotations

import argparse
import difflib
import json
import queue
import shutil
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from . import __doc__ as about
from . import reach, trying
from .mutants import ROOMS, Mutant, mutants

ROOT = Path(__file__).parents[2]
PATIENCE = 3.0  # times the tests' own time and ten seconds


def copied(state: Path, name: str) -> Path:
    """A fresh copy of this checkout, without what git ignores."""
    copy = state / name
    shutil.rmtree(copy, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for file in listed.stdout.splitlines():
        if (ROOT / file).is_file():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, copy / file)
    return copy


def attempt(mutant: Mutant, copy: Path, reached: reach.Reach) -> dict:
    """What becomes of a mutant: killed, timeout, survived, or no_test."""
    path = copy / mutant.file
    source = path.read_text()
    changed = mutant.code(source)
    if changed is None:
        return {"outcome": "same"}
    diff = [line for line in difflib.unified_diff(source.split("\n"), changed.split("\n"), n=0, lineterm="")][2:]
    tests = reached.tests(mutant.file, *mutant.lines)
    noted = {"diff": diff, "tests": len(tests)}
    if not tests:
        return {**noted, "outcome": "no_test"}
    started = time.monotonic()
    path.write_text(changed)
    try:
        passed, by = trying.run(copy, tests, PATIENCE * (10 + sum(reached.seconds[test] for test in tests)))
    finally:
        path.write_text(source)
    outcome = "timeout" if passed is None else "survived" if passed else "killed"
    return {**noted, "outcome": outcome, "by": by, "seconds": round(time.monotonic() - started, 1)}


def run(state: Path, count: int, minutes: float, jobs: int, seed: int, rooms: list[str]) -> None:
    """Try the first ``count`` mutants of these rooms, in their order, but those that were tried."""
    deadline, log = time.monotonic() + minutes * 60, state / f"mutants-{seed}.jsonl"
    known = {tuple(noted["mutant"]) for noted in _read(log)}
    copies: queue.Queue[Path] = queue.Queue()
    for job in range(jobs):
        copies.put(copied(state, f"copy-{job}"))
    reached, writing = reach.load(state), threading.Lock()

    def one(mutant: Mutant) -> None:
        key = (mutant.file, mutant.operator, mutant.occurrence)
        if key in known or time.monotonic() > deadline:
            return
        copy = copies.get()
        try:
            noted = {"mutant": key, "line": mutant.lines[0], **attempt(mutant, copy, reached)}
        finally:
            copies.put(copy)
        with writing, log.open("a") as file:
            file.write(json.dumps(noted) + "\n")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, islice(mutants(ROOT, seed, rooms), count)))


def report(state: Path, seed: int) -> None:
    """Scores by room, and who survived."""
    noted = [each for each in _read(state / f"mutants-{seed}.jsonl") if each["outcome"] != "same"]
    for each in noted:
        if each["outcome"] in ("survived", "no_test"):
            print(f"{each['mutant'][0]}:{each['line']} {each['outcome']} {each['tests']} tests")
            print("    " + "\n    ".join(line for line in each["diff"] if not line.startswith("@@")))
    for room in (*ROOMS, ""):
        of_room = Counter(each["outcome"] for each in noted if each["mutant"][0].startswith(f"prune_search/{room}"))
        total, dead = sum(of_room.values()), of_room["killed"] + of_room["timeout"]
        if total:
            print(f"{room or 'all'}: {dead} of {total} killed, {dead / total:.1%}; {dict(of_room)}")


def _read(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["map", "run", "report"])
    parser.add_argument("--mutants", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rooms", nargs="*", choices=ROOMS, default=[*ROOMS])
    parser.add_argument("--tests", nargs="*", default=[], help="map: files and folders of tests instead of all")
    parser.add_argument("--state", type=Path, default=ROOT / "runs" / "mutation")
    given = parser.parse_args()
    state = given.state.absolute()
    state.mkdir(parents=True, exist_ok=True)
    if given.what == "map":
        reach.measure(copied(state, "copy-map"), state, given.tests)
    elif given.what == "run":
        run(state, given.mutants, given.minutes, given.jobs, given.seed, given.rooms)
    report(state, given.seed)


if __name__ == "__main__":
    main()
