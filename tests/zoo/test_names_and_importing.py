from __future__ import annotations

import subprocess
import sys

import pytest

from prune_search.errors import UserError
from prune_search.zoo.importing import call_accepted, is_import_path, load_object
from prune_search.zoo.names import DATASETS, MODELS, canonical


def test_names_and_importing_do_not_load_torch():
    code = "import prune_search.zoo.names, prune_search.zoo.importing, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("written", "names", "found"),
    [
        ("mnist", DATASETS, "MNIST"),
        ("cifar10", DATASETS, "CIFAR10"),
        ("VGG-19", MODELS, "vgg-19"),
        ("vgg19", MODELS, None),
    ],
)
def test_canonical_ignores_case_only(written, names, found):
    assert canonical(written, names) == found


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("my_pkg.data:build", True),
        ("m:C.make", True),
        ("models:/net/1", False),
        ("digits", False),
        ("a.b", False),
        (":f", False),
    ],
)
def test_is_import_path(name, answer):
    assert is_import_path(name) is answer


def test_load_object_finds_nested_attributes_and_modules_in_the_current_directory(user_module):
    assert load_object("collections:OrderedDict.fromkeys")("ab") == {"a": None, "b": None}
    name = user_module("def build():\n    return 7\n")
    assert load_object(f"{name}:build")() == 7


@pytest.mark.parametrize(
    ("source", "attribute", "said"),
    [
        (
            "def build(): pass\ndef other(): pass",
            "biuld",
            "no 'biuld'. Did you mean 'build'? It offers: build, other.",
        ),
        ("import not_there_at_all", "build", "needs the missing module 'not_there_at_all'"),
        ("1 / 0", "build", "raised ZeroDivisionError: division by zero"),
        ("def build(:", "build", "raised SyntaxError"),
    ],
)
def test_load_object_says_what_failed(user_module, source, attribute, said):
    name = user_module(source)
    with pytest.raises(UserError) as error:
        load_object(f"{name}:{attribute}")
    assert said in str(error.value).replace(f" module '{name}'", "") and f"{name}:{attribute}" in str(error.value)


def test_load_object_names_the_missing_module_and_where_it_looked(user_module, tmp_path):
    with pytest.raises(UserError, match="there is no module 'not_there_at_all'") as error:
        load_object("not_there_at_all.models:build")
    assert str(tmp_path) in str(error.value)
    with pytest.raises(UserError, match="no import path. Write package.module:function"):
        load_object("my_pkg.models.build")


def test_call_accepted_offers_and_requires():
    assert call_accepted(lambda a, c=3: (a, c), "m:f", {"a": 1, "b": 2}, {}) == (1, 3)
    assert call_accepted(lambda **k: k, "m:f", {"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(UserError, match="unexpected keyword argument 'b'"):
        call_accepted(lambda a: a, "m:f", {"a": 1}, {"b": 2})
    with pytest.raises(UserError, match="missing a required argument: 'z'"):
        call_accepted(lambda z: z, "m:f", {"a": 1}, {})
    with pytest.raises(UserError, match="raised KeyError"):
        call_accepted(lambda: {}["x"], "m:f", {}, {})
    with pytest.raises(UserError, match="m:f is a int; it must be a function"):
        call_accepted(3, "m:f", {}, {})
