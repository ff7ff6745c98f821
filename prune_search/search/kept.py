"""Checkpoints of a search: its place at the URL ``resources.storage``, what must lie in its own folder, what need not stay."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from prune_search.errors import UserError
from prune_search.export import NETWORK
from prune_search.search.layout import Layout
from prune_search.spec import Spec
from prune_search.tracking import redacted
from prune_search.training import remote
from prune_search.training.files import CHECKPOINT
from prune_search.training.remote import Away

log = logging.getLogger("prune_search")


def claim(layout: Layout, spec: Spec, *, new: bool = False) -> None:
    """See :func:`prune_search.training.remote.claim`; passwords are not shown."""
    try:
        remote.claim(layout.remote(spec.resources.storage, layout.folder), new)
    except UserError as error:
        raise UserError(redacted(str(error))) from None


def fetch(layout: Layout, spec: Spec, number: int, *, patience: float | None = None) -> None:
    """Have the checkpoint of a trial that has ended in its folder, if there is one anywhere.

    Raises:
        Away: The storage did not answer for ``patience`` seconds; None: 15 minutes.
    """
    folder = layout.trial(number)
    if not (folder / CHECKPOINT).exists():
        remote.pull(layout.remote(spec.resources.storage, folder), folder, (CHECKPOINT,), patience=patience)


def fetch_network(layout: Layout, spec: Spec, number: int) -> None:
    """Have the network of a tested trial in its folder.

    Raises:
        Away: The storage did not answer for 15 minutes.
    """
    folder = layout.trial(number)
    remote.pull(layout.remote(spec.resources.storage, folder), folder, NETWORK)


def drop(layout: Layout, spec: Spec, number: int) -> int:
    """Delete a trial's checkpoint and network and, at the URL, the copy of its folder; how many bytes that freed.

    Raises:
        Away: The storage did not answer.
    """
    freed = 0
    for name in (CHECKPOINT, *NETWORK):
        file = layout.trial(number) / name
        freed += file.stat().st_size if file.exists() else 0
        file.unlink(missing_ok=True)
    return freed + remote.remove(layout.remote(spec.resources.storage, layout.trial(number)))


class Keeper:
    """Drops checkpoints while a search runs, in a thread of its own, since a storage may be slow; none if all shall stay."""

    def __init__(self, layout: Layout, spec: Spec):
        self._layout, self._spec = layout, spec
        self._thread = ThreadPoolExecutor(1, "drop") if spec.search.keep == "front" else None
        self._cut: set[int] = set()

    def drop(self, numbers: Iterable[int]) -> None:
        """These trials have ended and are not on the front (any more)."""
        if self._thread:
            for number in numbers:
                self._thread.submit(self._drop, number)

    def cut(self, number: int) -> None:
        """This one did not end by itself: its worker may still be writing a checkpoint."""
        self._cut.add(number)

    def close(self) -> None:
        """Wait until all are dropped, and of those that were cut what came late; all workers have ended."""
        if self._thread:
            self.drop(self._cut)
            self._thread.shutdown()

    def _drop(self, number: int) -> None:
        try:
            drop(self._layout, self._spec, number)
        except (Away, OSError) as error:
            log.warning("The checkpoint of trial %d was not deleted: %s", number, redacted(str(error)))
