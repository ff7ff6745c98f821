"""Which tests run through which lines, and how long each takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as tree
from dataclasses import dataclass
from pathlib import Path

LONGEST, MOST = 40.0, 150  # seconds and number of the tests that are tried on one mutant
DECLARED = ("test_declared.py", "test_looks.py")
"""Files of tests that read what stands in classes and tables, which no test runs through."""
SETTINGS = """\
[run]
source = prune_search
parallel = true
patch = subprocess
context = ${PYTEST_CURRENT_TEST}
"""


@dataclass(frozen=True)
class Reach:
    """``lines``: file -> line -> tests; ``seconds``: test -> its time."""

    lines: dict[str, dict[str, list[str]]]
    seconds: dict[str, float]

    def tests(self, file: str, first: int, last: int) -> list[str]:
        """Tests that run through these lines, the quickest first; where they are read at import only, through any line of the file,
        or else any test. Those of what is declared, always.
        """
        of_file = self.lines.get(file, {})
        found = {test for line in range(first, last + 1) for test in of_file.get(str(line), ())}
        found = found or {test for tests in of_file.values() for test in tests} or self.seconds.keys()
        found = found | {test for test in self.seconds if test.partition("::")[0].endswith(DECLARED)}
        chosen, left = [], LONGEST
        for test in sorted(found & self.seconds.keys(), key=self.seconds.__getitem__)[:MOST]:
            left -= self.seconds[test]
            if left < 0 and chosen:
                break
            chosen.append(test)
        return chosen


def measure(copy: Path, state: Path, tests: list[str]) -> None:
    """Run the default suite in ``copy``, or these files and folders of it, and keep what it reached."""
    settings, times = state / "coverage.ini", state / "times.xml"
    settings.write_text(SETTINGS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "COVERAGE_FILE": str(state / ".coverage"),
        "PYTEST_CURRENT_TEST": "",
    }
    options = [
        f"--cov-config={settings}",
        "--cov=prune_search",
        "--cov-context=test",
        "--cov-report=",
        f"--junit-xml={times}",
    ]
    subprocess.run([sys.executable, "-m", "pytest", "-q", *options, *tests], cwd=copy, env=environment)
    _keep(copy, state, times)


def _keep(copy: Path, state: Path, times: Path) -> None:
    import coverage

    data = coverage.CoverageData(str(state / ".coverage"))
    data.read()
    lines: dict[str, dict[str, list[str]]] = {}
    for file in data.measured_files():
        if str(copy) in file:
            by_line = data.contexts_by_lineno(file)
            lines[str(Path(file).relative_to(copy))] = {
                str(line): sorted({_test(context) for context in contexts} - {""}) for line, contexts in by_line.items()
            }
    seconds = {}
    for case in tree.parse(times).iter("testcase"):
        if case.find("failure") is None and case.find("error") is None and case.find("skipped") is None:
            seconds[_node(copy, case)] = float(case.get("time"))
    (state / "reach.json").write_text(json.dumps({"lines": lines, "seconds": seconds}))


def _test(context: str) -> str:
    """``tests/a.py::test[x]|run`` and ``tests/a.py::test[x] (setup)`` -> ``tests/a.py::test[x]``."""
    return context.rpartition("|")[0] or context.rpartition(" (")[0]


def _node(copy: Path, case) -> str:
    parts = case.get("classname").split(".")
    file = Path(*parts).with_suffix(".py")
    return (
        f"{file}::{case.get('name')}"
        if (copy / file).exists()
        else f"{Path(*parts[:-1]).with_suffix('.py')}::{parts[-1]}::{case.get('name')}"
    )


def load(state: Path) -> Reach:
    return Reach(**json.loads((state / "reach.json").read_text()))
