"""What scripts and notebooks use, in a real notebook kernel."""

import io
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient
from rich.console import Console
from search.fakes import Cluster, report
from search.small_spaces import write
from search.test_results_details import FOUND

from prune_search import Search, UserError
from prune_search.api import Result
from prune_search.search import view
from prune_search.search.progress import Progress

CELLS = [
    "from prune_search import Search\nresult = Search('small.yaml', name='nb').run()\nresult",
    "len(result.front), list(result.front.columns[:4]), result.front.index.name",
    "result.plot()",
]


@pytest.fixture
def found(tmp_path, monkeypatch):
    Cluster(monkeypatch, lambda job: report(0.95 - job.number / 100, 10_000 // (job.number + 1)))
    return Search(write(tmp_path), runs=tmp_path / "runs", name="s").run()


def test_in_a_notebook_progress_is_live_and_the_result_is_tables_and_figures(tmp_path):
    write(tmp_path, trials=2)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    searched, front, plot = [cell.outputs for cell in notebook.cells]
    shown = [out.data["text/html"] for out in searched if out.output_type == "display_data"]
    assert any("done" in html and "trials  2/2" in html for html in shown)
    assert "trials are on the front" in searched[-1].data["text/html"] and "<table" in searched[-1].data["text/html"]
    assert front[0].data["text/plain"].endswith("['state', 'reason', 'model', 'recipe'], 'trial')")
    assert any("plotly" in kind for kind in plot[0].data)


def test_front_and_trials_are_tables(found):
    assert list(found.trials.index) == [0, 1, 2, 3, 4, 5]
    assert list(found.front.accuracy) == pytest.approx([0.95, 0.94, 0.93, 0.92, 0.91, 0.9])
    assert found.front.loc[2, "params"] == 3333 and found.front.loc[0, "test_accuracy"] == 0.5
    assert found.trials["param.recipe"].equals(found.trials.recipe.rename("param.recipe"))
    again = Result.load("s", runs=found.folder.parent)
    assert again.trials.equals(found.trials)
    assert "6 of 6 trials are on the front" in found._repr_html_() and "param." not in found._repr_html_()


def test_nothing_found_is_an_empty_table(tmp_path):
    result = Result(SimpleNamespace(name="s", folder=tmp_path), FOUND.__class__(FOUND.objectives, ()))
    assert len(result.front) == len(result.trials) == 0


def test_a_plot_of_what_is_no_objective_is_refused(found):
    assert found.plot("params").layout.xaxis.title.text == "params (minimize)"
    with pytest.raises(UserError, match="no figure of flops and None. There are: accuracy by params"):
        found.plot("flops")


def test_the_report_is_written(found):
    assert found.report() == found.folder / "report.html"


def test_progress_as_html_is_what_a_terminal_shows():
    progress = Progress("s", 4, None, phase="searching")
    console = Console(width=100, file=io.StringIO())
    console.print(view.draw(progress))
    html = view.as_html(view.draw(progress))
    assert html.startswith("<pre") and "trials  0/4" in html and "trials  0/4" in console.file.getvalue()
