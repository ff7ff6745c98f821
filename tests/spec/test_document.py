from __future__ import annotations

import math

import pytest

from prune_search.errors import UserError
from prune_search.spec.document import dump, parse_document, parse_value, read_document


def message(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_document(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5e-4", 5e-4),
        ("-1E3", -1000.0),
        (".5", 0.5),
        ("1_000", 1000),
        ("007", 7),
        ("true", True),
        ("null", None),
        ("", None),
        ("off", "off"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2024-01-02", "2024-01-02"),
        ("'1e-4'", "1e-4"),
        ("e4", "e4"),
        (".inf", math.inf),
    ],
)
def test_scalars(text, value):
    read = parse_value(text, "f")
    assert read == value and type(read) is type(value)


def test_every_key_and_item_knows_its_line():
    document = parse_document("a:\n  b: 1\n  c.d: [x,\n    y]\n", "f.yaml")
    assert document.tree == {"a": {"b": 1, "c.d": ["x", "y"]}}
    assert document.places == {
        (): "f.yaml:1",
        ("a",): "f.yaml:1",
        ("a", "b"): "f.yaml:2",
        ("a", "c.d"): "f.yaml:3",
        ("a", "c.d", "0"): "f.yaml:3",
        ("a", "c.d", "1"): "f.yaml:4",
    }
    assert str(document.error(("a", "c.d"), "no.")) == "f.yaml:3: a.c.d: no."
    assert str(document.error(("a", "b", "new"), "no.")) == "f.yaml:2: a.b.new: no."


def test_a_key_twice_is_an_error_with_both_lines():
    said = message("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n")
    assert said == "f.yaml:5: b.c: the key 'c' stands here twice, first on line 3. Keep one."


def test_syntax_error_names_the_line():
    assert message("a: 1\nb: [1, 2\nc: 3\n").startswith("f.yaml:3: not valid YAML at column")


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "f.yaml:1: the file is empty"),
        ("# nothing\n", "f.yaml:1: the file is empty"),
        ("- a\n", "f.yaml:1: the file must be a mapping"),
        (
            "a: 1\nb: !!python/object:os.system {}\n",
            "f.yaml:2: b: the tag 'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("a: 1\n? [x]\n: 2\n", "f.yaml:2: : a key must be one word"),
        ("a: &x\n  b: *x\n", "a.b: this anchor holds itself"),
    ],
)
def test_what_is_no_plain_mapping(text, fragment):
    assert fragment in message(text)


def test_anchors_and_merges():
    document = parse_document("a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\n", "f.yaml")
    assert document.tree["b"] == {"p": 1, "q": 2} and document.tree["c"] == {"p": 1, "q": 3}


def test_missing_file_names_its_neighbours(write):
    write("a: 1", "digits.yaml")
    with pytest.raises(UserError, match=r"^digit\.yaml: no such file\. Did you mean 'digits\.yaml'\?$"):
        read_document("digit.yaml")
    with pytest.raises(UserError, match=r"There is no folder nowhere either"):
        read_document("nowhere/a.yaml")


def test_dump_reads_back_equal():
    tree = {"a": ["1e-4", 1e-4, "yes", "", None, True, "null", 1e-05, 3], "b.c": {"d": "ü: #"}, "e": {}}
    assert parse_document(dump(tree), "f").tree == tree
