"""Copies of trial folders at a URL that fsspec understands, where nodes share no file system. Importable without torch."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from prune_search.errors import UserError, nearest
from prune_search.training.files import CHECKPOINT, REPORTS, patiently

T = TypeVar("T")
FILES = (CHECKPOINT, REPORTS)
"""What a trial goes on from; in this order, so that no report is ahead of its checkpoint."""
MARK = "search.txt"
"""Lies beside ``trials`` at the URL: who does not see it must not take a missing checkpoint for a new trial."""
PATIENCE, PAUSE = 900.0, 1.0


class Away(UserError):
    """The storage did not answer for as long as one waits: no fault of what is trained."""


def push(folder: Path, url: str | None, names: Sequence[str] = FILES) -> None:
    """Copy files of a folder to a URL, in this order; a reader sees the old file or the new one. Nothing without a URL.

    Raises:
        Away: It failed for :data:`PATIENCE` seconds.
    """
    if url is None:
        return

    def put() -> None:
        files, place = _open(url)
        files.makedirs(place, exist_ok=True)
        for name in names:
            files.put_file(str(folder / name), f"{place}/{name}.part")
            files.mv(f"{place}/{name}.part", f"{place}/{name}")

    _answered(put, PATIENCE)


def pull(url: str | None, folder: Path, names: Sequence[str] = FILES, *, patience: float | None = None) -> None:
    """Make these files of a folder what they are at a URL: those that it lacks are removed. Nothing without a URL.

    Args:
        url: Of a trial: two folders below a search that was claimed.
        patience: Seconds to try; None: :data:`PATIENCE`.

    Raises:
        Away: It failed for so long, or the search is not there at all.
    """
    if url is None:
        return

    def get() -> None:
        files, place = _open(url)
        files.info(f"{place.rsplit('/', 2)[0]}/{MARK}")
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            part = folder / f"{name}.part"
            try:
                files.get_file(f"{place}/{name}", str(part))
                os.replace(part, folder / name)
            except FileNotFoundError:
                for old in (part, folder / name):
                    old.unlink(missing_ok=True)

    _answered(get, PATIENCE if patience is None else patience)


@contextmanager
def at_hand(folder: Path, url: str | None, names: Sequence[str] = FILES) -> Iterator[Path]:
    """The folder itself; with a URL, a temporary one of this node that begins as what is there.

    Raises:
        Away: See :func:`pull`.
    """
    if url is None:
        yield folder
        return
    with TemporaryDirectory(prefix="prune-search-", ignore_cleanup_errors=True) as local:
        pull(url, Path(local), names)
        yield Path(local)


def remove(url: str | None) -> int:
    """Delete all below a URL, tried once; how many bytes that freed. Nothing without a URL.

    Raises:
        Away: It failed.
    """
    if url is None:
        return 0

    def delete() -> int:
        files, place = _open(url)
        try:
            freed = files.du(place)
            files.rm(place, recursive=True)
        except FileNotFoundError:
            return 0
        return freed

    return _answered(delete, 0.0)


def claim(url: str | None, new: bool) -> None:
    """Mark the folder of a search at a URL, which shows that one can write there. Nothing without a URL.

    Raises:
        UserError: One cannot, or there is a search already where a new one shall be.
    """
    if url is None:
        return
    with _writing(url) as (files, place):
        taken = new and files.exists(f"{place}/{MARK}")
        files.makedirs(place, exist_ok=True)
        files.pipe_file(f"{place}/{MARK}", b"A search of prune-search.\n")
    if taken:
        raise UserError(f"resources.storage: {url} holds a search already. Give another --name, or delete that folder.")


def probe(url: str) -> None:
    """Write a small file at a URL and delete it.

    Raises:
        UserError: One cannot.
    """
    with _writing(url) as (files, place):
        name = f"{place}/.doctor-{uuid.uuid4().hex}"
        files.makedirs(place, exist_ok=True)
        files.pipe_file(name, b"")
        files.rm(name)


@contextmanager
def _writing(url: str) -> Iterator[tuple[Any, str]]:
    """File system and place of a URL; says what is wrong with it where it cannot be opened or written."""
    from fsspec.registry import available_protocols, get_filesystem_class, known_implementations

    protocol = url.split("::")[0].partition("://")[0] if "://" in url else "file"
    try:
        get_filesystem_class(protocol)
    except ValueError:
        raise UserError(
            f"resources.storage: got {url}, but fsspec has no protocol '{protocol}'."
            f"{nearest(protocol, available_protocols())} Write s3://, gs://, abfs:// or an absolute path, or null."
        ) from None
    except ImportError as error:
        package = known_implementations[protocol]["class"].split(".")[0]
        remedy = f" Here and on every node: pip install {package}" if package != "fsspec" else ""
        raise UserError(f"resources.storage: {url} needs a package that is not installed: {error}.{remedy}") from None
    try:
        yield _open(url)
    except Exception as error:
        raise UserError(
            f"resources.storage: {url} cannot be written: {_said(error)}. Grant this user that, name another one, or set null."
        ) from None


def _open(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    files, place = url_to_fs(url)
    files.invalidate_cache()
    return files, place


def _answered(action: Callable[[], T], patience: float) -> T:
    """``action()``, tried for so long. Back-ends raise errors of many kinds; only a missing package does not come back."""
    try:
        return patiently(action, patience, PAUSE, lambda error: not isinstance(error, ImportError))
    except Exception as error:
        raise Away(f"resources.storage does not answer: {_said(error)}") from error


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
