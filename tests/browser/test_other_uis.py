"""A finished search in MLflow's and Optuna's own UIs: found, sorted, filtered, read; pictures lie in the tests' temporary folder."""

import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from browser.chromium import needs_chromium, opened, photographed, tab
from search.fakes import DATA, LAYERS, Cluster, report
from search.small_spaces import SMALL, write
from torch import nn

from prune_search.export.formats import write_network
from prune_search.search import closing
from prune_search.search.driver import Search
from prune_search.search.jobs import Ended
from prune_search.search.mlflow import register_trial
from prune_search.tracking import free_port, ui_command, ui_environment, ui_links
from prune_search.training.files import patiently

pytestmark = needs_chromium
OF_MLFLOW = re.compile("ResizeObserver|status of 404|Failed to fetch|net::ERR_")
"""What MLflow's own pages (3.17) complain about: its assistant and its news are not there."""


def at(job, epoch):
    """The more accurate the larger; only trial 1 is beaten by another one."""
    accuracy = 0.01 * epoch + (0.4 if job.number == 1 else 0.5 + 0.03 * job.number)
    return report(accuracy, 60_000 // (13 - job.number) // epoch, epoch=epoch)


def looked_at(jobs, cpus, gpus):
    for _, folder, _ in jobs:
        write_network(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), torch.randn(2, 1, 8, 8), Path(folder))
    return [closing.Tested(0.5, LAYERS, DATA)] * len(jobs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search of twelve trials in which all but the training is real, and what it found; the best of it is registered."""
    patch, folder = pytest.MonkeyPatch(), tmp_path_factory.mktemp("ui")
    cluster = Cluster(
        patch, lambda job: Ended("stopped", "dominated", at(job, 3)) if job.number % 5 == 4 else at(job, 3)
    )
    cluster.earlier = lambda job: [at(job, 1), at(job, 2)]
    patch.setattr(closing, "on_cluster", looked_at)
    search = Search(write(folder, SMALL, trials=12), runs=folder / "runs", name="twelve")
    found = search.run()
    patch.undo()
    (folder / "exported").mkdir()
    (folder / "exported" / "README.md").write_text("# The card\n\nA **small** network.\n")
    register_trial(search.layout, search.spec, "digits-small", folder / "exported", found.front[0].number)
    return folder / "runs", found


@contextmanager
def served(command, url, environment=None):
    """A server, once it answers at ``url``."""
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        patiently(lambda: urllib.request.urlopen(url, timeout=5), 60, 0.2, lambda error: True).close()
        yield
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def page(finished):
    """A browser at MLflow's UI, and the addresses of the views."""
    uri, port = f"sqlite:///{finished[0] / 'mlflow.db'}", free_port()
    (views,) = ui_links(uri, port).values()
    with (
        served(ui_command(uri, port), f"http://127.0.0.1:{port}/health", ui_environment(uri)),
        opened(views["Trials"], width=1500) as page,
    ):
        page.views, page.server = views, f"http://127.0.0.1:{port}"
        page.get_by_role("button", name="Close").first.click()  # MLflow's assistant
        yield page
    assert [complaint for complaint in page.complaints if not OF_MLFLOW.search(complaint)] == []


def rows(page):
    """The runs in the list, from the top, as ``#007``."""
    names = page.locator("[col-id='attributes.`Run Name`'][role=gridcell]")
    names.first.wait_for()
    return [text[text.rindex("#") :].split()[0] for text in names.all_text_contents()]


def cells(page, column):
    return page.locator(f"[col-id='{column}'][role=gridcell]").all_text_contents()


def test_the_list_has_the_columns_that_people_want_and_the_most_accurate_first(page, finished, tmp_path):
    page.goto(page.views["Trials"])
    assert len(rows(page)) == 12
    accuracies = [float(text) for text in cells(page, "metrics.`accuracy`")]
    assert accuracies == pytest.approx(sorted((r.report.accuracy for r in finished[1].records), reverse=True))
    wanted = ["accuracy", "test_accuracy", "params", "params_reduction", "flops_reduction"]
    page.wait_for_function(
        """wanted => {
            const left = each => each.getBoundingClientRect().left;
            const cells = [...document.querySelectorAll(".ag-header-cell")].sort((a, b) => left(a) - left(b));
            const names = cells.map(each => each.textContent.trim());
            return names.slice(names.indexOf(wanted[0])).join().startsWith(wanted.join());
        }""",
        arg=wanted,
    )
    assert {"true", "false"} == set(cells(page, "tags.`prune_search.front`")) - {"-"}
    assert photographed(page, tmp_path / "trials.png")


def test_the_front_is_one_click_away_and_tags_filter(page, finished, tmp_path):
    page.goto(page.views["Front"])
    front = {f"#{record.number:03d}" for record in finished[1].front}
    page.wait_for_function(f"document.body.innerText.includes('{len(front)} matching runs')")
    assert set(rows(page)) == front
    assert cells(page, "metrics.`test_accuracy`") == ["0.5"] * len(front)
    assert photographed(page, tmp_path / "front.png")
    box = page.locator("input[placeholder*='metrics.rmse']")
    box.fill("tags.`prune_search.state` = 'stopped'")
    box.press("Enter")
    page.wait_for_function("document.body.innerText.includes('2 matching runs')")
    assert set(rows(page)) == {"#004", "#009"}


def test_the_search_says_what_to_export_and_has_its_front_as_a_table(page, finished, tmp_path):
    page.goto(page.views["Trials"])
    rows(page)
    page.get_by_role("link", name=re.compile("#00")).first.click()
    page.get_by_role("link", name="twelve").click()
    page.get_by_text("Show more").first.click()
    table = page.locator("table", has_text="validation accuracy")
    assert table.locator("tbody tr").count() == len(finished[1].front)
    text = page.locator("body").inner_text()
    assert "prune-search export twelve" in text and "digits (0000000000000000)" in text
    assert photographed(page, tmp_path / "search.png")


def test_a_trial_shows_what_was_sampled_and_its_curves_over_epochs(page, finished, tmp_path):
    best = finished[1].front[0]
    page.goto(page.views["Front"])
    page.get_by_role("link", name=f"#{best.number:03d}").click()
    page.get_by_text("Parameters (").wait_for()
    text = page.locator("body").inner_text()
    assert f"Parameters ({len({'recipe', *best.params})})" in text  # nothing that never varies
    assert photographed(page, tmp_path / "trial.png")
    page.get_by_role("tab", name="Model metrics").click()
    chart = page.locator(".js-plotly-plot", has=page.locator(".xtitle")).first
    chart.locator(".scatterlayer .point").nth(2).wait_for()
    assert chart.locator(".scatterlayer .point").count() == 3
    ticks = chart.locator(".xtick text").all_text_contents()
    assert (ticks[0], ticks[-1]) == ("1", "3")
    box = chart.locator(".scatterlayer .point").nth(1).bounding_box()
    for away in (8, 4, 0):
        page.mouse.move(box["x"] + box["width"] / 2 - away, box["y"] + box["height"] / 2)
    page.get_by_text("Step 2").wait_for()
    assert photographed(page, tmp_path / "curves.png")


def test_a_member_of_the_front_has_a_model_and_the_registry_has_its_card(page, finished, tmp_path):
    page.goto(page.views["Front"].replace("/runs?", "/models?"))
    page.get_by_text("Ready").first.wait_for()
    assert page.get_by_text("Ready").count() == len(finished[1].front)
    assert photographed(page, tmp_path / "models.png")
    page.goto(f"{page.server}/#/models/digits-small/versions/1")
    page.get_by_role("heading", name="The card").wait_for()
    assert photographed(page, tmp_path / "registry.png")


def test_optunas_dashboard_opens_the_study(finished, page, tmp_path):
    file, port = str(finished[0] / "twelve" / "study.log"), free_port()
    server = f"http://127.0.0.1:{port}"
    command = [Path(sys.executable).with_name("optuna-dashboard"), file, "--port", str(port)]
    with served(command, f"{server}/api/studies"):
        study = tab(page.context.browser, server, 1500)
        study.get_by_text("twelve").first.click()
        study.get_by_text("Objective accuracy").or_(study.get_by_text("accuracy")).first.wait_for()
        study.locator(".js-plotly-plot .scatterlayer .point").first.wait_for(timeout=60_000)
        assert photographed(study, tmp_path / "study.png") and study.complaints == []
        study.close()
