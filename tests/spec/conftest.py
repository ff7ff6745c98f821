from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SPACE = """\
name: tiny
model: {name: lenet-300-100}
training:
  epochs: 30
  optimizer: {name: sgd, lr: {low: 0.01, high: 0.3, log: true}, momentum: 0.9}
recipe:
  choices:
    dyprune: {schedule.b: {low: 7, high: 25}}
    magnitude: {schedule: {choices: {cubic: {final_sparsity: {low: 0.5, high: 0.99}}, linear: null}}}
objectives: {accuracy: maximize, params: minimize}
search: {trials: 3}
"""


@pytest.fixture
def space() -> str:
    """A small valid search space, to be spoiled."""
    return SPACE


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes space.yaml into an empty folder, the current one, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "space.yaml") -> str:
        Path(name).write_text(text)
        return name

    return write


@pytest.fixture
def scripted() -> Callable:
    """Answers -> a suggest function that gives them, else the first, and the names it was asked, in order."""

    def scripted(answers: dict):
        asked = []

        def suggest(name, domain):
            asked.append(name)
            return answers.get(name, domain.extremes()[0])

        return suggest, asked

    return scripted
