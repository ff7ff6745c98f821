"""What a recipe asks of a network, and of whoever attaches it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from prune_search.errors import UserError
from prune_search.pruning.context import inputs_needed
from prune_search.pruning.recipe import Recipe
from prune_search.pruning.registry import AXES


def check_network(recipe: Recipe, layers: Collection[str], prunable: Collection[str]) -> None:
    """Raise a UserError where a network has no ``layers`` that could be pruned, or a recipe prunes and excludes all of them."""
    if not layers:
        raise UserError("recipe: the network has nothing to prune: no Linear or Conv layer has a weight of its own.")
    if not prunable and (recipe.schedule.name != "none" or recipe.at_start):
        raise UserError(
            f"recipe: exclude: {', '.join(recipe.exclude)} names all {len(layers)} layers. Use recipe: dense."
        )


def check_inputs(recipe: Recipe, given: Mapping[str, object]) -> None:
    """Raise a UserError where a part needs an input that is None in ``given``."""
    start = recipe.at_start
    chosen = [getattr(recipe, axis) for axis in AXES]
    chosen += [start.score, start.schedule, start.distribution] if start else []
    for part in chosen:
        missing = sorted(name for name in inputs_needed(part.needs) if given[name] is None)
        if missing:
            missing = ["batches" if name == "probe" else name for name in missing]
            raise UserError(
                f"recipe: {part.axis} '{part.name}' needs {' and '.join(missing)}. "
                f"Give prune(..., {', '.join(f'{name}=...' for name in missing)})."
            )
