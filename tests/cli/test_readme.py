"""The README's snippets as they stand there; its commands run in test_commands.py."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import typer
from cli.readme import BLOCKS, ELSEWHERE, PYTHON, README, ROOT, commands
from torch import nn

from prune_search import load_spec
from prune_search.cli.main import build


@pytest.mark.parametrize("words", [words for words in commands() if words[0] in ELSEWHERE], ids=" ".join)
def test_the_options_of_the_others_exist(words):
    command = typer.main.get_command(build()).commands[words[0]]
    context = command.make_context(words[0], words[1:], resilient_parsing=False)
    assert context.info_name == words[0]


def test_the_search_spaces_are_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "search_spaces" / "own_model.py", tmp_path)
    first, second = [text for kind, text in BLOCKS if kind == "yaml"]
    for text in (first, second + "name: own\nobjectives: {accuracy: maximize, params: minimize}\n"):
        Path("space.yaml").write_text(text)
        assert load_spec("space.yaml").objectives


def test_the_loop_prunes_and_removes():
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
    exec(PYTHON[1], names)
    assert sum(p.numel() for p in names["small"].parameters()) < 2818


def test_it_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") <= 250
    for page in (ROOT / "README.md", *ROOT.glob("*/**/README.md")):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / target).exists(), (page, target)
