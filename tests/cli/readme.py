"""The README's commands and snippets."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
ELSEWHERE = ("ui", "submit", "logs")
"""They serve until they are ended, or need a cluster."""


def commands():
    """Each command of prune-search, as words."""
    lines = "".join(text for kind, text in BLOCKS if kind == "bash").splitlines()
    for line in lines:
        for command in line.split("&&"):
            words = shlex.split(command, comments=True)
            if words and words[0] == "prune-search":
                yield words[1:]
