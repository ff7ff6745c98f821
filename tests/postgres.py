"""A real PostgreSQL server for tests, in a folder of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

PLACES = ["/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/bin"]


def binaries():
    """The folder of initdb and pg_ctl; skips the test where there is none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    for place in PLACES:
        if found := sorted(Path("/").glob(place[1:] + "/initdb")):
            return found[-1].parent
    pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")


class Postgres:
    """``start`` and ``stop`` as often as wanted; the data stay. Root lends it to the user ``postgres`` or ``nobody``."""

    def __init__(self):
        self._bin, self._as = binaries(), {}
        self._folder = tempfile.TemporaryDirectory(prefix="postgres-")  # pytest's own folders are closed to other users
        self._data = Path(self._folder.name) / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if os.getuid() == 0:
            self._as = {"user": _unprivileged()}
            shutil.chown(self._folder.name, self._as["user"])
        self._run("initdb", "-D", self._data, "-U", "me", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    def url(self, name):
        """Of a database that is made where it does not exist."""
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "me", name)
        return f"postgresql://me@127.0.0.1:{self.port}/{name}"

    def start(self):
        options = f"-p {self.port} -h 127.0.0.1 -c fsync=off -c unix_socket_directories=''"
        self._run("pg_ctl", "-D", self._data, "-w", "-o", options, "-l", self._data / "log", "start")

    def stop(self):
        """At once, as when its machine goes away."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def close(self):
        self.stop()
        self._folder.cleanup()

    def _run(self, command, *arguments):
        command = [str(self._bin / command), *map(str, arguments)]
        done = subprocess.run(
            command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **self._as
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"


def _unprivileged():
    import pwd

    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
