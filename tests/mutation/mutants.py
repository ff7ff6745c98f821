"""All mistakes that could be made, in an order drawn at random: one for each place in the code."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cosmic_ray.plugins
from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code

ROOMS = ("pruning", "removal", "cost", "pareto", "search")
LEFT_OUT = ("core/VariableReplacer", "core/VariableInserter")  # they want to be told which variables


@dataclass(frozen=True)
class Mutant:
    """The ``occurrence``-th place of ``operator`` in ``file``; ``lines``: first and last."""

    file: str
    operator: str
    occurrence: int
    lines: tuple[int, int]

    def code(self, source: str) -> str | None:
        """The source with the mistake; None where that changes nothing, as in an annotation, or cannot be made."""
        try:
            changed = mutate_code(source, cosmic_ray.plugins.get_operator(self.operator)(), self.occurrence)
        except AttributeError:  # cosmic-ray cannot replace an exception with a dotted name among others
            return None
        try:
            same = changed is None or _meaning(changed) == _meaning(source)
        except SyntaxError:
            return None
        return None if same else changed


def mutants(root: Path, seed: int, rooms: Iterable[str] = ROOMS) -> Iterator[Mutant]:
    """Mutants of the checkout ``root``, no two at the same place; a seed, an order."""
    draw = random.Random(seed)
    places: dict[tuple, list[Mutant]] = {}
    operators = [name for name in cosmic_ray.plugins.operator_names() if name not in LEFT_OUT]
    for room in rooms:
        for path in sorted((root / "prune_search" / room).rglob("*.py")):
            file, tree = str(path.relative_to(root)), get_ast(path.read_text())
            for name in operators:
                for occurrence, (start, end) in enumerate(_positions(tree, cosmic_ray.plugins.get_operator(name)())):
                    mutant = Mutant(file, name, occurrence, (start[0], end[0]))
                    places.setdefault((file, start, end), []).append(mutant)
    order = sorted(places)
    draw.shuffle(order)
    for place in order:
        yield draw.choice(places[place])


class _Positions(Visitor):
    def __init__(self, operator) -> None:
        self.operator, self.found = operator, []

    def visit(self, node):
        self.found += self.operator.mutation_positions(node)
        return node


def _positions(tree, operator) -> list:
    visitor = _Positions(operator)
    visitor.walk(tree)
    return visitor.found


def _meaning(source: str) -> str:
    """The code without annotations and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            node.annotation = ast.Constant(0)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(0)
    return ast.dump(tree)
