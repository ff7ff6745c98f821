"""Which modules of the user's own travel."""

from pathlib import Path

from prune_search import load_spec
from prune_search.spec.modules import import_paths, own_modules

SPACES = Path(__file__).parents[2] / "search_spaces"


def test_a_module_travels_with_what_it_imports_from_beside_it(tmp_path):
    (tmp_path / "net.py").write_text("import json\nimport torch\n\ndef build():\n    from helper import width\n")
    (tmp_path / "helper.py").write_text("from parts.deep import one\n")
    package = tmp_path / "parts"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "deep.py").write_text("import prune_search.errors\none = 1\n")
    (tmp_path / "stranger.py").write_text("raise SystemExit\n")
    (tmp_path / "prune_search").mkdir()
    for file in ("__init__.py", "errors.py"):
        (tmp_path / "prune_search" / file).write_text("")
    found = own_modules(["net:build", "sklearn.datasets:load_digits", "absent:x"], [tmp_path])
    assert found == [tmp_path / "helper.py", tmp_path / "net.py", package]


def test_a_folder_without_init_travels_whole_with_what_its_named_module_imports(tmp_path):
    inner = tmp_path / "loose" / "inner"
    inner.mkdir(parents=True)
    (inner / "net.py").write_text("from helper import width\nimport other.thing\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing.py").write_text("")
    (tmp_path / "helper.py").write_text("")
    assert own_modules(["loose.inner.net:build"], [tmp_path]) == [
        tmp_path / "helper.py",
        tmp_path / "loose",
        tmp_path / "other",
    ]
    (inner / "__init__.py").write_text("")
    assert own_modules(["loose.inner.net:build"], [tmp_path]) == [
        tmp_path / "helper.py",
        tmp_path / "loose",
        tmp_path / "other",
    ]


def test_the_first_folder_that_has_a_module_gives_it(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.py").write_text("")
    assert own_modules(["net:build"], [tmp_path / "b", tmp_path / "a"]) == [tmp_path / "b" / "net.py"]


def test_import_paths_are_found_wherever_they_stand():
    tree = {"model": {"choices": {"a:b": {}, "x": ["c.d:e", 3, "models:/m", "sqlite:///x.db"]}}}
    assert [*import_paths(tree)] == ["a:b", "c.d:e"]


def test_a_search_of_built_in_parts_needs_none(tmp_path):
    (tmp_path / "net.py").write_text("")
    (tmp_path / "space.yaml").write_text(
        "data: digits\nmodel: lenet-300-100\ntraining: {epochs: 2}\nrecipe: dense\nobjectives: {accuracy: maximize}\nsearch: {trials: 1}\n"
    )
    assert load_spec(tmp_path / "space.yaml").own_modules() == []


def test_the_shipped_example_needs_its_own_module():
    assert [path.name for path in load_spec(SPACES / "own_model.yaml").own_modules()] == ["own_model.py"]
