"""Downloads through torchvision, only where files are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from filelock import FileLock

from prune_search.errors import UserError
from prune_search.zoo import cache


def download(make: Callable[..., Any], name: str, expected: str) -> None:
    """Lets torchvision download a data set; one process at a time.

    Args:
        make: the data set's class, its root given.
        expected: which files were looked for and where, for the message.

    Raises:
        UserError: that was not possible.
    """
    try:
        cache.folder().mkdir(parents=True, exist_ok=True)
        with FileLock(cache.folder() / f"download-{name}.lock"):
            make(download=True)
    except Exception as error:  # torchvision raises what urllib, tarfile, its checksums and the disk raise
        raise UserError(
            f"{name} was not found and could not be downloaded ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0].rstrip(':')}). Expected {expected}. Put the files there, or set data.root to the "
            "folder that holds them."
        ) from error
