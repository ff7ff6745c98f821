"""The one exception that means: the user can mend this."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

BAD_INPUT = "bad_input"
"""Why a trial failed that met a :class:`UserError`: in the data, the model, a function. No other seed or rate mends it."""


_LONGEST = 2000  # characters


class UserError(Exception):
    """A user's mistake. ``str(error)`` is the whole message; commands print it and exit with code 2.

    Of a message that quotes something endless the middle is left out: what came stands at its beginning, what to do at its end.
    """

    def __init__(self, message: str):
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 + 5 :]}"
        super().__init__(message)


def nearest(received: object, allowed: Iterable[str]) -> str:
    """The allowed name that looks most like what came, as ``" Did you mean 'x'?"``; empty if none does."""
    matches = difflib.get_close_matches(str(received), list(allowed), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""
