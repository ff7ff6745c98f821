"""What is fuzzed: for each entry point a function of bytes that raises where the entry point does not keep its promise."""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prune_search.errors import UserError

from . import variation

CORPUS = Path(__file__).parent / "corpus"
LONGEST_MESSAGE = 2000  # characters of an error; our choice
BASE = """\
name: base
model: {name: lenet-300-100}
training: {epochs: 8, optimizer: {name: sgd, lr: {low: 0.01, high: 0.3, log: true}}}
recipe:
  choices:
    magnitude: {schedule: {choices: {cubic: {final_sparsity: {low: 0.5, high: 0.99}}, linear: {}}}}
    dyprune: {schedule.b: {low: 7, high: 25}}
objectives: {accuracy: maximize, params: minimize}
search: {trials: 4, enqueue: [{recipe: {magnitude: {schedule: linear}}}]}
"""


class Escape(AssertionError):
    """An answer that breaks a promise."""


@dataclass(frozen=True)
class Target:
    """An entry point.

    Attributes:
        make: Gives the function that gives it one input.
        vary: How an input is changed at random into another.
        modules: What coverage is measured of.
    """

    make: Callable[[], Callable[[bytes], None]]
    vary: Callable[[bytes, random.Random], bytes]
    modules: tuple[str, ...]


def told(error: UserError) -> None:
    """A user's mistake is told in one message that can be read."""
    message = str(error)
    if not message.strip() or len(message) > LONGEST_MESSAGE or "Traceback" in message:
        raise Escape(f"a message of {len(message)} characters: {message[:300]!r}") from error


def words(data: bytes) -> str:
    return data.decode("utf-8", "replace")


