"""Every command and snippet of the README, as it stands there; searches are cut short."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import typer
from cli.command import run
from torch import nn

from prune_search import load_spec
from prune_search.cli.main import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
SHORT = ["--set", "search.trials=8", "--set", "training.epochs=4", "--set", "search.early_stopping=none"]
ELSEWHERE = ("pip", "pytest", "ui", "submit", "logs")
"""Installation and tests are what CI does; the others serve until they are ended, or need a cluster: their options are checked."""


def commands():
    lines = "".join(text for kind, text in BLOCKS if kind == "bash").splitlines()
    for line in lines:
        for command in line.split("&&"):
            words = shlex.split(command, comments=True)
            if words and words[0] == "prune-search":
                yield words[1:]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "search_spaces", folder / "search_spaces", ignore=shutil.ignore_patterns("*.parquet"))
    shutil.copy(folder / "search_spaces" / "digits.yaml", folder / "SPACE.yaml")
    return folder


def test_the_commands_run_one_after_another(checkout, monkeypatch, capsys):
    monkeypatch.chdir(checkout)
    ran = []
    for words in commands():
        if words[0] in ELSEWHERE:
            continue
        code, _, error = run(monkeypatch, capsys, *words, *(SHORT if words[0] == "run" else ()))
        assert code == 0, (words, error)
        ran.append(words[0])
    assert ran == ["run", "status", "pareto", "report", "confirm", "rerun", "export", "export", "manifest"]
    assert {"report.html", "confirm.json", "export"} <= {path.name for path in (checkout / "runs/digits").iterdir()}


@pytest.mark.parametrize("words", [words for words in commands() if words[0] in ELSEWHERE], ids=" ".join)
def test_the_options_of_the_others_exist(words):
    command = typer.main.get_command(build()).commands[words[0]]
    context = command.make_context(words[0], words[1:], resilient_parsing=False)
    assert context.info_name == words[0]


def test_the_search_spaces_are_valid(checkout, monkeypatch):
    monkeypatch.chdir(checkout / "search_spaces")
    first, second = [text for kind, text in BLOCKS if kind == "yaml"]
    for text in (first, second + "name: own\nobjectives: {accuracy: maximize, params: minimize}\n"):
        Path("space.yaml").write_text(text)
        assert load_spec("space.yaml").objectives


def test_the_loop_prunes_and_removes():
    (text,) = [text for kind, text in BLOCKS if kind == "python"]
    torch.manual_seed(0)
    inputs, labels = torch.randn(64, 8), torch.arange(64) % 2
    model = nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 2))

    def train_one_epoch(model, optimizer):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    names = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "train_one_epoch": train_one_epoch,
        "validate": lambda model: (nn.functional.cross_entropy(model(inputs), labels).item(), 0.5),
        "example_input": inputs[:2],
    }
    exec(text, names)
    assert sum(p.numel() for p in names["small"].parameters()) < 2818


def test_it_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") <= 250
    for page in (ROOT / "README.md", *ROOT.glob("*/**/README.md")):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / target).exists(), (page, target)
