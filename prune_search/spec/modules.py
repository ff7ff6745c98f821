"""Which of the user's own modules a search needs on other machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from modulefinder import ModuleFinder
from pathlib import Path

from prune_search.zoo.importing import is_import_path


def own_modules(names: Iterable[str], roots: Sequence[Path]) -> list[Path]:
    """Files of modules and folders of packages in ``roots`` that these names need, and what those import from beside them.

    Nothing is run: the import statements are read, those inside functions, too. What is found in no root counts as installed.

    Args:
        names: Import paths, ``package.module:function``.
        roots: Folders to look in.
    """
    found: dict[str, Path] = {}
    for root in roots:
        finder = ModuleFinder([str(root)], excludes=["prune_search"])
        for name in names:
            with suppress(ImportError):
                finder.import_hook(name.partition(":")[0])
        for module in finder.modules:
            top = module.partition(".")[0]
            folder = root / top
            found.setdefault(top, folder if folder.is_dir() else folder.with_suffix(".py"))
    return sorted(found.values())


def import_paths(tree: object) -> Iterator[str]:
    """All import paths among the texts of a YAML document."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from import_paths(key)
            yield from import_paths(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from import_paths(value)
    elif isinstance(tree, str) and is_import_path(tree):
        yield tree
