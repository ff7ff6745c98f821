"""From a YAML file to a checked search: what is wrong in it is found here, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prune_search.spec.conditions import Condition
from prune_search.spec.config import SECTIONS, TrialConfig
from prune_search.spec.document import Document, KeyPath, dump, parse_document, read_document
from prune_search.spec.domains import Domain, Scalar, forbid_domains, parse_domains
from prune_search.spec.enqueue import enqueued
from prune_search.spec.modules import import_paths, own_modules
from prune_search.spec.overrides import apply_overrides
from prune_search.spec.reachable import check_reachable
from prune_search.spec.settings import (
    ONE_OBJECTIVE,
    ResourcesConfig,
    SearchConfig,
    TrackingConfig,
    read_constraints,
    read_objectives,
)
from prune_search.spec.space import Origins, Suggest, grid, parameters, sample, variants
from prune_search.spec.strict import ConfigError, Model, build, got, unknown_key

FIXED = ("name", "objectives", "constraints", "search", "resources", "tracking")
KEYS = ("name", "seed", "data", "model", "training", "recipe", *FIXED[1:])


@dataclass(frozen=True)
class Spec:
    """A search as the user wrote it, checked.

    Attributes:
        name: MLflow's experiment; the file's stem if it has none.
        tree: The sections that make a trial, with domains in them.
        objectives: Metric -> maximize or minimize.
        constraints: What a trial must meet to be on the front.
        enqueue: Parameter name -> value, one for each configuration to try first.
        text: YAML that reads back equal; with overrides, they are in it.
        path: The file.
        roots: Folders whose modules import paths may name, for ``reachable.import_roots``.
    """

    name: str
    tree: Mapping[str, object]
    objectives: Mapping[str, str]
    constraints: tuple[Condition, ...]
    search: SearchConfig
    resources: ResourcesConfig
    tracking: TrackingConfig
    enqueue: tuple[Mapping[str, Scalar], ...]
    text: str = field(compare=False, repr=False)
    path: Path = field(compare=False)
    roots: tuple[Path, ...] = field(compare=False)

    def sample(self, suggest: Suggest) -> TrialConfig:
        """The configuration that ``suggest(name, domain) -> value`` answers to."""
        return TrialConfig.from_dict(sample(self.tree, suggest))

    def parameters(self) -> dict[str, Domain]:
        """All domains by name, those below branches included."""
        return parameters(self.tree)

    def reused(self) -> Literal["none", "dense", "all"]:
        """Which epochs trials take over from each other (``search.reuse``): none, those before anything is pruned, all.

        Pruned networks are not kept where a recipe is sampled from ranges without steps: they hardly come twice.
        """
        if self.search.reuse is False:
            return "none"
        endless = {name.partition(".")[0] for name, domain in self.parameters().items() if domain.values() is None}
        if self.search.reuse == "auto" and endless - {"recipe"}:
            return "none"
        return "dense" if endless else "all"

    def grid(self) -> Iterator[dict[str, Scalar]]:
        """Every configuration as name -> value; all domains are finite with ``sampler: grid``."""
        return grid(self.tree)

    def to_yaml(self) -> str:
        """Text to keep beside a search; :func:`load_spec` reads it back equal."""
        return self.text

    def own_modules(self) -> list[Path]:
        """Modules and packages of the user's own that other machines need, from ``roots`` and the current directory."""
        return own_modules([*import_paths(parse_document(self.text, self.name).tree)], [*self.roots, Path.cwd()])


def load_spec(path: str | Path, overrides: Sequence[str] = (), roots: Sequence[str | Path] = ()) -> Spec:
    """Reads, overrides and checks a YAML file.

    Every option and both ends of every domain are tried, one at a time, so that a wrong value is found here.

    Args:
        path: The file.
        overrides: ``key=value`` texts of ``--set``; values are YAML.
        roots: Folders to import from beside the file's own, such as where a copied file once lay.

    Raises:
        UserError: File, line, key, what came and what is allowed.
    """
    document = apply_overrides(read_document(path), overrides)
    for key in document.tree:
        if key not in KEYS:
            raise document.error((key,), unknown_key(key, KEYS))
    for key in FIXED:
        forbid_domains(document, document.tree.get(key), (key,))
    tree = {key: parse_domains(document, document.tree[key], (key,)) for key in SECTIONS if key in document.tree}
    folders = tuple(dict.fromkeys([Path(path).absolute().parent, *(Path(root).absolute() for root in roots)]))
    search = _settings(document, SearchConfig, "search")
    spec = Spec(
        name=_name(document, Path(path)),
        tree=tree,
        objectives=read_objectives(document),
        constraints=read_constraints(document),
        search=search,
        resources=_settings(document, ResourcesConfig, "resources"),
        tracking=_settings(document, TrackingConfig, "tracking"),
        enqueue=_enqueue(document, tree, search),
        text=document.text if "name" in document.tree else dump({"name": Path(path).stem, **document.tree}),
        path=Path(path),
        roots=folders,
    )
    _check_trials(document, spec)
    if search.early_stopping.name in ONE_OBJECTIVE and len(spec.objectives) > 1:
        raise document.error(
            ("search", "early_stopping"),
            f"'{search.early_stopping.name}' ranks by one objective, there are {len(spec.objectives)}: "
            f"{', '.join(spec.objectives)}. Allowed: moasha-schedule-aware, moasha, hyperband, none.",
        )
    if search.sampler == "grid":
        _check_finite(document, spec.parameters())
    return spec


def _name(document: Document, path: Path) -> str:
    name = document.tree.get("name", path.stem)
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise document.error(("name",), got(name, "letters, digits, '_', '-' and '.', a letter or digit first"))
    return name


def _settings(document: Document, model: type[Model], section: str) -> Model:
    try:
        return build(model, document.tree.get(section, {}), (section,))
    except ConfigError as error:
        raise document.error(error.path, error.reason) from None


def _enqueue(document: Document, tree: Mapping, search: SearchConfig) -> tuple[Mapping[str, Scalar], ...]:
    try:
        return tuple(
            enqueued(tree, partial, ("search", "enqueue", str(index))) for index, partial in enumerate(search.enqueue)
        )
    except ConfigError as error:
        raise document.error(error.path, error.reason) from None


def _check_trials(document: Document, spec: Spec) -> None:
    try:
        spec.parameters()
    except ConfigError as error:
        raise document.error(error.path, error.reason) from None
    for plain, origins in variants(spec.tree):
        try:
            config = TrialConfig.from_dict(plain)
            check_reachable(config, spec.roots)
            _check_shares(config, spec.resources.workers)
        except ConfigError as error:
            raise document.error(_origin(error.path, origins), error.reason) from None


def _check_shares(config: TrialConfig, workers: int) -> None:
    batch = config.training.batch_size
    if workers > 1 and batch < 2 * workers:
        reason = f"a batch of {batch} is less than 2 images for each of resources.workers: {workers}."
        raise ConfigError(
            ("training", "batch_size"), f"{reason} Allowed: batch_size >= {2 * workers}, or fewer workers."
        )


def _origin(path: KeyPath, origins: Origins) -> KeyPath:
    """Where the value at ``path`` of a configuration stands in the file."""
    known = path
    while known not in origins:
        known = known[:-1]
    return origins[known]


def _check_finite(document: Document, domains: Mapping[str, Domain]) -> None:
    for name, domain in domains.items():
        if domain.values() is None:
            raise document.error(
                ("search", "sampler"),
                f"grid needs finite domains, but {name} ranges over all of {domain.low} to {domain.high}. "
                "Give it a step or choices, or take another sampler.",
            )
