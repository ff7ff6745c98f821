"""Walking a search space: one configuration at a time, define-by-run, with a name for every question.

A name is the path of keys, ``training.optimizer.lr``. A branch asks for its option under its own path,
``recipe``, and what stands below carries the option: ``recipe.dyprune.schedule.max_rate``. Where parts of a
recipe exclude each other only those that fit are offered; the name then ends with them,
``recipe.granularity[weight|channel]``, so that one name always has one set of options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from prune_search.pruning.registry import AXES
from prune_search.spec.document import KeyPath
from prune_search.spec.domains import DOMAINS, Branch, Categorical, Domain, Float, Int, Scalar
from prune_search.spec.overrides import SHORT_FORMS
from prune_search.spec.parts import fixed_parts, known_options, offered
from prune_search.spec.strict import ConfigError

Suggest = Callable[[str, Domain], Scalar]
Origins = dict[KeyPath, KeyPath]


def sample(tree: Mapping[str, object], suggest: Suggest) -> dict[str, object]:
    """One configuration, nested and without domains.

    Args:
        tree: Sections with domains in them.
        suggest: (name, domain) -> one of ``domain.options`` for choices, a number for ranges.
    """
    return trace(tree, suggest)[0]


def trace(tree: Mapping[str, object], suggest: Suggest) -> tuple[dict[str, object], Origins]:
    """:func:`sample`, and for each key path of the configuration the path in the file that it came from."""
    walk = _Walk(suggest)
    return walk.visit(tree, "", (), ()), walk.origins


def parameters(tree: Mapping[str, object]) -> dict[str, Domain]:
    """All domains by name, those below branches included; parts with all of their options.

    Raises:
        ConfigError: Two domains have one name, as ``schedule.b`` and ``schedule: {b: ...}`` have.
    """
    found: dict[str, Domain] = {}
    for name, domain in _domains(tree, "", ()):
        if name in found:
            raise ConfigError((name.partition(".")[0],), f"two domains are called '{name}'. Keep one.")
        found[name] = domain
    return found


def _domains(node: object, name: str, config: KeyPath) -> Iterator[tuple[str, Domain]]:
    if isinstance(node, DOMAINS):
        yield name, node
    if isinstance(node, Branch):
        for option, subspace in node.choices.items():
            below, below_name, _ = _enter(option, subspace, name, config)
            yield from _domains(below, below_name, config)
    elif isinstance(node, (Mapping, list)):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _domains(value, _join(name, str(key)), (*config, str(key)))


def base_name(name: str) -> str:
    """The name without the offered parts: ``recipe.score[snip|grasp]`` -> ``recipe.score``."""
    return re.sub(r"\[[^\]]*\]$", "", name)


def grid(tree: Mapping[str, object]) -> Iterator[dict[str, Scalar]]:
    """Every member of a space of finite domains, as name -> value; the last name changes fastest."""
    turn: list[int] = []
    while True:
        asked: list[tuple[str, tuple]] = []

        def suggest(name: str, domain: Domain) -> Scalar:
            asked.append((name, domain.values()))
            if len(asked) > len(turn):
                turn.append(0)
            return asked[-1][1][turn[len(asked) - 1]]

        sample(tree, suggest)
        yield {name: values[index] for (name, values), index in zip(asked, turn, strict=True)}
        while turn and turn[-1] + 1 == len(asked[len(turn) - 1][1]):
            turn.pop()
        if not turn:
            return
        turn[-1] += 1


def variants(tree: Mapping[str, object]) -> Iterator[tuple[dict[str, object], Origins]]:
    """The first configuration (first options, lowest values), then each other end or option in turn."""
    queue: list[dict[str, Scalar]] = [{}]
    seen: set[tuple[str, str]] = set()
    while queue:
        forced = queue.pop(0)
        asked: dict[str, Domain] = {}

        def suggest(name: str, domain: Domain) -> Scalar:
            asked[name] = domain
            return forced.get(name, domain.extremes()[0])

        yield trace(tree, suggest)
        for name, domain in asked.items():
            for value in domain.extremes():
                if (name, repr(value)) not in seen:
                    seen.add((name, repr(value)))
                    if name not in forced and value != domain.extremes()[0]:
                        queue.append({**forced, name: value})


class _Walk:
    def __init__(self, suggest: Suggest):
        self.suggest = suggest
        self.origins: Origins = {}

    def visit(
        self, node: object, name: str, config: KeyPath, doc: KeyPath, options: tuple[str, ...] | None = None
    ) -> object:
        self.origins[config] = doc
        if isinstance(node, Branch):
            return self.enter(self.ask(node, name, options), node, name, config, doc)
        if isinstance(node, Categorical):
            index = node.options.index(self.ask(node, name, options))
            self.origins[config] = (*doc, "choices", str(index))
            choice = node.choices[index]
            return list(choice) if isinstance(choice, list) else choice
        if isinstance(node, (Float, Int)):
            return self.suggest(name, node)
        if isinstance(node, Mapping):
            visit = self.recipe if config == ("recipe",) else self.mapping
            return visit(node, name, config, doc)
        if isinstance(node, list):
            return [
                self.visit(item, _join(name, str(index)), (*config, str(index)), (*doc, str(index)))
                for index, item in enumerate(node)
            ]
        return node

    def mapping(self, node: Mapping, name: str, config: KeyPath, doc: KeyPath) -> dict[str, object]:
        return {key: self.visit(value, _join(name, key), (*config, key), (*doc, key)) for key, value in node.items()}

    def ask(self, node: Branch | Categorical, name: str, options: tuple[str, ...] | None) -> Scalar:
        if options in (None, node.options):
            return self.suggest(name, node)
        fitting = {option: node.choices[option] for option in options} if isinstance(node, Branch) else options
        return self.suggest(f"{name}[{'|'.join(options)}]", type(node)(fitting))

    def enter(self, option: str, node: Branch, name: str, config: KeyPath, doc: KeyPath) -> object:
        subspace = node.choices[option]
        below, below_name, labelled = _enter(option, subspace, name, config)
        chosen = (*doc, "choices", option)
        value = self.visit(below, below_name, config, chosen if labelled else (*doc, "choices"))
        self.origins[config] = chosen
        if labelled and SHORT_FORMS[config] not in subspace:
            self.origins[(*config, SHORT_FORMS[config])] = chosen
        return value

    def recipe(self, node: Mapping, name: str, config: KeyPath, doc: KeyPath) -> dict[str, object]:
        """As :meth:`mapping`, the preset first, and on each axis only parts that fit the rest."""
        node = {"preset": node["preset"], **node} if "preset" in node else dict(node)
        open_axes = {axis: options for axis in AXES if (options := known_options(axis, node.get(axis)))}
        for key in list(node):
            child = (_join(name, key), (*config, key), (*doc, key))
            if key in open_axes:
                options = offered(key, fixed_parts(node), open_axes) or open_axes[key]
                node[key] = self.visit(node[key], *child, options)
                del open_axes[key]
            else:
                node[key] = self.visit(node[key], *child)
        return node


def _enter(option: str, subspace: Mapping, name: str, config: KeyPath) -> tuple[dict[str, object], str, bool]:
    """What an option stands for, its name, and whether the option is a label beside its keys.

    At ``recipe``, ``model`` and the like it is the value of ``preset`` or ``name`` there (unless the
    sub-space says another); everywhere else it is the key of its sub-space, as a part is on its axis.
    """
    if config in SHORT_FORMS:
        return {SHORT_FORMS[config]: option, **subspace}, _join(name, option), True
    return {option: subspace}, name, False


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
