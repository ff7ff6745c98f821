"""Where MLflow keeps its data: tracking URIs made absolute, told apart, and cleaned before they are shown."""

from __future__ import annotations

import re
from pathlib import Path

_SQLITE = "sqlite:///"
_USER = re.compile(r"(?<!sqlite)://[^\s'\"]*@")
_SECRET = re.compile(r"([?&][^=&\s]*(?:password|passwd|pwd|token|secret|key|signature)[^=&\s]*=)[^&\s'\")]+", re.I)


def redacted(text: str) -> str:
    """``text`` (a URI, or a message that quotes some) without user names, passwords and tokens.

    ``postgresql://me:word@db/runs`` becomes ``postgresql://***@db/runs``.
    """
    return _SECRET.sub(r"\1***", _USER.sub("://***@", text))


def is_server(uri: str) -> bool:
    """Whether a server stands between us and the store, so that it decides where artifacts go."""
    return uri.startswith(("http://", "https://", "databricks", "uc:"))


def absolute(uri: str) -> str:
    """``uri`` with the path of an SQLite file made absolute, for later changes of directory."""
    path = sqlite_file(uri)
    if path is None:
        return uri
    query = uri.partition("?")[2]
    return f"{_SQLITE}{path.absolute()}" + (f"?{query}" if query else "")


def sqlite_file(uri: str) -> Path | None:
    """The file behind an SQLite URI; None for every other store, in-memory ones included."""
    if not uri.startswith(_SQLITE):
        return None
    name = uri.removeprefix(_SQLITE).partition("?")[0]
    return None if name in ("", ":memory:") else Path(name)
