import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

from prune_search.search import environment
from prune_search.search.environment import _first, code, machine, versions


def test_a_package_that_is_not_installed_is_named_as_such():
    found = versions("pytest", "no-such-package-anywhere")
    assert found.keys() == {"python", "pytest", "no-such-package-anywhere"}
    assert found["python"] == platform.python_version() and found["pytest"][0].isdigit()
    assert found["no-such-package-anywhere"] == "not installed"


def test_a_machine_in_figures():
    found = machine()
    assert found["cores"] == os.cpu_count() and found["memory_bytes"] > 1e8
    named = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    assert found["processor"] == (named[1].strip() if named else platform.processor() or platform.machine())
    assert isinstance(found["gpus"], list)


@pytest.mark.parametrize(("processor", "known"), [("A: fast", "A: fast"), ("", "arm64")])
def test_a_processor_is_what_python_knows_where_no_file_says_it(monkeypatch, processor, known):
    monkeypatch.setattr(environment, "_first", lambda file, key: "")
    monkeypatch.setattr(platform, "processor", lambda: processor)
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert machine()["processor"] == known


def test_where_a_system_has_no_such_file_nothing_is_said(tmp_path):
    (tmp_path / "info").write_text("cores: 2\nmodel name : A: fast\n")
    assert _first(tmp_path / "info", "model name") == "A: fast" and _first(tmp_path / "none", "model name") == ""


def test_code_is_told_by_its_commit_and_by_its_bytes(tmp_path):
    module, package = tmp_path / "mine.py", tmp_path / "pack"
    package.mkdir()
    for file, text in ((module, "A = 1\n"), (package / "a.py", "B = 1\n"), (package / "b.py", "")):
        file.write_text(text)
    assert code(tmp_path, []) == {}
    git = lambda *words: (
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True, text=True).stdout
    )
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=me", "-c", "user.email=me@here", "commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").strip()
    first = code(tmp_path, [module, package])
    assert first["git commit"] == commit and first.keys() == {"git commit", "mine.py", "pack"}
    (tmp_path / "notes").write_text("nobody runs these")
    assert code(tmp_path, [])["git commit"] == commit
    (package / "b.py").write_text("B = 2\n")
    second = code(tmp_path, [module, package])
    assert second["git commit"] == f"{commit} and changes"
    assert second["mine.py"] == first["mine.py"] and second["pack"] != first["pack"]
    (package / "b.py").rename(package / "c.py")
    assert code(tmp_path, [package])["pack"] not in (first["pack"], second["pack"])
