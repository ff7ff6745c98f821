"""The search's side of ``resources.storage``: its place at the URL, and what of it must lie in the search's own folder."""

from __future__ import annotations

from prune_search.errors import UserError
from prune_search.search.layout import Layout
from prune_search.spec import Spec
from prune_search.tracking import redacted
from prune_search.training import remote
from prune_search.training.files import CHECKPOINT


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
