"""A YAML file as plain values, with the place of every key, so that an error can name its line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from prune_search.errors import UserError, nearest

KeyPath = tuple[str, ...]

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_TAG = "tag:yaml.org,2002:"
LONGEST, DEEPEST, LARGEST = 1_000_000, 64, 2**63 - 1  # characters, levels, a whole number; our choice
WEIGHT = 50  # characters that a value counts as at least
TOO_DEEP = f"more than {DEEPEST} levels of lists and mappings. Write it flatter."


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: ``1e-4`` is a number; ``on``, ``no``, ``1:30`` and dates are text."""

    yaml_implicit_resolvers: dict = {}
    level = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        self.level += 1
        if self.level > DEEPEST + 1:
            raise RecursionError
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes what either this reader or a YAML 1.1 reader would take for something else than text."""

    def ignore_aliases(self, data: object) -> bool:
        return True


for _kind, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
    ("merge", re.compile(r"^<<$"), ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _kind, _pattern, _first)
_Dumper.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+0123456789."))


def number(text: str) -> float:
    text = text.replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS = {
    _TAG + "str": str,
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: text.lower() == "true",
    _TAG + "int": lambda text: int(text.replace("_", "")),
    _TAG + "float": number,
}


@dataclass(frozen=True)
class Document:
    """What a user wrote.

    Args:
        name: The file as the user named it; errors start with it.
        text: The source.
        tree: Plain values: mappings with text keys, lists, text, numbers, booleans, None.
        places: Key path -> ``"file:line"`` of the key (or of the list item).
    """

    name: str
    text: str
    tree: dict[str, object]
    places: Mapping[KeyPath, str]

    def error(self, path: KeyPath, message: str) -> UserError:
        """The user's mistake at ``path``: file, line and key in front of the message."""
        known = path
        while known not in self.places:
            known = known[:-1]
        key = f"{'.'.join(path)}: " if path else ""
        return UserError(f"{self.places[known]}: {key}{message}")


def read_document(path: str | Path) -> Document:
    """Reads a YAML file.

    Raises:
        UserError: The file is missing, empty, not a mapping, not YAML, holds a key twice or a tag.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file.{_neighbours(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}. Name a YAML file.") from None
    return parse_document(text, str(path))


def parse_document(text: str, name: str) -> Document:
    """Reads YAML from text; ``name`` stands in errors. Raises like :func:`read_document`."""
    node = _compose(text, name)
    if node is None:
        raise UserError(f"{name}:1: the file is empty. Write at least model, training, recipe and objectives.")
    builder = _Builder(name, {(): f"{name}:{node.start_mark.line + 1}"})
    tree = builder.build(node, ())
    if not isinstance(tree, dict):
        raise UserError(f"{builder.places[()]}: the file must be a mapping of keys to values, got {tree!r}.")
    return Document(name, text, tree, builder.places)


def parse_value(text: str, name: str) -> object:
    """One YAML value, as in ``--set key=value``; ``name`` stands in errors."""
    node = _compose(text, name)
    return None if node is None else _Builder(name, {(): name}).build(node, ())


def dump(tree: Mapping[str, object]) -> str:
    """The tree as YAML text that :func:`parse_document` reads back equal."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def depth(value: object) -> int:
    """How many lists and mappings lie in one another; 0 of a scalar."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if items is None else 1 + max(map(depth, items), default=0)


def _compose(text: str, name: str) -> yaml.Node | None:
    if len(text) > LONGEST:
        raise UserError(f"{name}: {len(text):,} characters. Allowed: {LONGEST:,}; a search space is a page or two.")
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{name}:{line}: not valid YAML at column {column}: {problem}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}:1: not valid YAML: {error}.") from None
    except RecursionError:
        raise UserError(f"{name}:1: {TOO_DEEP}") from None


class _Builder:
    """Plain values of nodes, and the place of each; anchors are written out, which must come to an end."""

    def __init__(self, name: str, places: dict[KeyPath, str]):
        self.places = places
        self._name, self._above, self._left = name, [], LONGEST

    def build(self, node: yaml.Node, path: KeyPath) -> object:
        here = f"{self._name}:{node.start_mark.line + 1}: {'.'.join(path)}"
        if node in self._above:
            raise UserError(f"{here}: this anchor holds itself. Write the value out.")
        if len(self._above) > DEEPEST:
            raise UserError(f"{here}: {TOO_DEEP}")
        self._left -= WEIGHT if isinstance(node, yaml.CollectionNode) else WEIGHT + len(node.value)
        if self._left < 0:
            raise UserError(f"{here}: with its anchors written out, the file is far too long for a search space.")
        self._above.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
                return [self._item(item, (*path, str(index))) for index, item in enumerate(node.value)]
            if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
                return self._scalar(node, here)
        finally:
            self._above.pop()
        raise UserError(
            f"{here}: the tag {node.tag!r} is not allowed. Write text, numbers, true/false, lists or mappings."
        )

    def _item(self, node: yaml.Node, path: KeyPath) -> object:
        self.places[path] = f"{self._name}:{node.start_mark.line + 1}"
        return self.build(node, path)

    def _scalar(self, node: yaml.ScalarNode, here: str) -> object:
        try:
            value = _SCALARS[node.tag](node.value)
        except ValueError:
            raise UserError(f"{here}: {node.value!r} is not a {node.tag.removeprefix(_TAG)}.") from None
        if type(value) is int and not -LARGEST - 1 <= value <= LARGEST:
            raise UserError(f"{here}: got {node.value}. Allowed: whole numbers of 64 bits, up to {LARGEST}.")
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        tree: dict[str, object] = {}
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(
                    f"{self._name}:{line}: {'.'.join(path)}: a key must be one word, got a list or a mapping."
                )
            if key.tag == _TAG + "merge":
                self._merge(value, path, line, tree)
                continue
            word = key.value
            if word in first:
                raise UserError(
                    f"{self._name}:{line}: {'.'.join((*path, word))}: the key '{word}' stands here twice, "
                    f"first on line {first[word]}. Keep one."
                )
            first[word] = line
            self.places[(*path, word)] = f"{self._name}:{line}"
            tree[word] = self.build(value, (*path, word))
        return tree

    def _merge(self, value: yaml.Node, path: KeyPath, line: int, tree: dict[str, object]) -> None:
        """What ``<<`` names, where ``tree`` has no key of that name."""
        for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            known, self.places = self.places, {**self.places}
            inherited = self.build(merged, path)
            self.places = known
            if not isinstance(inherited, dict):
                raise UserError(f"{self._name}:{line}: {'.'.join(path)}: << wants a mapping, got {inherited!r}.")
            for word, item in inherited.items():
                tree.setdefault(word, item)
                self.places.setdefault((*path, word), f"{self._name}:{line}")


def _neighbours(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" There is no folder {folder} either."
    names = sorted(item.name for item in folder.iterdir() if item.suffix in (".yaml", ".yml"))
    hint = nearest(path.name, names)
    return hint or (f" YAML files in {folder}: {', '.join(names[:8])}." if names else f" {folder} holds no YAML file.")
