"""Searches that earlier versions made are listed, read, reported, exported and gone on with."""

import json
import tarfile
from pathlib import Path

import pytest
from cli import command

from prune_search.search.layout import Layout
from prune_search.search.results import read

ARCHIVES = sorted((Path(__file__).parent / "old").glob("*.tar.gz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def old(request, tmp_path, monkeypatch):
    """The current directory, with a search ``old`` in its runs; what was found when it was made."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return json.loads((tmp_path / "expected.json").read_text())


def test_an_old_search_is_read_exported_and_gone_on_with(old, monkeypatch, capsys):
    def run(*arguments):
        code, out, err = command.run(monkeypatch, capsys, *arguments)
        assert code == 0, err
        return out

    assert "running" in old["states"]
    assert "old" in run("status")
    told = json.loads(run("pareto", "old", "--json"))["front"]
    assert [{"trial": now["trial"], "metrics": now["metrics"]} for now in told] == old["front"]
    run("export", "old", "--format", "safetensors")
    before = [record for record in _records() if record.state != "running"]
    run("resume", "old", "--trials", len(old["states"]) + 1)
    after = _records()
    assert (Path("runs") / "old" / "report.html").stat().st_size > 100_000
    assert [record.number for record in after] == [*range(len(old["states"]) + 1)]
    assert all(record.state != "running" for record in after)
    assert [(after[r.number].state, after[r.number].report) for r in before] == [(r.state, r.report) for r in before]


def _records():
    layout = Layout(Path("runs").resolve(), "old")
    return read(layout, layout.spec()).records
