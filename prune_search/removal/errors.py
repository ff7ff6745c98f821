from __future__ import annotations


class RemovalError(RuntimeError):
    """A network could not be made smaller and compute the same, or its optimizer not be carried along."""
