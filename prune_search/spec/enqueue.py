"""Configurations to try first, as the user wrote them, as names and values that a sampler can be given."""

from __future__ import annotations

from collections.abc import Mapping

from prune_search.errors import nearest
from prune_search.pruning.registry import AXES
from prune_search.spec.document import KeyPath
from prune_search.spec.domains import Branch, Categorical, Domain, Float, Int, Scalar
from prune_search.spec.space import base_name, parameters, sample
from prune_search.spec.strict import ConfigError


def enqueued(tree: Mapping[str, object], partial: Mapping[str, object], path: KeyPath) -> dict[str, Scalar]:
    """Name -> value for a partial configuration, nested (``{training: {epochs: 3}}``) or flat.

    An empty one leaves everything to the sampler. What stands below a branch implies its option. Where parts exclude each other, all parts of the recipe are
    fixed, so that the names are those that will be asked.

    Raises:
        ConfigError: At ``path`` or below it: no such parameter, or a value outside its domain.
    """
    if not partial:
        return {}
    known = parameters(tree)
    values: dict[str, Scalar] = {}
    for keys, value in _leaves(partial, ()):
        name, here = ".".join(keys), (*path, *keys)
        implied = _implied(name, known)
        if name in known:
            implied[name] = _member(known[name], value, here)
        elif not (value in (None, {}) and any(f"{branch}.{option}" == name for branch, option in implied.items())):
            raise ConfigError(here, f"no domain stands at '{name}'. Allowed: {', '.join(known)}.{nearest(name, known)}")
        for other, option in implied.items():
            if values.setdefault(other, option) != option:
                raise ConfigError(here, f"{other} is {values[other]!r} and {option!r} at once. Write one of them.")
    return _exact(tree, values, path)


def _exact(tree: Mapping[str, object], values: Mapping[str, Scalar], path: KeyPath) -> dict[str, Scalar]:
    """The same with the names that are asked, which may carry the offered parts."""
    asked: dict[str, Scalar] = {}

    def suggest(name: str, domain: Domain) -> Scalar:
        asked[name] = values.get(base_name(name), domain.extremes()[0])
        if asked[name] not in domain:
            raise ConfigError(path, f"{base_name(name)} cannot be {asked[name]!r} here. Allowed: {name}.")
        return asked[name]

    sample(tree, suggest)
    unasked = set(values) - {base_name(name) for name in asked}
    if unasked:
        raise ConfigError(path, f"'{min(unasked)}' is not asked for together with the rest.")
    narrowed = any(base_name(name) != name for name in asked)
    return {
        name: value
        for name, value in asked.items()
        if base_name(name) in values or (narrowed and base_name(name).rpartition(".")[2] in AXES)
    }


def _leaves(value: object, keys: KeyPath) -> list[tuple[KeyPath, object]]:
    if isinstance(value, Mapping) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*keys, key))]
    return [(keys, value)]


def _implied(name: str, known: Mapping[str, Domain]) -> dict[str, Scalar]:
    """Branch -> option for every branch that ``name`` lies below."""
    return {
        branch: option
        for branch, domain in known.items()
        if isinstance(domain, Branch)
        for option in domain.options
        if f"{name}.".startswith(f"{branch}.{option}.")
    }


def _member(domain: Domain, value: object, path: KeyPath) -> Scalar:
    if isinstance(domain, Float) and type(value) is int:
        value = float(value)
    if isinstance(domain, Categorical) and isinstance(value, list) and value in domain.choices:
        return domain.options[domain.choices.index(value)]
    if isinstance(value, (list, Mapping)) or value not in domain:
        bounds = isinstance(domain, (Float, Int))
        allowed = f"{domain.low} to {domain.high}" if bounds else ", ".join(str(option) for option in domain.options)
        raise ConfigError(path, f"got {value!r}. Allowed: {allowed}.")
    return value
