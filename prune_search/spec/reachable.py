"""Whether what a configuration names can be found: the user's functions, built-in and torchvision names."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from prune_search.errors import UserError, nearest
from prune_search.spec.config import TrialConfig
from prune_search.spec.strict import ConfigError
from prune_search.zoo.importing import is_import_path, load_object
from prune_search.zoo.names import DATASETS, MODELS, canonical


@contextlib.contextmanager
def import_roots(roots: Sequence[str | Path]) -> Iterator[None]:
    """Makes modules in these folders importable, ahead of installed ones."""
    added = [str(root) for root in roots if str(root) not in sys.path]
    sys.path[:0] = added
    try:
        yield
    finally:
        for root in added:
            with contextlib.suppress(ValueError):
                sys.path.remove(root)


def check_reachable(config: TrialConfig, roots: Sequence[str | Path]) -> None:
    """Imports the user's functions and looks up names.

    Raises:
        ConfigError: A function that cannot be imported, a model or dataset that nobody knows.
    """
    named = {
        ("data", "name"): config.data.name,
        ("model", "name"): config.model.name,
        ("training", "loss"): config.training.loss,
        ("training", "metric"): config.training.metric,
    }
    for path, name in named.items():
        if is_import_path(name):
            _check_function(path, name, roots)
    for path, known in ((("data", "name"), DATASETS), (("model", "name"), MODELS)):
        name = named[path]
        if not is_import_path(name) and not canonical(name, known):
            offered = _torchvision(path[0])
            if offered is not None and not canonical(name, offered):
                raise ConfigError(
                    path,
                    f"got {name!r}. Allowed: {', '.join(known)}, a name of torchvision, or "
                    f"package.module:function.{nearest(name, (*known, *offered))}",
                )


def _check_function(path: tuple[str, ...], name: str, roots: Sequence[str | Path]) -> None:
    with import_roots(roots):
        try:
            function = load_object(name)
        except UserError as error:
            looked = f" The folder of the YAML file ({roots[0]}) was searched too." if roots else ""
            raise ConfigError(path, f"cannot be imported. {error}{looked}") from None
    if not callable(function):
        raise ConfigError(path, f"{name} is a {type(function).__name__}. Allowed: a function or a class.")


def _torchvision(section: str) -> list[str] | None:
    """torchvision's names, loaded only for a name that is not built in; None where it is not installed."""
    try:
        import torchvision
    except ImportError:
        return None
    return torchvision.models.list_models() if section == "model" else list(torchvision.datasets.__all__)
