"""Inputs that are nearly right: text, bytes and nested data, altered a little at random."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import yaml

WORDS = (
    "", "0", "-1", "1e400", "nan", ".inf", "null", "~", "true", "yes", "*a", "&a", "<<", "!!python/name:os.system", "{{}}", "${HOME}",
    "../x", "/etc/passwd", "os:system", "\x00", "é", "\ud83d\ude00", "low", "high", "log", "step", "choices", "name", "preset",
    "recipe", "schedule", "training", "search", "magnitude", "dyprune", "weight", "channel", "at-end", "never", "accuracy", "params",
    "and", "or", "(", ")", ">=", "==", ":", "=", ".", ",", "[", "{", "|", "#", "\n", "  ", "9" * 400, "9" * 5000,
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**64), 10**400, 0.5, -0.0, 1e-300, 1e308, float("inf"), float("nan"), "", "0", "name",
    [], {}, [[]], {"low": 0, "high": 1}, {"low": 0.0, "high": 1.0, "step": 1e-9}, {"choices": []}, {"choices": {}}, {"node": "x"},
    {"tuple": []}, {"float": "nan"},
)  # fmt: skip


def text(data: bytes, draw: random.Random) -> bytes:
    """A piece removed, doubled, replaced by a word, or moved; a byte changed."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + int(draw.expovariate(0.2)))
        piece, way = bytes(data[start:end]), draw.randrange(6)
        if way == 0:
            del data[start:end]
        elif way == 1:
            data[start:start] = piece * draw.choice((1, 2, 50))
        elif way == 2:
            data[start:end] = draw.choice(WORDS).encode("utf-8", "surrogatepass")
        elif way == 3:
            data[start:start] = draw.choice(WORDS).encode("utf-8", "surrogatepass")
        elif way == 4:
            del data[start:end]
            place = draw.randrange(len(data) + 1)
            data[place:place] = piece
        elif data:
            data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def tree(value: Any, draw: random.Random) -> Any:
    """Nested data with one to four of its places changed."""
    value = [copy.deepcopy(value)]
    for _ in range(draw.choice((1, 1, 2, 4))):
        _change(value, draw, places(value))
    return value[0]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with a key or an index of it, containers below included."""
    found, open_ = [], [value]
    while open_:
        node = open_.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            found.append((node, key))
            if isinstance(node[key], (dict, list)):
                open_.append(node[key])
    return found


def _change(root: list, draw: random.Random, among: list[tuple[Any, Any]]) -> None:
    node, key = draw.choice(among)
    way = draw.randrange(7)
    if way == 0 and node is not root:
        del node[key]
    elif way == 1:
        node[key] = copy.deepcopy(draw.choice(VALUES))
    elif way == 2:
        other, place = draw.choice(among)
        node[key] = (
            copy.deepcopy(other[place]) if place in other or isinstance(other, list) and place < len(other) else None
        )
    elif way == 3 and isinstance(node, dict):
        node[draw.choice(WORDS)] = node.pop(key)
    elif way == 4 and isinstance(node, list) and node is not root:
        node.insert(key, copy.deepcopy(node[key]))
    elif way == 5 and isinstance(node[key], str):
        node[key] = text(node[key].encode("utf-8", "surrogatepass"), draw).decode("utf-8", "replace")
    elif isinstance(node[key], (int, float)):
        node[key] = draw.choice((-node[key], node[key] + 1, node[key] * 2, str(node[key]), [node[key]]))
    else:
        node[key] = [node[key]]


def json_text(data: bytes, draw: random.Random) -> bytes:
    """JSON with places changed; other text as :func:`text`."""
    try:
        return json.dumps(tree(json.loads(data), draw)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return text(data, draw)


def yaml_text(data: bytes, draw: random.Random) -> bytes:
    """YAML with places changed; often, and where it is none, as :func:`text`."""
    try:
        read = yaml.safe_load(data)
        if draw.random() < 0.3 or not isinstance(read, (dict, list)):
            return text(data, draw)
        return yaml.safe_dump(tree(read, draw), sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, yaml.YAMLError):
        return text(data, draw)


def safetensors(data: bytes, draw: random.Random) -> bytes:
    """The header, which is JSON, or the text in its metadata, with places changed and its length told right; or as :func:`text`."""
    size = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + size], data[8 + size :]
    try:
        read = json.loads(header)
        if draw.random() < 0.3 or not isinstance(read, dict):
            return text(data, draw)
        about = read.get("__metadata__")
        if isinstance(about, dict) and about and draw.random() < 0.6:
            key = draw.choice([*about])
            about[key] = json_text(str(about[key]).encode("utf-8", "surrogatepass"), draw).decode("utf-8", "replace")
        else:
            read = tree(read, draw)
        header = json.dumps(read).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return text(data, draw)
    return len(header).to_bytes(8, "little") + header + rest
