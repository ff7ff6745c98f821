"""Running a command of prune-search in this process."""

import sys

import pytest

from prune_search.cli.main import main


def run(monkeypatch, capsys, *arguments):
    """(exit code, standard output, standard error) of ``prune-search ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["prune-search", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err
