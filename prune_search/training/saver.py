"""Where a trial's state goes: its checkpoint, written while it trains on, and its reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prune_search.cost.metrics import Report
from prune_search.training import checkpoint
from prune_search.training.files import CHECKPOINT, patiently, write_reports


class Saver:
    """Keeps checkpoint and reports in a folder.

    Args:
        folder: Made if missing.
        behind: Called after each checkpoint, by a thread that writes them, one at a time: what an epoch pays is a copy of the state,
            unless it is shorter than the writing. A process that dies meanwhile leaves the checkpoint before. None: no thread.
    """

    def __init__(self, folder: Path, behind: Callable[[], None] | None = None):
        self.folder, self._behind = folder, behind
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def load(self) -> dict[str, Any] | None:
        """The last checkpoint, if there is one."""
        path = self.folder / CHECKPOINT
        return checkpoint.load(path) if path.exists() else None

    def save(self, state: dict[str, Any], reports: Sequence[Report]) -> None:
        """Keep this; first waits until the last checkpoint is written.

        Raises:
            OSError: What went wrong while that was written, or with the reports.
        """
        self.wait()
        packed = checkpoint.pack(state)
        patiently(lambda: self.folder.mkdir(parents=True, exist_ok=True))
        patiently(lambda: write_reports(self.folder, reports))
        if self._behind is None:
            self._write(packed)
            return
        self._thread = self._thread or ThreadPoolExecutor(1, "checkpoint")
        self._writing = self._thread.submit(self._write, packed)

    def wait(self) -> None:
        """Until the last checkpoint is written.

        Raises:
            OSError: It could not be.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """End the thread; whether the last checkpoint could be written is of no interest any more."""
        if self._thread:
            self._thread.shutdown()

    def _write(self, packed: checkpoint.Packed) -> None:
        patiently(lambda: checkpoint.write(self.folder / CHECKPOINT, packed))
        if self._behind is not None:
            self._behind()
