"""The committed reports and a newly made one, in headless Chromium."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Page

from actgrad.analysis.runs import every_run
from actgrad.report.content import RUNS_AT, content
from conftest import ROOT
from made_up_runs import DATA, DEEP, TIMES, TRIALS, evidence, made_up, study_runs

REPORTS = sorted((ROOT / "reports").glob("*/index.html"))
WIDTHS = (390, 768, 1300, 1600)


@pytest.fixture(scope="module")
def made_now(tmp_path_factory) -> Path:
    """A report of made-up runs, with every kind of figure."""
    return written(tmp_path_factory.mktemp("project"))


def written(root: Path) -> Path:
    """The page of that report, in a project with the folders of its runs."""
    folder = root / "reports" / "toy"
    lost = {"relu": [made_up("relu", seed, 0.1, condition="lost") for seed in (0, 1)]}
    shown = evidence(study_runs(), {"he": study_runs("he"), **DEEP, "lost": lost}, trials=TRIALS, times=TIMES)
    for name, data in content(shown, DATA, RUNS_AT).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for runs in shown.conditions.values():
        for run in every_run(runs):
            (root / "runs" / run.key).mkdir(parents=True, exist_ok=True)
            (root / "runs" / "toy" / f"{run.activation_name}.csv").touch()
    return folder / "index.html"


@pytest.fixture(scope="module", params=[*REPORTS, None], ids=lambda path: path.parent.name if path else "made now")
def page(browser, made_now, request) -> Page:
    """A report opened from the file system, without a network. Its errors are in page.complaints."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("requestfailed", lambda failed: page.complaints.append(failed.url[:100]))
    page.goto((request.param or made_now).as_uri())
    page.wait_for_function("document.documentElement.dataset.ready")
    yield page
    context.close()


def test_there_is_a_report():
    assert REPORTS


def test_the_page_loads_whole_and_without_complaint(page):
    page.eval_on_selector_all("details:has([data-figure])", "all => all.forEach(one => one.open = true)")
    page.wait_for_function("[...document.querySelectorAll('[data-figure]')].every(one => one.querySelector('.view svg'))")
    marks = page.eval_on_selector_all("[data-figure]", "all => all.map(one => one.querySelectorAll('.view svg path').length)")
    assert len(marks) >= 9
    assert min(marks) > 5
    assert page.complaints == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.slow
def test_nothing_overflows(page, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wider = """all => all.filter(one => !one.closest('.scroll, pre, svg, .vg-tooltip') && one.getBoundingClientRect().right > innerWidth + 1)
                         .map(one => one.outerHTML.slice(0, 80))"""
    assert page.eval_on_selector_all("body *", wider) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(page, scheme):
    """Contrast by WCAG 2.1, 4.5 to 1 or more, for every text of the page."""
    page.emulate_media(color_scheme=scheme)
    faint = """all => {
        const luminance = colour => {
            const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
                .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        };
        const behind = one => {
            for (; one; one = one.parentElement) {
                const colour = getComputedStyle(one).backgroundColor;
                if (!colour.startsWith('rgba(0, 0, 0, 0')) return colour;
            }
        };
        return all.filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())).filter(one => {
            const [a, b] = [luminance(getComputedStyle(one).color), luminance(behind(one))].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05) < 4.5;
        }).map(one => one.outerHTML.slice(0, 100));
    }"""
    assert page.eval_on_selector_all("body *", faint) == []


def test_a_claim_opens_and_its_figure_is_a_click_away(page):
    said, figure = ("ReLU units can die", "unit_states") if "/toy/" in page.url else ("Gradients vanish with sigmoid", "preact_grads")
    claim = page.locator(".claims details").filter(has_text=said)
    assert not claim.locator("dl").is_visible()
    claim.locator("summary").click(position={"x": 3, "y": 3})
    assert claim.locator("dl").is_visible()
    claim.locator("a[href^='#']").click()
    assert page.url.endswith(f"#{figure}")
    assert page.locator(f"#{figure}").evaluate("heading => heading.getBoundingClientRect().top") < 900


def test_every_link_leads_to_a_file_beside_the_page(page):
    """Links to folders of runs are checked only for made-up runs, because git has no others."""
    links = page.eval_on_selector_all("a:not([href^='#'])", "links => links.map(link => link.href)")
    for link in links if "/toy/" in page.url else [link for link in links if "/runs/" not in link]:
        assert link.startswith("file://") and Path(unquote(urlsplit(link).path)).exists(), link


@pytest.mark.slow
def test_it_prints(page):
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert 4 <= pdf.count(b"/Type /Page\n") <= 25


def test_it_is_small(page):
    assert len(page.content()) < 3_000_000
