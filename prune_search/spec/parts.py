"""Parts of a recipe that exclude each other: which options of an axis may still be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prune_search.pruning.recipe import PRESETS, compatible
from prune_search.pruning.registry import AXES, parts
from prune_search.spec.domains import DOMAINS, Branch, Categorical

Compatible = Callable[[Mapping[str, str]], str | None]


def offered(
    axis: str,
    fixed: Mapping[str, str],
    open_axes: Mapping[str, Sequence[str]],
    check: Compatible = compatible,
) -> tuple[str, ...]:
    """The options of ``axis`` for which the other open axes can still be filled in.

    Args:
        axis: One of ``open_axes``.
        fixed: Axis -> part that is known.
        open_axes: Axis -> parts it may become.
        check: The reason why (some) parts exclude each other, or None.
    """
    others = [other for other in open_axes if other != axis]

    def completable(chosen: dict[str, str], left: Sequence[str]) -> bool:
        if check(chosen) is not None:
            return False
        return not left or any(completable({**chosen, left[0]: option}, left[1:]) for option in open_axes[left[0]])

    return tuple(option for option in open_axes[axis] if completable({**fixed, axis: option}, others))


def fixed_parts(recipe: Mapping[str, object]) -> dict[str, str]:
    """Axis -> part for every axis of a recipe on which no domain stands; unknown parts are left out."""
    preset = PRESETS.get(str(recipe.get("preset", "magnitude")), {})
    found = {}
    for axis in AXES:
        if not isinstance(recipe.get(axis), DOMAINS):
            name = _part_name(axis, recipe.get(axis)) or _part_name(axis, preset.get(axis))
            if name:
                found[axis] = name
    return found


def known_options(axis: str, domain: object) -> tuple[str, ...] | None:
    """The parts that a domain on an axis chooses among; None if it is no choice or names an unknown part."""
    if isinstance(domain, (Branch, Categorical)) and all(option in parts(axis) for option in domain.options):
        return domain.options
    return None


def _part_name(axis: str, value: object) -> str | None:
    if isinstance(value, str):
        return value if value in parts(axis) else None
    names = [key for key in value if key in parts(axis)] if isinstance(value, Mapping) else []
    return names[0] if len(names) == 1 else None
