"""The command line. Thin: parse, call, print."""

from __future__ import annotations

import sys

import typer

from prune_search.cli.console import errors
from prune_search.errors import UserError


def build() -> typer.Typer:
    """The command line with all of its commands."""
    from prune_search.cli import inspect, launching, repeating, results, searching, simulating

    app = typer.Typer(
        name="prune-search",
        help="Search for the pruning recipe that gives the smallest network that keeps your accuracy.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for room in (searching, results, repeating, inspect, simulating, launching):
        for command in room.COMMANDS:
            app.command()(command)
    return app


def main() -> None:
    """Entry point: exit code 0 on success, 2 for a user's mistake, 1 for anything else that failed, 130 for Ctrl-C."""
    try:
        code = build()(standalone_mode=False)
    except UserError as error:
        errors.print(f"error: {error}", markup=False, soft_wrap=True)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _is_usage(error):
            raise
        error.show()
        sys.exit(2)
    sys.exit(code or 0)


def _is_usage(error: Exception) -> bool:
    """Whether it is a mistake in options or arguments, found by the command line parser."""
    return hasattr(error, "show") and getattr(error, "exit_code", None) == 2


if __name__ == "__main__":
    main()
