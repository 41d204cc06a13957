"""MLflow's own pages for a real store, in headless Chromium."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import yaml
from playwright.sync_api import Page, expect

from actgrad.config import loading
from actgrad.results.run import RunResult, copy
from actgrad.tracking import experiments, publish, views
from actgrad.tracking.metrics import Layers
from faults import free_port
from tracked_runs import TRAINED, Published, track, track_all

pytestmark = pytest.mark.slow
STUDY = {"datasets": ["digits"], "conditions": ["baseline", "he"], "activations": ["tanh", "relu"], "seeds": [0, 1]}
PATIENCE = 120_000
"""Timeout in milliseconds. The first page is slow while other tests use the processors."""


@pytest.fixture(scope="module")
def store(tmp_path_factory, run_config, few_digits) -> Iterator[Published]:
    """A study of two activations and two conditions, runs by hand, and trials of a search; relu has one seed."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("store")
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Path("params.yaml").write_text(yaml.safe_dump(STUDY))
        for (name, seed), result in track_all(run_config, few_digits, folder).items():
            result.write(Path("runs", "digits", name, f"baseline-{seed}"))
            copy(Path("runs", "digits", name, f"baseline-{seed}"), Path("runs", "digits", name, f"he-{seed}"), f"digits/{name}/he-{seed}")
        published = Published(folder)
        folders = [Path("runs", "digits", name, f"{condition}-{seed}") for condition in STUDY["conditions"] for name, seed in TRAINED]
        publish.publish(published.tracking, folders)
        uri = f"tracking.uri=sqlite:///{folder}/mlflow.db"
        by_hand = run_config("activation=relu", "recipe.epochs=1", uri).named("relu epochs=1")
        track(by_hand, few_digits, Path("mine"))
        for name in ("tanh", "relu"):
            for rate in (0.001, 0.01):
                trial = run_config("condition=tuning", f"activation={name}", f"recipe.learning_rate={rate}", "recipe.epochs=1", uri, "run_dir=x")
                track(trial, few_digits, Path(f"{name}-{rate}"))
        yield published
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def address(store) -> Iterator[str]:
    """MLflow's server, as `make ui` starts it."""
    assert store
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db", "--port", str(port), "--workers", "1"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with Path("ui.log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(url).close()
            break
        except OSError:
            assert server.poll() is None, Path("ui.log").read_text()
            time.sleep(0.2)
    yield url
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def page(browser) -> Page:
    """A tall page, because MLflow draws only visible charts."""
    page = browser.new_page(viewport={"width": 1500, "height": 7000})
    page.set_default_timeout(PATIENCE)
    return page


def of_study() -> list[views.View]:
    return views.of_study(loading.listed(loading.study(), "digits"), layers())


def layers() -> Layers:
    return Layers.of(RunResult.read(Path("runs/digits/tanh/baseline-0")))


def opened(page: Page, address: str, link: str) -> None:
    """Open a link in a page without state from the previous one."""
    page.goto("about:blank")
    page.goto(f"{address}/{link}")
    expect(page.get_by_text("matching runs")).to_be_visible(timeout=PATIENCE)


def experiment_id(store: Published, name: str) -> str:
    return store.client.get_experiment_by_name(name).experiment_id


def drawn(page: Page, view: views.View) -> list[str]:
    """The text of each chart of a view, with title and legend, once all are drawn."""
    expect(page.locator(".js-plotly-plot")).to_have_count(sum(map(len, view.sections.values())), timeout=PATIENCE)
    assert page.get_by_text("No charts in this section").count() == 0
    return page.get_by_test_id("experiment-view-compare-runs-card").all_inner_texts()


@pytest.mark.parametrize("name", ["Gradient norms by activation", "Accuracy by activation", "Accuracy by condition", "Units"])
def test_the_charts_of_a_view_are_drawn_with_a_line_for_each_group(page, address, store, name):
    (view,) = [one for one in of_study() if one.name == name]
    opened(page, address, view.link(experiment_id(store, "digits")))
    for values in view.group_by.values():
        for value in values:
            expect(page.get_by_text(f"Group: {value}")).to_be_visible(timeout=PATIENCE)
    legends = [value for values in view.group_by.values() for value in values]
    assert all(legend in text for text in drawn(page, view) for legend in legends)


def test_each_layer_has_a_chart_on_a_log_axis_with_mean_and_range(page, address, store):
    view = of_study()[0]
    opened(page, address, experiments.link(store.tracking, address).removeprefix(f"{address}/"))
    for text, layer in zip(drawn(page, view), layers().weighted, strict=False):
        assert all(said in text for said in (f"grad_norm/{layer}", "tanh", "relu"))
    axes = page.eval_on_selector_all(".js-plotly-plot", "all => all.map(one => one._fullLayout.yaxis.type)")
    assert axes.count("log") == len(view.sections["Gradient norm"]) + len(view.sections["dL/dz, layer by layer"]) + 5


@pytest.mark.parametrize("number", range(6))
def test_the_table_of_a_view_has_numbers_in_its_columns(page, address, store, number):
    view = of_study()[number]
    opened(page, address, view.link(experiment_id(store, "digits")).replace("=CHART", "=TABLE"))
    for column in view.columns[:6]:
        if "." not in column:
            cells = page.locator(f'.ag-center-cols-container [col-id="metrics.`{column}`"], .ag-center-cols-container [col-id*="{column}"]')
            expect(cells.filter(has_text=re.compile(r"^-?\d")).first).to_be_visible(timeout=PATIENCE)


def test_runs_by_hand_are_compared_with_the_mean_of_the_study(page, address, store):
    (view,) = views.by_hand(layers())
    opened(page, address, view.link(experiment_id(store, "digits by hand")))
    for text in drawn(page, view):
        assert all(name in text for name in ("relu epochs=1", "mean of 1 seeds: relu · baseline"))


def test_trials_of_a_search_are_accuracy_over_rate_by_activation(page, address, store):
    (view,) = views.of_search()
    opened(page, address, view.link(experiment_id(store, "digits tuning")))
    (text,) = drawn(page, view)
    assert all(name in text for name in ("tanh", "relu"))
    steps = page.eval_on_selector_all(".js-plotly-plot", "all => all.flatMap(one => one.data.map(trace => [...(trace.x || [])]))")
    assert [1000, 10000] in steps


def test_the_page_of_a_run_says_what_it_is(page, address, store):
    (run,) = [one for one in store.client.search_runs([experiment_id(store, "digits")]) if one.data.tags["key"] == "digits/relu/he-0"]
    page.goto(f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?{views.TRAINING}")
    expect(page.get_by_role("heading", name="relu-0 · he")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("of the test images")).to_be_visible()
    expect(page.get_by_text("train.py")).to_be_visible()
