"""Starting MLflow's own user interface on a store, for this machine only."""

from __future__ import annotations

import logging
import os
import socket
import sys

from prune_search.errors import UserError
from prune_search.tracking.connection import open_client
from prune_search.tracking.quiet import ENVIRONMENT
from prune_search.tracking.uris import absolute, is_server, redacted, sqlite_file
from prune_search.tracking.views import links

HOST = "127.0.0.1"
PORTS = range(5000, 5100)


def ui_command(uri: str, port: int) -> list[str]:
    """The command that serves MLflow's UI for the store at ``uri`` on 127.0.0.1, with this interpreter.

    To be started with :func:`ui_environment`. A URI with credentials is in that environment only: everybody
    on a machine can read command lines.

    Raises:
        UserError: if ``uri`` is a server already, or an SQLite file that is not there.
    """
    if is_server(uri):
        raise UserError(f"The tracking server at {redacted(uri)} has a UI of its own: open that address in a browser.")
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        raise UserError(f"There is no MLflow database at {file}. Run a search first, or name another with --runs.")
    place = absolute(uri)
    store = ["--backend-store-uri", place] if redacted(place) == place else []
    serve = ["--host", HOST, "--port", str(port), "--workers", "1", "--no-serve-artifacts"]
    return [sys.executable, "-m", "mlflow", "server", *store, *serve]


def ui_environment(uri: str) -> dict[str, str]:
    """The environment for :func:`ui_command`: this process's, with the store's URI and without telemetry."""
    no_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # saves a process; nothing here needs jobs
    return {**ENVIRONMENT, **no_jobs, **os.environ, "MLFLOW_BACKEND_STORE_URI": absolute(uri)}


def ui_links(uri: str, port: int) -> dict[str, dict[str, str]]:
    """What a UI on ``port`` shows of the store's experiments, the newest first: see :func:`prune_search.tracking.views.links`.

    Raises:
        UserError: MLflow cannot read the store.
    """
    try:
        client = open_client(absolute(uri), logging.getLogger(__name__))
        newest = client.search_experiments(order_by=["creation_time DESC"])
    except Exception as error:
        message = " ".join(redacted(str(error)).split()).rstrip(".")
        raise UserError(
            f"MLflow cannot read {redacted(uri)}: {message}. For a store of an older MLflow: mlflow db upgrade {redacted(uri)}"
        ) from error
    return links(newest, f"http://{HOST}:{port}")


def free_port(port: int | None = None) -> int:
    """``port`` if nothing listens there on 127.0.0.1; without one, the first free of 5000 to 5099.

    Raises:
        UserError: if it is taken, needs rights that we lack, or is no port.
    """
    if port is None:
        port = next((candidate for candidate in PORTS if _problem(candidate) is None), None)
        if port is None:
            raise UserError(
                f"All ports from {PORTS[0]} to {PORTS[-1]} on {HOST} are taken. Name a free one with --port."
            )
        return port
    if not 1 <= port <= 65535:
        raise UserError(f"Port {port} does not exist; allowed: 1 to 65535. Name another with --port.")
    problem = _problem(port)
    if problem is not None:
        raise UserError(f"Port {port} on {HOST} cannot be used: {problem}. Name another with --port, or leave it out.")
    return port


def _problem(port: int) -> str | None:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None
