"""Keeps a search of this version for later ones: ``python -m tests.search.old`` writes ``VERSION.tar.gz`` beside this file.

Six trials of a small space, stopped when three have ended and another one has a checkpoint. In it: the search's folder without Ray's
files, and ``expected.json``, what ``pareto --json`` said.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

from prune_search.search.driver import Search
from prune_search.search.layout import write_json
from prune_search.search.results import read
from prune_search.training.files import CHECKPOINT

SPACE = """\
name: old
data: {name: digits, train_size: 200, validation_size: 100}
model: lenet-300-100
training: {epochs: 30, batch_size: 50, optimizer: {name: sgd, lr: {low: 0.05, high: 0.2, log: true}, momentum: 0.0}}
recipe: {choices: {magnitude: {schedule: {one-shot: {final_sparsity: {low: 0.9, high: 0.99}}}, dense_epochs: 1}, random: {}}}
objectives: {accuracy: maximize, params: minimize}
search: {trials: 6, concurrency: 1, early_stopping: {name: moasha, reduction: 2}}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as here:
        folder = Path(here)
        (folder / "old.yaml").write_text(SPACE)
        search = Search(folder / "old.yaml", runs=folder / "runs", name="old")

        def stop() -> None:
            while not (
                sum(search.progress.counts.values()) >= 3
                and any((search.layout.trial(number) / CHECKPOINT).exists() for number in search.progress.running)
            ):
                time.sleep(0.02)
            search.stop()

        threading.Thread(target=stop, daemon=True).start()
        search.run()
        found = read(search.layout, search.layout.spec())
        front = [{"trial": record.number, "metrics": record.metrics()} for record in found.front]
        write_json(folder / "expected.json", {"front": front, "states": [record.state for record in found.records]})
        for name in ("ray", "stages"):
            shutil.rmtree(search.layout.folder / name, ignore_errors=True)
        (search.layout.folder / "report.html").unlink()
        origin = json.loads(search.layout.origin.read_text())
        write_json(search.layout.origin, {**origin, "roots": ["/nowhere"]})
        target = Path(__file__).parent / f"{version('prune-search')}.tar.gz"
        with tarfile.open(target, "w:gz") as archive:
            archive.add(search.layout.folder, "runs/old")
            archive.add(folder / "expected.json", "expected.json")
        print(f"{target}: {target.stat().st_size:,} bytes, {[record.state for record in found.records]}")


if __name__ == "__main__":
    main()
