"""Frozen models that take no unknown keys and no wrong types, and say what is wrong in one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from prune_search.errors import UserError, nearest
from prune_search.spec.document import KeyPath


class ConfigError(UserError):
    """A value that a configuration cannot have: ``path``, the keys that lead to it, and the ``reason``."""

    def __init__(self, path: KeyPath, reason: str):
        super().__init__(f"{'.'.join(path)}: {reason}" if path else reason)
        self.path, self.reason = path, reason


class Strict(BaseModel):
    """Base of all models: frozen; ``true`` is no number, ``"3"`` is no number, NaN is no number."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: object) -> object:
        for key in value if isinstance(value, Mapping) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError("unknown_key", unknown_key(key, cls.model_fields), {"key": key})
        return value


Model = TypeVar("Model", bound=Strict)


def unknown_key(key: str, allowed) -> str:
    """The sentence about a key that is none of ``allowed``."""
    return f"unknown key '{key}'. Allowed: {', '.join(allowed)}.{nearest(key, allowed)}"


def kind(value: object) -> str:
    """The YAML word for a value's type."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    if value is None:
        return "nothing"
    return "a mapping" if isinstance(value, Mapping) else words.get(type(value), type(value).__name__)


def got(value: object, allowed: str) -> str:
    """``got 'abc' (text). Allowed: <allowed>.``"""
    shown = kind(value) if value is None or isinstance(value, Mapping) else f"{value!r} ({kind(value)})"
    return f"got {shown}. Allowed: {allowed}."


def build(model: type[Model], value: object, path: KeyPath) -> Model:
    """The model made of plain values.

    Raises:
        ConfigError: At ``path`` or below it, about the first value that is wrong.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(path, got(value, f"a mapping with {', '.join(model.model_fields)}"))
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError((*path, *_path(value, first)), _reason(first)) from None


def _fraction(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError("fractions of the epochs, above 0 and below 1")
    return value


Fraction = Annotated[float, AfterValidator(_fraction)]


def _path(value: object, error: Mapping) -> KeyPath:
    """The keys that lead to an error; pydantic's own labels (the tag of a union) are not among them."""
    path, node = (), value
    for step in error["loc"]:
        if isinstance(node, Mapping) and step in node:
            path, node = (*path, str(step)), node[step]
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            path, node = (*path, str(step)), node[step]
    if error["type"] == "unknown_key":
        return (*path, error["ctx"]["key"])
    return (*path, "name") if error["type"] == "union_tag_invalid" and isinstance(node, Mapping) else path


_ALLOWED = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a name or a mapping with a name",
    "list_type": "a list",
    "tuple_type": "a list",
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "literal_error": "{expected}",
    "value_error": "{error}",
}


def _reason(error: Mapping) -> str:
    context = error.get("ctx", {})
    if error["type"] == "unknown_key":
        return error["msg"]
    if error["type"] in ("missing", "union_tag_not_found"):
        key = "name" if error["type"] == "union_tag_not_found" else error["loc"][-1]
        if isinstance(key, int):
            return got(list(error["input"]), f"a list of at least {key + 1}")
        return f"the key '{key}' is missing. Write {key}: ..."
    if error["type"] == "union_tag_invalid":
        names = re.findall(r"'([^']*)'", context["expected_tags"])
        return got(context["tag"], ", ".join(names)) + nearest(context["tag"], names)
    if error["type"] == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        return got(error["input"], ", ".join(names)) + nearest(error["input"], names)
    allowed = _ALLOWED.get(error["type"], error["msg"])
    return got(error["input"], allowed.format_map(context))
