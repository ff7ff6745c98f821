"""The user's own models and data by import path, ``package.module:function``. Importable without torch."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sys
from types import ModuleType
from typing import Any

from prune_search.errors import UserError, nearest

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def is_import_path(name: str) -> bool:
    """Whether ``name`` has the form ``package.module:function`` (``models:/x`` and file paths have not)."""
    return _PATH.fullmatch(name) is not None


def load_object(path: str) -> object:
    """The object at ``package.module:function``.

    The current directory joins the end of ``sys.path``, so that a module beside the YAML file is found by the
    installed command as it is by ``python -m``.

    Raises:
        UserError: the path has another form, the module is missing or raises, or has no such attribute.
    """
    if not is_import_path(path):
        raise UserError(f"'{path}' is no import path. Write package.module:function, for example my_pkg.models:build.")
    module_name, _, attributes = path.partition(":")
    module = _import(module_name, path)
    try:
        return functools.reduce(getattr, attributes.split("."), module)
    except AttributeError:
        offered = _public_callables(module)
        raise UserError(
            f"{path}: module '{module_name}' ({_origin(module)}) has no "
            f"'{attributes}'.{nearest(attributes, offered)} It offers: "
            f"{', '.join(offered) or 'no function or class'}."
        ) from None


def call_accepted(function: object, path: str, offered: dict[str, Any], required: dict[str, Any]) -> Any:
    """Calls a user's function with the ``offered`` keywords that it names, and all ``required`` ones.

    Raises:
        UserError: it is not callable, does not take a required keyword or needs others, or raises.
    """
    if not callable(function):
        raise UserError(f"{path} is a {type(function).__name__}; it must be a function or class that can be called.")
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some callables written in C tell no signature: offer them everything
        keywords = offered | required
    else:
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        keywords = {k: v for k, v in offered.items() if takes_all or k in parameters} | required
        try:
            inspect.signature(function).bind(**keywords)
        except TypeError as error:
            raise UserError(
                f"{path}{inspect.signature(function)} cannot be called with {_listed(keywords)}: {error}. "
                f"It may take any of {_listed(offered)} and the options written beside its name in the "
                "YAML; give its other arguments defaults."
            ) from None
    try:
        return function(**keywords)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}({_listed(keywords)}) raised {type(error).__name__}: {error}.") from error


def _import(name: str, path: str) -> ModuleType:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UserError(
                f"{path}: there is no module '{error.name}'. Looked in the current directory "
                f"({os.getcwd()}) and among the installed packages; start the command in the folder that "
                "holds it, or install it."
            ) from None
        raise UserError(f"{path}: importing '{name}' needs the missing module '{error.name}'; install it.") from error
    except Exception as error:
        raise UserError(f"{path}: importing '{name}' raised {type(error).__name__}: {error}.") from error


def _public_callables(module: ModuleType) -> list[str]:
    return sorted(n for n, value in vars(module).items() if callable(value) and not n.startswith("_"))[:20]


def _origin(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "built in"


def _listed(keywords: dict[str, Any]) -> str:
    return ", ".join(keywords) or "nothing"