class Folder:
    """A folder of this process for files to be read."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.path = Path(self._folder.name)

    def write(self, name: str, data: bytes) -> Path:
        path = self.path / name
        path.write_bytes(data)
        return path


def document() -> Callable[[bytes], None]:
    from prune_search.spec.document import dump, parse_document

    def run(data: bytes) -> None:
        try:
            tree = parse_document(words(data), "space.yaml").tree
        except UserError as error:
            told(error)
            return
        if repr(parse_document(dump(tree), "again").tree) != repr(tree):
            raise Escape("written out and read again it is another tree")

    return run


def space() -> Callable[[bytes], None]:
    folder = Folder()

    def run(data: bytes) -> None:
        _load(folder.write("space.yaml", data), [])

    return run


def overrides() -> Callable[[bytes], None]:
    folder = Folder()

    def run(data: bytes) -> None:
        path = folder.write("space.yaml", BASE.encode())
        _load(path, words(data).split("\n")[:4])

    return run


def _load(path: Path, settings: list[str]) -> None:
    from prune_search.spec import load_spec

    try:
        spec = load_spec(path, settings)
    except UserError as error:
        told(error)
        return
    copied = path.with_name("copy.yaml")
    copied.write_text(spec.to_yaml())
    again = load_spec(copied)
    if (again.tree, again.objectives, again.constraints, again.search) != (
        spec.tree,
        spec.objectives,
        spec.constraints,
        spec.search,
    ):
        raise Escape("the copy that a search keeps is another space")
    for end in (0, -1):
        json.dumps(spec.sample(lambda name, domain, end=end: domain.extremes()[end]).plain)


def where() -> Callable[[bytes], None]:
    from prune_search.spec.conditions import parse_where

    def run(data: bytes) -> None:
        try:
            condition = parse_where(words(data))
        except UserError as error:
            told(error)
            return
        again = parse_where(str(condition))
        for value in (0.0, 1.0, 1e300, float("nan"), None):
            metrics = dict.fromkeys(condition.names(), value)
            if condition.violation(metrics) != again.violation(metrics):
                raise Escape(f"{condition} is another condition than what it was read from")

    return run


def constraint() -> Callable[[bytes], None]:
    from prune_search.spec.conditions import parse_constraint

    def run(data: bytes) -> None:
        metric, _, text = words(data).partition("\n")
        try:
            condition = parse_constraint(metric, text)
        except UserError as error:
            told(error)
            return
        if condition.metric != metric or parse_constraint(metric, str(condition).removeprefix(metric)) != condition:
            raise Escape(f"{condition} is another condition than what it was read from")

    return run


def architecture() -> Callable[[bytes], None]:
    import torch

    from prune_search.export.load_safetensors import Refused, load

    folder = Folder()
    folder.write("model.safetensors", (CORPUS / "weights.safetensors").read_bytes())
    inputs = torch.zeros(1, 1, 8, 8)

    def run(data: bytes) -> None:
        folder.write("architecture.json", data)
        try:
            network = load(folder.path)
        except ValueError:
            return
        try:
            with torch.no_grad():
                network(inputs)
        except (Refused, RuntimeError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
            return  # a record of plain steps that do not fit together

    return run


def tensors() -> Callable[[bytes], None]:
    from prune_search.cost import encoding
    from prune_search.export import load_safetensors

    folder = Folder()

    def run(data: bytes) -> None:
        path = folder.write("model.safetensors", data)
        for read in (load_safetensors.read_tensors, encoding.read_tensors):
            try:
                read(path)
            except ValueError:
                pass

    return run


def checkpoint() -> Callable[[bytes], None]:
    from prune_search.training import checkpoint

    folder = Folder()

    def run(data: bytes) -> None:
        try:
            checkpoint.load(folder.write("checkpoint.safetensors", data))
        except checkpoint.Broken:
            pass

    return run


def weights() -> Callable[[bytes], None]:
    """``model.checkpoint``; the first byte says which kind of file the others are."""
    import torch

    from prune_search.zoo import models

    folder, model = Folder(), torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))

    def run(data: bytes) -> None:
        path = folder.write("start.pt" if data[:1] == b"p" else "start.safetensors", data[1:])
        with warnings.catch_warnings(action="ignore"):  # torch's, of casts and of sparse tensors
            try:
                models._load_state(model, "the model", path)
            except UserError as error:
                told(error)

    return run


def table() -> Callable[[bytes], None]:
    from prune_search.search.simulation import table

    folder = Folder()

    def run(data: bytes) -> None:
        try:
            table.load(folder.write("table.parquet", data))
        except UserError as error:
            told(error)

    return run


def table_meta() -> Callable[[bytes], None]:
    import pyarrow.parquet as pq

    from prune_search.search.simulation import table

    folder = Folder()
    rows = pq.read_table(CORPUS / "table" / "digits.parquet")

    def run(data: bytes) -> None:
        path = folder.path / "table.parquet"
        pq.write_table(rows.replace_schema_metadata({table.META: data}), path)
        try:
            table.load(path)
        except UserError as error:
            told(error)

    return run


def name() -> Callable[[bytes], None]:
    from prune_search.search import layout

    folder = Folder()
    runs = folder.path / "runs"

    def run(data: bytes) -> None:
        text = words(data)
        for find in (layout.new, layout.existing):
            try:
                found = find(runs, text).folder
            except UserError as error:
                told(error)
            else:
                if found.resolve().parent != runs.resolve():
                    raise Escape(f"{text!r} leads to {found}")
                found.rmdir()
        if [path.name for path in folder.path.iterdir()] not in ([], ["runs"]):
            raise Escape(f"{text!r} wrote outside of the runs directory")

    return run


def secret() -> Callable[[bytes], None]:
    """The input is what stands in a URL beside the secret."""
    from prune_search.tracking.uris import redacted

    word = "hunter2"

    def run(data: bytes) -> None:
        before, _, after = words(data).partition("|")
        for text in (
            f"postgresql://me:{before}{word}@host/{after}",
            f"{before} https://{word}@host:5000/{after}",
            f"s3://bucket/{before}?access_key_id=1&secret={word}&{after}".replace("\n", ""),
        ):
            if word in redacted(text) and not _splits(before):
                raise Escape(f"{redacted(text)!r} tells the secret of {text!r}")

    return run


def _splits(text: str) -> bool:
    """Whether no URL goes on across it."""
    return any(letter.isspace() or letter in "'\"#" for letter in text)


SPEC = ("prune_search.spec", "prune_search.pruning.recipe", "yaml")
LOADER = "prune_search.export.load_safetensors"
TABLE = ("prune_search.search.simulation.table",)
TARGETS = {
    "document": Target(document, variation.text, ("prune_search.spec.document", "yaml")),
    "space": Target(space, variation.yaml_text, SPEC),
    "overrides": Target(overrides, variation.text, SPEC),
    "where": Target(where, variation.text, ("prune_search.spec.conditions",)),
    "constraint": Target(constraint, variation.text, ("prune_search.spec.conditions",)),
    "architecture": Target(architecture, variation.json_text, (LOADER,)),
    "tensors": Target(tensors, variation.safetensors, (LOADER, "prune_search.cost.encoding")),
    "checkpoint": Target(checkpoint, variation.safetensors, ("prune_search.training.checkpoint",)),
    "weights": Target(weights, variation.text, ("prune_search.zoo.models", "torch._weights_only_unpickler")),
    "table": Target(table, variation.text, TABLE),
    "table_meta": Target(table_meta, variation.json_text, TABLE),
    "name": Target(name, variation.text, ("prune_search.search.layout",)),
    "secret": Target(secret, variation.text, ("prune_search.tracking.uris",)),
}
