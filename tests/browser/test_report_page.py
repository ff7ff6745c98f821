"""The report as people see it: figures are drawn, hover and views work, nothing is fetched, no errors."""

import pytest
from browser.chromium import needs_chromium, opened
from search.fakes import Cluster, report
from search.small_spaces import SMALL, write

from prune_search.search.confirm import Confirmed
from prune_search.search.driver import Search
from prune_search.search.jobs import Ended
from prune_search.search.report.page import write_report
from prune_search.training.files import write_reports

pytestmark = needs_chromium
SPACE = SMALL.replace("params: minimize}", "params: minimize, flops: minimize}")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A search of 40 trials without training: some stopped, one failed, the more sparse the less accurate."""
    patch, folder = pytest.MonkeyPatch(), tmp_path_factory.mktemp("report")

    def result(job):
        if job.number == 11:
            return Ended("failed", "nan_loss", None)
        last = report(
            0.98 - 0.4 / (40 - job.number),
            60_000 // (job.number + 1),
            flops=100_000 // (1 + job.number % 7 + job.number),
        )
        return Ended("stopped", "dominated", last) if job.number % 5 == 4 else last

    cluster = Cluster(patch, result)

    def keep(job, options):
        last = result(job)
        last = last.report if isinstance(last, Ended) else last
        if last:
            reports = [
                report(last.accuracy * epoch / 5, last.params * (6 - epoch), epoch=epoch) for epoch in range(1, 5)
            ]
            write_reports(job.folder, [*reports, last])

    cluster.before_end = keep
    search = Search(write(folder, SPACE, trials=40), runs=folder / "runs", name="forty")
    search.run()
    again = [
        Confirmed(
            3,
            "m",
            "dyprune",
            (),
            {
                "accuracy": (0.95, 0.97),
                "test_accuracy": (0.9, 0.92),
                "params": (14000, 15000),
                "macs": (5, 6),
                "flops": (10, 12),
            },
        )
    ]
    yield write_report(search.layout, search.spec, confirmed=again)
    patch.undo()


@pytest.fixture(scope="module")
def page(page_file):
    with opened(page_file.as_uri()) as page:
        page.wait_for_selector("body[data-drawn=yes]", timeout=60_000)
        yield page


def test_every_figure_is_drawn_and_nothing_is_fetched(page, page_file, tmp_path):
    rooms = page.eval_on_selector_all(".figure", "all => all.map(each => each.dataset.room)")
    assert rooms == ["front", "history", "shares", "importance", "parallel", "curves", "layers"]
    for room in rooms:
        shapes = page.eval_on_selector(f"#figure-{room}", "f => f.querySelectorAll('path[d], .point, canvas').length")
        assert shapes > 5, room
    assert page.complaints == [] and page.asked == [page_file.as_uri()]
    page.screenshot(path=tmp_path / "report.png", full_page=True)
    assert (tmp_path / "report.png").stat().st_size > 100_000


def test_one_who_points_at_a_mark_sees_its_recipe(page):
    mark = page.locator("#figure-front .scatterlayer .trace").nth(2).locator(".point").first
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#figure-front .hoverlayer .hovertext", timeout=10_000)
    shown = page.text_content("#figure-front .hoverlayer")
    assert "#" in shown and "magnitude" in shown and "accuracy" in shown


def test_other_objectives_can_be_chosen(page):
    title = lambda: page.text_content("#figure-front .xtitle")
    assert title() == "params (minimize)"
    page.select_option("select[data-room=front]", "accuracy by flops")
    page.wait_for_function("document.querySelector('#figure-front .xtitle').textContent == 'flops (minimize)'")
    assert page.complaints == []


def test_a_click_on_a_heading_sorts_the_front(page):
    at = page.locator("#members th").all_text_contents().index("params")
    column = lambda: page.eval_on_selector_all(
        "#members tbody tr", f"rows => rows.map(row => Number(row.cells[{at}].dataset.value))"
    )
    heading = page.locator("#members th").nth(at)
    heading.click()
    assert column() == sorted(column(), reverse=True) and len(column()) > 3
    heading.click()
    assert column() == sorted(column())


def test_the_page_is_readable_on_a_narrow_screen(page):
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_function("document.querySelector('#figure-front .main-svg').clientWidth < 400")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
