"""The way to the process that writes to MLflow: started with the first tracker, shared by all trackers of this process."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ATTEMPTS = 3  # starts of the process in a row that write nothing, after which it is not started again
GONE = object()
ROOT = Path(__file__).parents[2]

Entry = tuple[str, tuple[Any, ...]]
"""A method of :class:`prune_search.tracking.writer.Writer` and its arguments."""


class End:
    """One tracker's end of a :class:`Channel`.

    Attributes:
        opening: What a writer for it is made with.
        unwritten: What was told and is not carried out yet, oldest first.
        failures: Entries that the writer gave up.
        replies: Where replies are waited for, by token.
    """

    def __init__(self, opening: tuple[Any, ...], logger: logging.Logger) -> None:
        self.opening, self.logger = opening, logger
        self.unwritten: deque[Entry] = deque()
        self.failures = 0
        self.replies: dict[int, queue.SimpleQueue[Any]] = {}
        self.sent = self.settled = 0
        self.settled_before = self.failures_before = 0  # this writer began


class Channel:
    """Carries entries of trackers to one process, in order. Nobody waits: one thread sends, another listens.

    A process that dies is started again, and gets what it had not carried out once more.
    """

    def __init__(self) -> None:
        self._ends: dict[int, End] = {}
        self._numbers = itertools.count()
        self._queue: queue.SimpleQueue[tuple[int, Entry | End | None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._attempts = 0
        self.alive = True
        self._start()
        for work in (self._send, self._listen):
            threading.Thread(target=work, name=f"tracking{work.__name__}", daemon=True).start()

    def join(self, end: End) -> int:
        """Give a tracker's end a number, and open a writer for it."""
        number = next(self._numbers)
        self._queue.put((number, end))
        return number

    def tell(self, number: int, end: End, entry: Entry) -> None:
        """Send an entry as soon as those before it are sent."""
        end.unwritten.append(entry)
        self._queue.put((number, entry))

    def leave(self, number: int) -> None:
        """Close an end; its writer gives up what is left."""
        self._queue.put((number, None))

    def _start(self) -> None:
        here, there = Pipe()
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prune_search.tracking.process", str(there.fileno())],
                pass_fds=[there.fileno()],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the search's alone
            )
        self._connection: Connection = here

    def _send(self) -> None:
        while True:
            number, what = self._queue.get()
            with self._lock:
                if isinstance(what, End):
                    self._ends[number] = what
                    self._pass(number, "open", what.opening)
                elif what is None:
                    del self._ends[number]
                    self._pass(number, "forget", ())
                else:
                    self._ends[number].sent += 1
                    self._pass(number, *what)

    def _pass(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            self._connection.send((number, method, arguments))
        except OSError:
            pass  # it has died: the listening thread starts another one

    def _listen(self) -> None:
        while self.alive:
            try:
                number, kind, *values = self._connection.recv()
            except (EOFError, OSError):
                self._start_again()
                continue
            end = self._ends.get(number)
            if end is None:
                continue
            if kind == "message":
                end.logger.log(values[0], "%s", values[1])
            elif kind == "written":
                self._settle(end, *values)
            elif reply := end.replies.get(values[0]):
                reply.put(values[1])

    def _settle(self, end: End, written: int, failures: int) -> None:
        with self._lock:
            while end.settled < end.settled_before + written:
                end.unwritten.popleft()
                end.settled += 1
            end.failures = end.failures_before + failures
            self._attempts = 0

    def _start_again(self) -> None:
        with self._lock:
            self._process.wait()
            self._attempts += 1
            self.alive = self._attempts < ATTEMPTS
            what = "is started again" if self.alive else "is not started again"
            for end in self._ends.values():
                end.logger.warning(
                    "The process that writes to MLflow died (%s); it %s.", self._process.returncode, what
                )
            if not self.alive:
                for reply in [reply for end in self._ends.values() for reply in end.replies.copy().values()]:
                    reply.put(GONE)
                return
            self._start()
            for number, end in self._ends.items():
                end.settled_before, end.failures_before = end.settled, end.failures
                self._pass(number, "open", end.opening)
                for entry in [*islice(end.unwritten.copy(), end.sent - end.settled)]:
                    self._pass(number, *entry)


@functools.cache
def channel() -> Channel:
    """This process's own."""
    return Channel()
