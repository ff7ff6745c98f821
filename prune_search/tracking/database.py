"""A new SQLite database for MLflow: there when it is whole."""

from __future__ import annotations

import os
import uuid

from prune_search.tracking.uris import sqlite_file


def create(uri: str) -> None:
    """Create the SQLite file of ``uri`` and its folder, if it is not there; nothing for other stores.

    MLflow makes its tables by dozens of migrations, which take seconds; killed in the middle of one, it leaves a file that it
    cannot open again. So they are made under another name.
    """
    path = sqlite_file(uri)
    if path is None or path.exists():
        return
    from mlflow.store.db.utils import _safe_initialize_tables, create_sqlalchemy_engine_with_retry

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.absolute().with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        engine = create_sqlalchemy_engine_with_retry(f"sqlite:///{part}")
        try:
            _safe_initialize_tables(engine)
        finally:
            engine.dispose()
        try:
            os.link(part, path)
        except FileExistsError:  # another process was quicker
            pass
        except OSError:  # a file system without hard links
            os.rename(part, path)
    finally:
        part.unlink(missing_ok=True)
