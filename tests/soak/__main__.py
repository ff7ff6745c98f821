"""The command of :mod:`tests.soak`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0")

import mlflow  # noqa: E402
import ray  # noqa: E402
import yaml  # noqa: E402

from prune_search import Result, load_spec  # noqa: E402
from prune_search.errors import UserError  # noqa: E402
from prune_search.search.layout import Layout, existing  # noqa: E402
from prune_search.search.results import read  # noqa: E402
from prune_search.training.files import read_reports  # noqa: E402
from prune_search.training.outcomes import STATES  # noqa: E402

from . import __doc__ as about  # noqa: E402
from . import faults, spaces  # noqa: E402
from .curves import draw_curves, slopes  # noqa: E402
from .health import held  # noqa: E402

ROOT = Path(__file__).parents[2]
DISK = "400m"
NO_CHANNEL = "the network has no channel that could go"  # of some of the random networks, which is no fault


class Lost(AssertionError):
    """Something that a search had is gone or wrong after it."""


def a_space(draw: random.Random, path: Path) -> int:
    """Write a space that the loader takes; how many it refused before."""
    refused = 0
    while True:
        path.write_text(yaml.safe_dump(spaces.space(draw), sort_keys=False))
        try:
            load_spec(path, roots=[ROOT])
            return refused
        except UserError:
            refused += 1


def check(runs: Path, name: str) -> dict[str, int]:
    """Whether all is there; how many trials ended in which state, and for which reasons they failed."""
    layout = existing(runs, name)
    found = read(layout, layout.spec())
    numbers = [record.number for record in found.records]
    if numbers != [*range(len(numbers))] or any(record.state not in STATES for record in found.records):
        raise Lost(f"trials {[(r.number, r.state) for r in found.records]}")
    client = mlflow.MlflowClient(f"sqlite:///{runs}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'soak'")
    ours = client.search_runs([experiment.experiment_id], f"tags.`prune_search.search` = '{name}'", max_results=1000)
    children = {int(r.data.tags["prune_search.trial"]): r for r in ours if "prune_search.trial" in r.data.tags}
    if {run.info.status for run in ours} - {"FINISHED", "FAILED"} or sorted(children) != numbers:
        raise Lost(f"MLflow has {[(n, r.info.status) for n, r in children.items()]} of trials {numbers}")
    counts: dict[str, int] = {}
    for record in found.records:
        tags = children[record.number].data.tags
        if tags["prune_search.state"] != record.state:
            raise Lost(f"trial {record.number} is {record.state}, in MLflow {tags['prune_search.state']}")
        epochs = [report.epoch for report in read_reports(layout.trial(record.number))]
        last = record.report.epoch if record.report else 0
        if epochs != [*range(1, last + 1)]:
            raise Lost(f"trial {record.number} ended after epoch {last}, its reports are {epochs}")
        key = record.state if record.state != "failed" else f"failed: {record.reason.split(':')[0]}"
        counts[key] = counts.get(key, 0) + 1
        if record.reason.startswith(("error", "removal_not_equal", "bad_input")) and NO_CHANNEL not in record.reason:
            raise Lost(f"trial {record.number} failed: {record.reason}")
    if found.front:
        Result.load(name, runs=runs).export(
            found.front[-1].number, formats=["safetensors" if _plain(layout) else "pt2"]
        )
    return counts


def _plain(layout: Layout) -> bool:
    """Whether networks of this search can be written as data: those that look at shapes in Python cannot."""
    return "tests.soak" not in layout.space.read_text()


def one(number: int, seed: int, state: Path, runs: Path) -> dict:
    """A round, noted."""
    draw, name = random.Random(seed), f"round-{number}"
    path = state / "space.yaml"
    refused, fault = a_space(draw, path), draw.choice(faults.NAMES)
    started, problem, counts = time.time(), "", {}
    try:
        faults.run(path, runs, name, fault, draw)
        counts = check(runs, name)
    except Exception as error:
        if not (isinstance(error, UserError) and NO_CHANNEL in str(error)):  # refused, if all its recipes want one
            problem = f"{type(error).__name__}: {error}"
            kept = state / "problems" / name
            if (runs / name).exists():
                shutil.copytree(runs / name, kept, dirs_exist_ok=True)
            kept.mkdir(parents=True, exist_ok=True)
            (kept / "problem.txt").write_text(f"seed {seed}, fault {fault}\n\n{traceback.format_exc()}")
    shutil.rmtree(runs / name, ignore_errors=True)
    shutil.rmtree(runs / "artifacts", ignore_errors=True)
    took = time.time() - started
    return {
        "round": number,
        "seed": seed,
        "fault": fault,
        "refused": refused,
        "seconds": took,
        "states": counts,
        "problem": problem,
        **held(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--state", type=Path, default=ROOT / "runs" / "soak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, help="at most")
    given = parser.parse_args()
    state = given.state.absolute()
    runs = state / "disk"
    runs.mkdir(parents=True, exist_ok=True)
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(runs)]).returncode
    )
    if not mounted:
        faults.NAMES = tuple(name for name in faults.NAMES if name != "disk")
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    log = state / "rounds.jsonl"
    before = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    deadline, rounds = time.time() + given.minutes * 60, list(before)
    try:
        while time.time() < deadline and (given.rounds is None or len(rounds) - len(before) < given.rounds):
            number = len(rounds)
            noted = {
                "time": time.time(),
                "process": os.getpid(),
                **one(number, given.seed * 1_000_003 + number, state, runs),
            }
            rounds.append(noted)
            with log.open("a") as file:
                file.write(json.dumps(noted) + "\n")
            print(json.dumps(noted), flush=True)
    finally:
        ray.shutdown()
        if mounted:
            subprocess.run(["umount", "-l", str(runs)], check=True)
    draw_curves(rounds, state / "curves.html")
    problems = [noted for noted in rounds if noted["problem"]]
    trials = sum(sum(noted["states"].values()) for noted in rounds)
    minutes = sum(noted["seconds"] for noted in rounds) / 60
    print(
        f"{len(rounds)} rounds, {trials} trials, {minutes:.0f} minutes, {len(problems)} problems; {state / 'curves.html'}"
    )
    for name, (first, last, slope) in slopes([noted for noted in rounds if noted["process"] == os.getpid()]).items():
        print(f"{name}: {first:.1f} in the first quarter of this run, {last:.1f} in the last, {slope:+.2f} an hour")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
