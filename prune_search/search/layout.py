"""Where a search keeps what it writes: one folder below the runs directory."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_search.errors import UserError, nearest
from prune_search.spec import Spec, load_spec

LEAST_FREE = 100_000_000  # bytes; our choice
_NAME = re.compile(r"(?!mlflow\.db|artifacts$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Layout:
    """The files of one search.

    Attributes:
        runs: The runs directory (``--runs``), absolute.
        name: The search's name.
    """

    runs: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.runs / self.name

    @property
    def space(self) -> Path:
        return self.folder / "space.yaml"

    @property
    def origin(self) -> Path:
        """Where the user's modules lie, and the versions the search was started with."""
        return self.folder / "origin.json"

    @property
    def first(self) -> Path:
        """Configurations to try first, as they were when the search was started."""
        return self.folder / "first.json"

    def spec(self) -> Spec:
        """The search space as it was started, overrides included."""
        return load_spec(self.space, roots=json.loads(self.origin.read_text())["roots"])

    @property
    def journal(self) -> Path:
        return self.folder / "study.log"

    @property
    def stages(self) -> Path:
        """Epochs that trials take over from each other, while the search runs."""
        return self.folder / "stages"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def status(self) -> Path:
        return self.folder / "status.json"

    @property
    def stop(self) -> Path:
        return self.folder / "stop"

    def trial(self, number: int) -> Path:
        return self.folder / "trials" / str(number)

    def confirmed(self, number: int, seed: int) -> Path:
        return self.folder / "confirm" / f"trial-{number}-seed-{seed}"

    def again(self, number: int) -> Path:
        return self.folder / "again" / f"trial-{number}"

    def remote(self, storage: str | None, folder: Path) -> str | None:
        """Where ``folder`` of this search is kept below the URL ``resources.storage``; None without one."""
        return storage and f"{storage.rstrip('/')}/{folder.relative_to(self.runs)}"

    @contextmanager
    def driver(self) -> Iterator[None]:
        """Hold the search's lock: one driver at a time.

        Raises:
            UserError: Another process drives this search.
        """
        with open(self.folder / "driver.lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise UserError(
                    f"search '{self.name}' is being driven by process {file.read().strip() or 'unknown'}. "
                    f"Watch it with `prune-search status {self.name}` or end it with `prune-search stop {self.name}`."
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def driven(self) -> bool:
        """Whether a process drives this search now."""
        try:
            with open(self.folder / "driver.lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except FileNotFoundError:
            return False
        except OSError:
            return True


def new(runs: Path, name: str) -> Layout:
    """Make the folder of a new search.

    Raises:
        UserError: The name is taken or no name for a folder, or the disk is full.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot name a search. Allowed: up to 100 letters, digits, '.', '_' and '-', not starting with a sign; "
            "mlflow.db and artifacts are MLflow's."
        )
    layout = Layout(runs.resolve(), name)
    disk = next(place for place in layout.folder.parents if place.exists())
    free = shutil.disk_usage(disk).free
    if free < LEAST_FREE:
        raise UserError(
            f"{free / 1e6:.1f} MB are free in {disk}; a search wants {LEAST_FREE / 1e6:.0f} MB at least for its study, MLflow and "
            "checkpoints. Free some, or name another folder with --runs."
        )
    try:
        layout.folder.mkdir(parents=True)
    except FileExistsError:
        raise UserError(
            f"a search called '{name}' exists in {layout.runs}. Give another --name, or continue it: prune-search resume {name}"
        ) from None
    return layout


def existing(runs: Path, name: str) -> Layout:
    """The layout of a search that exists.

    Raises:
        UserError: There is none of this name; the nearest one is named.
    """
    layout = Layout(runs.resolve(), name)
    if not _NAME.fullmatch(name) or not layout.space.exists():
        known = searches(runs)
        offer = f" Known: {', '.join(known[-8:])}." if known else " There is none yet: prune-search run SPACE.yaml"
        raise UserError(f"no search is called {name!r} in {layout.runs}.{nearest(name, known)}{offer}")
    return layout


def searches(runs: Path) -> list[str]:
    """Names of all searches in a runs directory, oldest first."""
    found = sorted(runs.glob("*/space.yaml"), key=lambda path: path.stat().st_mtime)
    return [path.parent.name for path in found]


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value))
    os.replace(part, path)
