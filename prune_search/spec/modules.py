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
    Of a folder without ``__init__.py`` the named modules are read only, and all of it is needed.

    Args:
        names: Import paths, ``package.module:function``.
        roots: Folders to look in.
    """
    found: dict[str, Path] = {}
    for root in roots:
        finder = _Finder([str(root)], excludes=["prune_search"])
        for name in names:
            module = name.partition(":")[0]
            with suppress(ImportError):
                finder.import_hook(module)
            file = root.joinpath(*module.split(".")).with_suffix(".py")
            if module.partition(".")[0] in finder.folders and file.exists():
                finder.load_file(str(file))
        for module in [*finder.modules, *finder.folders]:
            top = module.partition(".")[0]
            path = root / top if (root / top).is_dir() else (root / top).with_suffix(".py")
            if path.exists():  # a file that was read by its place has its last name only
                found.setdefault(top, path)
    return sorted(found.values())


class _Finder(ModuleFinder):
    """Notes folders without ``__init__.py``, of which Python's finder (3.11) makes an AttributeError."""

    def __init__(self, path: list[str], excludes: list[str]) -> None:
        super().__init__(path, excludes=excludes)
        self.folders: set[str] = set()

    def find_module(self, name: str, path: list[str] | None, parent: object = None) -> object:
        try:
            return super().find_module(name, path, parent)
        except AttributeError:
            if parent is None:
                self.folders.add(name)
            raise ImportError(name) from None


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
