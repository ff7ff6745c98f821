"""What written search spaces rely on: every default, range and limit, and every preset as it is resolved.

They stand in ``declared.txt``. Who changes one changes what old spaces mean, and so writes that file anew on purpose:
``PYTHONPATH=. python tests/pruning/test_declared.py``. A new part needs no line before its first release.
"""

import dataclasses
import json
from pathlib import Path

import pytest

from prune_search.pruning.recipe import PRESETS, AtStart, Recipe, Round, resolve
from prune_search.pruning.registry import AXES, hyper, parts, problem

FILE = Path(__file__).with_name("declared.txt")
OWNERS = {f"{axis}.{name}": part for axis in AXES for name, part in parts(axis).items()}
OWNERS |= {"round": Round, "at_start": AtStart, "recipe": Recipe}
HYPERS = [(name, field) for name, owner in OWNERS.items() for field in dataclasses.fields(owner) if field.metadata]


def declared() -> list[str]:
    lines = []
    for owner, field in HYPERS:
        told = {"default": field.default, **{key: value for key, value in field.metadata.items() if value}}
        lines.append(f"{owner}.{field.name} {field.type} {json.dumps(told)}")
    lines += [
        f"{owner}.limits {json.dumps(dict(part.limits))}" for owner, part in OWNERS.items() if hasattr(part, "limits")
    ]
    return lines + [f"{name} {json.dumps(resolve({'preset': name}).values())}" for name in PRESETS]


def test_nothing_that_old_spaces_rely_on_has_moved():
    now = set(declared())
    assert [line for line in FILE.read_text().splitlines() if line not in now] == []


def test_defaults_and_the_ends_of_ranges_are_values_that_are_allowed():
    for owner, field in HYPERS:
        ends = [field.metadata["range"][end] for end in ("low", "high") if end in field.metadata["range"]]
        assert ends == sorted(ends), (owner, field.name)
        for value in (field.default, *ends, *(field.metadata["choices"] or ())):
            assert problem(field, value) is None, (owner, field.name, value)


@dataclasses.dataclass
class Own:
    """As a part of one's own may declare them."""

    switch: "bool" = hyper(False)
    count: "int" = hyper(1, at_least=1)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("switch", True, None),
        ("switch", 1, "must be true or false"),
        ("switch", None, "is missing a value"),
        ("count", 2, None),
        ("count", 2.0, "must be a whole number"),
        ("count", True, "must be a whole number"),
        ("count", 0, "must be >= 1"),
    ],
)
def test_kinds_of_values(name, value, said):
    (field,) = [field for field in dataclasses.fields(Own) if field.name == name]
    assert problem(field, value) == said


if __name__ == "__main__":
    FILE.write_text("\n".join(declared()) + "\n")
