"""Each interaction of a reader with the page and its effect, in a real Chromium."""

import csv
import io
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from test_browser import written

READY = "document.documentElement.dataset.ready == '{} {}'"
FULL = """([figure, name]) => [...document.querySelectorAll(`#${figure} .view`)].map(view => {
    const items = [...view.querySelectorAll('path')].map(path => path.__data__).filter(item => item?.datum?.activation);
    const seen = items.filter(item => item.mark.marktype !== 'group').filter(item => (item.opacity ?? 1) > 0.2).map(item => item.datum.activation);
    return [...new Set(seen)].sort();
})"""
"""For each picture of a figure, the activations whose marks are not faded."""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("project"))


@pytest.fixture
def page(browser, report) -> Page:
    context = browser.new_context(offline=True, viewport={"width": 1300, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri())
    page.wait_for_function(READY.format("baseline", ""))
    yield page
    assert complaints == []
    context.close()


def seen(page: Page, figure: str) -> list[list[str]]:
    return page.evaluate(FULL, [figure, ""])


def choose(page: Page, condition: str = "baseline", other: str = "") -> None:
    page.select_option("#condition", condition)
    page.select_option("#other", other)
    page.wait_for_function(READY.format(condition, other))


def paths(page: Page, figure: str) -> str:
    """All shapes and words of a figure, to tell whether it has changed."""
    return page.locator(f"#{figure} .view").first.inner_html()


def hover(page: Page, figure: str, activation: str) -> str:
    """Point at a mark of an activation, and read its tooltip."""
    where = """([figure, activation]) => {
        const marks = [...document.querySelectorAll(`#${figure} .view path`)].filter(path => path.__data__?.datum?.activation === activation
            && path.__data__.mark.marktype === 'symbol' && (path.__data__.tooltip ?? path.__data__.mark.items[0].tooltip));
        const mark = marks.at(-1);
        mark.scrollIntoView({block: 'center'});
        const box = mark.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    }"""
    page.mouse.move(1, 1)
    x, y = page.evaluate(where, [figure, activation])
    page.mouse.move(x, y)
    page.mouse.move(x + 0.5, y)
    tooltip = page.locator("#vg-tooltip-element.visible")
    expect(tooltip).to_be_visible()
    return tooltip.inner_text()


def test_pointing_at_a_dot_shows_its_run(page):
    said = hover(page, "seeds", "relu")
    assert "toy/relu/baseline-" in said
    assert "test accuracy" in said
    assert re.search(r"\d+\.\d%", said)


@pytest.mark.parametrize("figure", ["attenuation", "learning_curves", "preact_grads", "gradient_norms", "share_of_next", "unit_states", "depth"])
@pytest.mark.slow
def test_pointing_at_a_mark_of_any_figure_shows_numbers(page, figure):
    said = hover(page, figure, "snake")
    assert "snake" in said
    assert re.search(r"\d", said)


def pressed(page: Page) -> list[str]:
    return page.locator(".chips [aria-pressed=true]").all_inner_texts()


def test_a_click_in_the_legend_shows_one_activation_in_all_figures_and_in_those_drawn_later(page):
    figures = page.eval_on_selector_all("[data-figure]", "all => all.map(one => one.dataset.figure)")
    several = [figure for figure in figures if seen(page, figure) == [["relu", "snake"]]]
    assert len(several) >= 8
    page.locator(".chips button", has_text="snake").click()
    assert {figure: seen(page, figure)[0] for figure in several} == {figure: ["snake"] for figure in several}
    choose(page, "he")
    assert seen(page, "learning_curves") == [["snake"]]
    assert pressed(page) == ["snake"]
    page.locator(".chips button", has_text="all").click()
    assert seen(page, "learning_curves") == [["relu", "snake"]]


def test_a_click_on_another_activation_adds_it_and_a_second_click_removes_it(page):
    chips = {name: page.locator(".chips button", has_text=name) for name in ("relu", "snake", "show all")}
    for name, chosen, shown in (
        ("relu", ["relu"], ["relu"]),
        ("snake", ["relu", "snake"], ["relu", "snake"]),
        ("relu", ["snake"], ["snake"]),
        ("snake", ["show all"], ["relu", "snake"]),
        ("relu", ["relu"], ["relu"]),
        ("show all", ["show all"], ["relu", "snake"]),
    ):
        chips[name].click()
        assert (pressed(page), seen(page, "preact_grads"), seen(page, "seeds")) == (chosen, [shown], [shown])
    assert page.locator(".hint").inner_text().startswith("Choose an activation")


def test_an_address_can_name_condition_and_activations(page):
    page.goto(f"{page.url}?condition=he&activation=snake,unknown")
    page.wait_for_function(READY.format("he", ""))
    assert (pressed(page), seen(page, "seeds")) == (["snake"], [["snake"]])


def test_the_legend_has_the_dash_of_each_line(page):
    dash = """name => [...document.querySelectorAll('#learning_curves .view line')].filter(one => one.__data__?.datum?.activation === name)
        .map(one => one.getAttribute('stroke-dasharray'))"""
    assert page.evaluate(dash, "snake") == ["4,2"]
    assert page.evaluate(dash, "relu") == ["1,0"]
    chip = page.locator(".chips button", has_text="snake").locator("path")
    assert chip.get_attribute("stroke-dasharray") == "4 2"


def test_training_is_shown_by_the_gradient_that_its_answer_speaks_of(page):
    expect(page.locator("#gradient_norms .controls label", has_text="dL/dz").locator("input")).to_be_checked()
    assert "After training the gradient shrinks less than before, or grows more" in page.locator("[data-slot=answer-training]").inner_text()
    assert page.evaluate("document.querySelector('#gradient_norms .view g.mark-line path').__data__.datum.measure") == "dL/dz"


def test_a_condition_under_which_no_run_learned_says_so_in_its_figure(page):
    said = page.locator("#learning_curves .view text", has_text="No run")
    assert said.count() == 0
    choose(page, "lost")
    assert "No run learned, so there is no mean" in page.locator("[data-slot=answer-learning]").inner_text()
    assert said.all_text_contents() == ["No run learned,so there is no mean to draw."]
    page.locator("#learning_curves .controls label", has_text="every seed").locator("input").check()
    expect(said).to_have_count(0)
    page.locator("#learning_curves .controls label", has_text="mean").locator("input").check()
    choose(page, "baseline")
    expect(said).to_have_count(0)


def test_a_folded_figure_is_drawn_when_it_is_opened(page):
    assert page.locator("#alarms .view").count() == 0
    page.locator("details:has(#alarms) summary").click()
    expect(page.locator("#alarms .view svg")).to_be_visible()
    assert page.locator("#alarms .view svg").bounding_box()["width"] > 900


def test_a_click_on_a_name_beside_a_line_does_the_same(page):
    page.locator("#learning_curves .view text", has_text="snake").click()
    assert seen(page, "seeds") == [["snake"]]
    page.locator("#learning_curves .view text", has_text="snake").click()
    assert seen(page, "seeds") == [["relu", "snake"]]


def test_a_control_changes_what_is_drawn(page):
    for figure, change in (
        ("preact_grads", "weights, norm"),
        ("preact_grads", "every seed"),
        ("preact_grads", "after training"),
        ("gradient_norms", "weights, norm"),
        ("gradient_norms", "linear"),
        ("learning_curves", "every seed"),
        ("unit_states", "every seed"),
        ("activations", "function"),
        ("times", "the activation layers alone"),
    ):
        before = paths(page, figure)
        control = page.locator(f"#{figure} .controls label", has_text=change).locator("input")
        control.check()
        expect(control).to_be_checked()
        if (figure, change) != ("preact_grads", "after training"):  # made-up runs have the same values at the end
            page.wait_for_function("([figure, before]) => document.querySelector(`#${figure} .view`).innerHTML !== before", arg=[figure, before])


def test_every_control_shows_what_is_chosen(page):
    groups = page.eval_on_selector_all(".vega-bind-radio", "all => all.map(one => one.querySelectorAll('input:checked').length)")
    assert groups
    assert set(groups) == {1}


def test_single_seeds_are_lines_of_their_own(page):
    lines = "document.querySelectorAll('#learning_curves .view g.mark-line path').length"
    assert page.evaluate(lines) == 2
    page.locator("#learning_curves .controls label", has_text="every seed").locator("input").check()
    page.wait_for_function(f"{lines} === 4")


def test_another_layer_can_be_chosen(page):
    page.locator("#gradient_norms .controls label", has_text="weights, norm").locator("input").check()  # made-up dL/dz is alike in all layers
    before = paths(page, "gradient_norms")
    page.locator("#gradient_norms .controls select").select_option(label="4: dense1")
    page.wait_for_function("before => document.querySelector('#gradient_norms .view').innerHTML !== before", arg=before)


def test_the_condition_switch_shows_the_page_of_another_condition(page):
    assert "condition baseline" in page.locator("[data-slot=setup]").inner_text()
    choose(page, "he")
    assert "condition he" in page.locator("[data-slot=setup]").inner_text()
    assert "toy/relu/he-" in hover(page, "seeds", "relu")
    assert page.locator("[data-slot=results] a[href*='/relu/he-0/']").count() == 1
    choose(page, "deep_3")
    assert "mlp" in page.locator("[data-slot=setup]").inner_text().lower() or "perceptron" in page.locator("[data-slot=setup]").inner_text()


def test_two_conditions_stand_side_by_side(page):
    choose(page, "baseline", "he")
    left, right = page.locator("#learning_curves .pane").all()
    assert (left.locator("b").inner_text(), right.locator("b").inner_text()) == ("baseline", "he")
    assert abs(left.bounding_box()["y"] - right.bounding_box()["y"]) < 2
    assert page.locator("[data-slot=results] table").count() == 2
    page.locator("#learning_curves .controls label", has_text="every seed").locator("input").check()
    page.wait_for_function(
        "[...document.querySelectorAll('#learning_curves .view')].every(one => one.querySelectorAll('g.mark-line path').length === 4)"
    )
    choose(page, "baseline")
    assert page.locator("#learning_curves .pane").count() == 1
    assert page.locator("#learning_curves .controls label", has_text="every seed").locator("input").is_checked()


def first_column(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("table.sortable tbody tr:visible td:first-child").all_inner_texts()]


def test_the_results_sort_by_column_and_filter(page):
    assert first_column(page) == ["snake", "relu"]
    heading = page.locator("table.sortable th", has_text="test, %")
    heading.locator("button").click()
    assert first_column(page) == ["relu", "snake"]
    expect(heading).to_have_attribute("aria-sort", "ascending")
    heading.locator("button").press("Enter")
    assert first_column(page) == ["snake", "relu"]
    page.locator("[type=search]").fill("rel")
    assert first_column(page) == ["relu"]


def test_the_results_copy_as_csv_markdown_and_latex(page):
    copied = {}
    for name in ("CSV", "Markdown", "LaTeX"):
        page.locator(".bar button", has_text=name).click()
        expect(page.locator(".bar [role=status]")).to_have_text(f"{name}: 2 rows copied")
        copied[name] = page.evaluate("document.documentElement.dataset.copied")
    rows = list(csv.reader(io.StringIO(copied["CSV"])))
    assert [row[0] for row in rows] == ["activation", "snake", "relu"]
    assert rows[2][2] == "60.0 ± 14.1"
    assert len({len(row) for row in rows}) == 1
    assert copied["Markdown"].splitlines()[1].startswith("| --- | --- |")
    assert "60.0 $\\pm$ 14.1" in copied["LaTeX"]
    assert copied["LaTeX"].count("\\\\") == 3
    assert "test, \\%" in copied["LaTeX"]


def test_each_verdict_links_to_its_figure_and_each_number_to_its_runs(page, report):
    for link in page.locator(".claims summary a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    target = report.parent / page.locator("table.sortable tbody td a").first.get_attribute("href")
    assert target.exists()


def test_everything_can_be_reached_with_the_keyboard(page):
    page.evaluate("window.scrollTo(0, 0)")
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(one => one.id || one.value || one.className || one.tagName)(document.activeElement)"))
    assert {"condition", "other", "snake", "relu", "csv", "SUMMARY"} <= set(reached)
    page.locator(".chips button", has_text="snake").focus()
    page.keyboard.press("Space")
    assert seen(page, "seeds") == [["snake"]]


def test_it_follows_the_theme_without_being_drawn_again(page):
    ink = "getComputedStyle(document.querySelector('#learning_curves .view text')).fill"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ink) != light


def test_without_a_script_it_reads_as_pictures(browser, report):
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("figure img").count() >= 12
    assert page.locator("figure img").first.bounding_box()["width"] > 300
    assert not page.locator(".tools").is_visible()
    assert "has the highest mean test accuracy" in page.locator("body").inner_text()
    context.close()


def test_the_first_screen_goes_from_what_was_trained_to_the_verdicts(page):
    for width in (390, 1300):
        page.set_viewport_size({"width": width, "height": 900})
        tops = [page.locator(one).first.bounding_box()["y"] for one in ("[data-slot=setup]", "#seeds", "#attenuation", ".claims", "#results")]
        assert tops == sorted(tops)
    assert tops[3] < 700
