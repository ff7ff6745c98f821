"""From a data set's name to its source, one file per kind."""

from __future__ import annotations

from pathlib import Path

from prune_search.errors import UserError
from prune_search.zoo.decoded import Source
from prune_search.zoo.names import DATASETS, canonical
from prune_search.zoo.sources import digits, folder, idx


def find_source(name: str, root: str | Path, size: int | None) -> Source:
    """The source of a built-in or torchvision data set. No image is read, nothing is downloaded.

    Raises:
        UserError: the name is unknown, or a folder has no layout that is known.
    """
    name = canonical(name, DATASETS) or name
    root = Path(root).expanduser().absolute()
    if size is not None and (name == "digits" or canonical(name, idx.FAMILY)):
        raise UserError(f"data.size {size}: the images of {name} have one size already; leave 'size' out.")
    if name == "digits":
        return digits.source()
    if name == "folder":
        return folder.source(root, size)
    if family := canonical(name, idx.FAMILY):
        return idx.source(family, root)
    # torchvision takes seconds to import, which the others need not pay
    from prune_search.zoo.sources import torchvision_sets

    return torchvision_sets.source(name, root, size)
