"""The contributor's page, followed literally: one file and one test for a new part, and nothing else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", (ROOT / "prune_search/README.md").read_text(), re.DOTALL))
PARTS = {"score": "relative-magnitude", "schedule": "square-root", "stopping": "loss-below"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the package with the files of the page."""
    folder = tmp_path_factory.mktemp("checkout")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "prune_search", folder / "prune_search", ignore=skip)
    shutil.copytree(ROOT / "tests" / "pruning", folder / "tests" / "pruning", ignore=skip)
    for name in ("tests/conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for path, text in FILES.items():
        assert not (folder / path).exists()
        (folder / path).write_text(text)
    return folder


def run(folder, *command):
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


def test_each_part_is_one_file_and_one_test():
    names = {axis: name.replace("-", "_") for axis, name in PARTS.items()}
    expected = {f"prune_search/pruning/{axis}/{name}.py" for axis, name in names.items()}
    assert set(FILES) == expected | {f"tests/pruning/test_{name}.py" for name in names.values()}


def test_their_tests_and_the_conformance_suite_pass_and_they_are_listed(checkout):
    tests = [path for path in FILES if path.startswith("tests/")]
    ids = " or ".join(f"{axis}-{name}" for axis, name in PARTS.items())
    wanted = f"{ids} or {' or '.join(Path(test).stem for test in tests)}"
    ran = run(
        checkout,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-k",
        wanted,
        *tests,
        "tests/pruning/test_conformance.py",
    )
    assert int(re.search(r"(\d+) passed", ran)[1]) >= 3 + 2 * len(PARTS)
    listed = run(checkout, "-m", "prune_search.cli.main", "parts")
    assert all(name in listed for name in PARTS.values())
