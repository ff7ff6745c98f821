"""``--set key=value``: values laid over a file, with the same errors as if they stood in it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from prune_search.errors import UserError
from prune_search.spec.document import DEEPEST, TOO_DEEP, Document, KeyPath, depth, dump, parse_value

SHORT_FORMS: dict[KeyPath, str] = {
    ("data",): "name",
    ("model",): "name",
    ("training", "optimizer"): "name",
    ("training", "schedule"): "name",
    ("recipe",): "preset",
}
"""Where text stands for a mapping, and under which key of it."""


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """The document with every ``a.b=value`` set; values are read as YAML.

    A path walks through the keys of the file, keys that contain dots included; what is not there is added, so
    that a wrong key meets the same check as in the file. Text that stands for a mapping becomes one:
    ``recipe.removal=never`` turns ``recipe: dyprune`` into ``{preset: dyprune, removal: never}``.

    Raises:
        UserError: No ``=``, an empty key, a path through something that has no keys, or far too deep.
    """
    if not overrides:
        return document
    tree, places = copy.deepcopy(document.tree), dict(document.places)
    for override in overrides:
        key, equals, text = override.partition("=")
        key, source = key.strip(), f"--set {override}"
        if not equals or not all(key.split(".")):
            raise UserError(f"{source}: got {override!r}. Allowed: key=value, such as training.epochs=5.")
        value = parse_value(text, source)
        if key.count(".") + depth(value) >= DEEPEST:
            raise UserError(f"{source}: {TOO_DEEP}")
        path = _set(tree, key, value, source)
        for known in [known for known in places if known[: len(path)] == path]:
            del places[known]
        places[path] = source
    return Document(document.name, dump(tree), tree, places)


def _set(tree: dict, key: str, value: object, source: str) -> KeyPath:
    node, path, rest = tree, (), key
    while True:
        step = _step(node, rest)
        path, rest = (*path, step), rest[len(step) + 1 :]
        if not rest:
            node[step] = value
            return path
        if isinstance(node.get(step), str) and path in SHORT_FORMS:
            node[step] = {SHORT_FORMS[path]: node[step]}
        if node.get(step) is None:
            node[step] = {}
        node = node[step]
        if not isinstance(node, dict):
            raise UserError(f"{source}: {'.'.join(path)} is {node!r}, which has no key '{rest}'. Set it as a whole.")


def _step(node: dict, rest: str) -> str:
    """The longest key of ``node`` that ``rest`` begins with, else the first word of ``rest``."""
    fitting = [key for key in node if rest == key or rest.startswith(f"{key}.")]
    return max(fitting, key=len) if fitting else rest.partition(".")[0]
