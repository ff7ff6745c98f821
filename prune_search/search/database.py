"""A study in a database, which may be away for a while."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, cast

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from prune_search.errors import UserError
from prune_search.tracking import redacted

log = logging.getLogger("prune_search")


class Patient:
    """A storage whose database may be away for a while: every call is tried again until it answers.

    Only what the database's absence causes is tried again. Whoever calls waits; trials go on training meanwhile.

    Args:
        storage: Any Optuna storage.
        patience: Seconds until a call gives up and raises. Default (our choice): 15 minutes.
        pause: Seconds between two tries.
    """

    def __init__(self, storage: BaseStorage, patience: float = 900.0, pause: float = 1.0):
        self._storage, self._patience, self._pause = storage, patience, pause

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._storage, name)
        return functools.partial(self._call, value) if callable(value) else value

    def _call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        deadline, told = time.monotonic() + self._patience, False
        while True:
            try:
                return function(*arguments, **options)
            except (StorageInternalError, DBAPIError) as error:
                if not _away(error) or time.monotonic() >= deadline:
                    raise
                if not told:
                    log.warning("search.storage does not answer; trying for %.0f s: %s", self._patience, _cause(error))
                told = True
            time.sleep(self._pause)


def _away(error: Exception) -> bool:
    database = error if isinstance(error, DBAPIError) else error.__cause__
    return isinstance(database, (OperationalError, InterfaceError)) or getattr(
        database, "connection_invalidated", False
    )


def _cause(error: Exception) -> str:
    return redacted(str(error.__cause__ or error).strip().split("\n")[0])


def open_database(url: str) -> BaseStorage:
    """Any Optuna storage URL, waited for if it is away later.

    Raises:
        UserError: The database is not there, or its driver is not installed.
    """
    try:
        storage = optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        raise UserError(
            f"search.storage: {redacted(url)} needs a driver that is not installed: {_cause(error)}. "
            "For PostgreSQL: pip install 'prune-search[postgres]'."
        ) from None
    except DBAPIError as error:
        raise UserError(
            f"search.storage: {redacted(url)} does not answer: {_cause(error)}. Start the database, or set search.storage: null."
        ) from None
    return cast(BaseStorage, Patient(optuna.storages.get_storage(storage)))
