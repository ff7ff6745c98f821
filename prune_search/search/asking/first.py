"""Configurations to try first: what the user enqueued, what earlier searches found, the presets as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prune_search.pruning.presets import PRESETS
from prune_search.pruning.recipe import resolve
from prune_search.search.layout import existing
from prune_search.search.results import Record, read
from prune_search.spec import Spec
from prune_search.spec.domains import Branch, Domain, Scalar
from prune_search.spec.space import base_name, sample

Fixed = dict[str, Scalar]
FROM_EACH = 10
_NOTHING = object()


def first_trials(spec: Spec, runs: Path) -> list[Fixed]:
    """Parameter name -> value for each of the first trials; what is not named is left to the sampler.

    Args:
        runs: Where the searches to start from lie.

    Raises:
        UserError: A search of ``search.warm_start`` does not exist.
    """
    fixed = [dict(values) for values in spec.enqueue]
    for name in spec.search.warm_start:
        earlier = existing(runs, name)
        front = read(earlier, earlier.spec()).front
        fixed += [transferred(spec, record.params) for record in _spread(front)]
    if spec.search.defaults_first:
        fixed += defaults(spec)
    asked = len(spec.enqueue)
    return fixed[:asked] + [
        values for i, values in enumerate(fixed) if i >= asked and values and values not in fixed[:i]
    ]


def transferred(spec: Spec, params: Mapping[str, Scalar]) -> Fixed:
    """The part of another search's configuration that this space has, too: same parameter, value in its domain."""
    known = {base_name(name): value for name, value in params.items()}
    return _answered(spec, lambda name, domain: known.get(name, _NOTHING))


def defaults(spec: Spec) -> list[Fixed]:
    """Each preset that the space names, with its own values where their domains have them."""
    recipe = spec.tree["recipe"]
    options = recipe.choices if isinstance(recipe, Branch) else {None: recipe}
    return list(_defaults(spec, options))


def _defaults(spec: Spec, options: Mapping[str | None, Any]) -> Iterator[Fixed]:
    for option, subspace in options.items():
        preset = subspace.get("preset", option) if isinstance(subspace, Mapping) else subspace
        if preset not in PRESETS:
            continue
        values, prefix = resolve(preset).values(), f"recipe.{option}." if option else "recipe."

        def answer(name: str, domain: Domain, option=option, values=values, prefix=prefix) -> Any:
            if name == "recipe":
                return option
            return _value(values, name.removeprefix(prefix).split(".")) if name.startswith(prefix) else _NOTHING

        yield _answered(spec, answer)


def _value(values: Any, words: Sequence[str]) -> Any:
    """What a recipe's plain values have at a path of keys, which may leave out the name of a part."""
    for word in words:
        if isinstance(values, Mapping) and word not in values and len(values) == 1:
            (values,) = values.values()
        if not isinstance(values, Mapping) or word not in values:
            return _NOTHING
        values = values[word]
    return next(iter(values)) if isinstance(values, Mapping) and len(values) == 1 else values


def _answered(spec: Spec, answer: Any) -> Fixed:
    """The parameters to which ``answer(name, domain)`` has a member of the domain."""
    fixed: Fixed = {}

    def suggest(name: str, domain: Domain) -> Scalar:
        value = answer(base_name(name), domain)
        if value is _NOTHING or isinstance(value, (Mapping, list, tuple)) or value not in domain:
            return domain.extremes()[0]
        fixed[name] = value
        return value

    sample(spec.tree, suggest)
    return fixed


def _spread(front: Sequence[Record]) -> list[Record]:
    """At most ten of a front, from end to end."""
    if len(front) <= FROM_EACH:
        return list(front)
    return [front[index] for index in np.linspace(0, len(front) - 1, FROM_EACH).round().astype(int)]
