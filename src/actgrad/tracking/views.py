"""Saved views of MLflow's page: what each one shows, and how MLflow keeps it.

A saved view is a tag of an MLflow experiment, `mlflow.sharedViewState.<id>`. Its value is JSON: a name, times, and the state of the page, compressed.
The id is made from the name, so that a changed view replaces the old one. Views with other ids are the user's.
"""

import base64
import hashlib
import json
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from actgrad.config.loading import Listed
from actgrad.tracking.metrics import ATTENUATION, DEAD, PROBE_METRICS, STEP_METRICS, VAL_ACCURACY_BY_RATE, Layers, of_layer
from actgrad.training.names import HISTORY, TEST, TEST_ACCURACY, TEST_LOSS, TRAIN_ACCURACY, TRAIN_LOSS, VAL_ACCURACY, VAL_LOSS

TAG = "mlflow.sharedViewState."
OWN = "actgrad-"
"""Prefix of the ids of this project's views."""
CLOSED = ("train", "val", "test", *STEP_METRICS, *PROBE_METRICS, "attenuation")
"""Sections that MLflow itself makes for metrics that a view does not show. They are kept closed."""
TRAINING = "workflowType=machine_learning"
"""Part of every link. Without it, MLflow opens its pages for language models."""
FIRST = "Gradient norms by activation"
"""The view to open first."""
CURRENT = "tags.superseded = 'false'"
"""Filter: the runs that the study lists."""


@dataclass(frozen=True)
class Chart:
    """A chart of a metric: a line over optimizer steps, or a bar of its last value.

    Attributes:
        title: default: the metric's name.
        log: whether the vertical axis is logarithmic.
        log_x: whether the horizontal axis is logarithmic.
    """

    metric: str
    title: str = ""
    bar: bool = False
    log: bool = False
    log_x: bool = False


@dataclass(frozen=True)
class View:
    """A saved view.

    Attributes:
        name: title of the view.
        sections: title -> charts; a view without charts is a table.
        group_by: tag -> its values. Runs with the same values are drawn as one line, their mean, with a range. In the list they are closed groups.
        search: filter of the runs.
        columns: columns of the table: metrics, `tags.NAME` or `params.NAME`.
        order_by: the metric that sorts the table, highest first; without it, the newest runs come first.
    """

    name: str
    sections: Mapping[str, Sequence[Chart]] = field(default_factory=dict)
    group_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    search: str = ""
    columns: Sequence[str] = ()
    order_by: str = ""

    @property
    def id(self) -> str:
        return _view_id(self.name)

    def link(self, experiment: str) -> str:
        """Link to it on MLflow's page, without the server's address."""
        return link(experiment, self.name, "CHART" if self.sections else "TABLE")


def link(experiment: str, name: str, mode: str = "CHART") -> str:
    """Link to a view on MLflow's page, without the server's address."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={_view_id(name)}&compareRunsMode={mode}&{TRAINING}"


def _view_id(name: str) -> str:
    return OWN + re.sub(r"\W+", "-", name.lower())


# --- the views


def of_study(listed: Mapping[str, Listed], layers: Layers) -> list[View]:
    """The views of a study. The first one is FIRST.

    Args:
        listed: condition -> its activations and seeds. Activations are compared in the first condition.
        layers: of the runs of that condition.
    """
    first, *_ = listed
    activations = listed[first].activations
    one = "relu" if "relu" in activations else activations[0]
    several = [set(runs.activations) for runs in listed.values() if len(runs.activations) > 1]
    # MLflow's page loads 100 runs at once; means over different activations per condition could not be compared
    elsewhere = [name for name in activations if not all(name in others for others in several)]
    columns = [TEST_ACCURACY, VAL_ACCURACY, TRAIN_ACCURACY, DEAD, ATTENUATION]
    by_activation: dict[str, Any] = {
        "search": f"{CURRENT} and tags.condition = '{first}'",
        "group_by": {"activation": activations},
        "order_by": TEST_ACCURACY,
    }
    accuracy = [Chart(VAL_ACCURACY), Chart(TEST_ACCURACY, bar=True)]
    return [
        View(
            FIRST,
            {
                **_gradients(layers),
                "Accuracy": accuracy,
                "Dead units": [Chart(DEAD), *_each("dead", layers.activated)],
                "Update-to-weight ratio": _each("update_ratio", layers.weighted, log=True),
            },
            columns=columns,
            **by_activation,
        ),
        View(
            "Accuracy by activation",
            {
                "Accuracy": [Chart(TEST_ACCURACY, bar=True), Chart(VAL_ACCURACY), Chart(TRAIN_ACCURACY)],
                "Loss": [Chart(TEST_LOSS, bar=True), Chart(VAL_LOSS, log=True), Chart(TRAIN_LOSS, log=True)],
            },
            columns=[*TEST, *HISTORY],
            **by_activation,
        ),
        View(
            "Accuracy by condition",
            {"Accuracy": [Chart(TEST_ACCURACY, bar=True), Chart(VAL_ACCURACY)], "Whole network": [Chart(ATTENUATION), Chart(DEAD)]},
            search=" and ".join([CURRENT, *(f"tags.activation != '{name}'" for name in elsewhere)]),
            group_by={"condition": list(listed)},
            columns=columns,
            order_by=TEST_ACCURACY,
        ),
        View(
            "Units",
            {
                "Dead units": [Chart(DEAD), *_each("dead", layers.activated)],
                "Units that died in training": _each("newly_dead", layers.activated),
                "Units that revived": _each("revived", layers.activated),
                "Saturated activations": _each("saturated", layers.activated),
            },
            columns=[DEAD, *(f"{name}/{site}" for name in ("dead", "saturated") for site in layers.activated)],
            **by_activation,
        ),
        View(
            "One activation under all conditions",
            {"Accuracy": accuracy, "Whole network": [Chart(ATTENUATION), Chart(DEAD)], **_gradients(layers)},
            search=f"{CURRENT} and tags.activation = '{one}'",
            group_by={"condition": list(listed)},
            columns=columns,
            order_by=TEST_ACCURACY,
        ),
        View("Leaderboard", search=CURRENT, columns=["tags.activation", "tags.condition", "tags.seed", *columns], order_by=TEST_ACCURACY),
    ]


def by_hand(layers: Layers) -> list[View]:
    """The view of runs by hand, which also shows means of the study. The layers are those of the newest run."""
    return [
        View(
            "My last runs",
            {
                "Accuracy": [Chart(VAL_ACCURACY), Chart(TEST_ACCURACY, bar=True)],
                **_gradients(layers),
                "Whole network": [Chart(ATTENUATION), Chart(DEAD)],
            },
            columns=["tags.activation", "tags.condition", "tags.seed", TEST_ACCURACY, VAL_ACCURACY, DEAD, ATTENUATION],
        )
    ]


def of_search() -> list[View]:
    """The view of a search for learning rates."""
    return [
        View(
            "Validation accuracy by learning rate",
            {"Accuracy": [Chart(VAL_ACCURACY_BY_RATE, "validation accuracy by learning rate in millionths", log_x=True)]},
            group_by={"activation": ()},
            columns=["params.recipe.learning_rate", "tags.activation", "tags.seed", VAL_ACCURACY, TRAIN_ACCURACY],
            order_by=VAL_ACCURACY,
        )
    ]


def _gradients(layers: Layers) -> dict[str, list[Chart]]:
    return {
        "Gradient norm": _each("grad_norm", layers.weighted, log=True),
        "dL/dz, layer by layer": _each("preact_grad_rms", (*layers.activated, *layers.others), log=True),
    }


def _each(name: str, layers: Sequence[str], log: bool = False) -> list[Chart]:
    return [Chart(of_layer(name, layer), log=log) for layer in layers]


# --- how MLflow keeps them


def tag(view: View, before: str | None) -> tuple[str, str]:
    """Name and value of the tag that keeps a view. If `before` is the same view, it is returned unchanged."""
    try:
        old = json.loads(before or "{}")
    except ValueError:
        old = {}
    state, now = _compressed(state_of(view)), int(time.time() * 1000)
    if before is not None and (old.get("name"), old.get("state")) == (view.name, state):
        return TAG + view.id, before
    return TAG + view.id, json.dumps({"name": view.name, "createdAt": old.get("createdAt", now), "updatedAt": now, "state": state})


def _compressed(state: Mapping[str, Any]) -> str:
    return f"deflate;{base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()}"


def state_of(view: View) -> dict[str, Any]:
    """The state of MLflow's runs page for a view."""
    columns = list(map(_column, view.columns))
    return {
        "searchFilter": view.search,
        "orderByKey": _column(view.order_by) if view.order_by else "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",
        "runListHidden": False,
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": True,
        "groupBy": _groups(view.group_by),
        "groupsExpanded": dict.fromkeys(_closed(view.group_by), False),
        "isAccordionReordered": True,
        "autoRefreshEnabled": True,
        "compareRunCharts": [_chart(chart, title) for title, charts in view.sections.items() for chart in charts],
        "compareRunSections": [
            {"uuid": _id(title), "name": title, "display": title in view.sections, "isReordered": True, "deleted": False, "isGenerated": False}
            for title in (*view.sections, *_not_shown(view))
        ],
    }


def _not_shown(view: View) -> list[str]:
    """The sections of CLOSED with metrics that a view does not show. A view shows all metrics of a section, one or none."""
    shown = Counter(chart.metric.partition("/")[0] for charts in view.sections.values() for chart in charts)
    return [name for name in CLOSED if shown[name] < (1 if name == ATTENUATION.partition("/")[0] else 2)]


def _groups(tags: Iterable[str]) -> dict[str, Any] | None:
    keys = [{"mode": "tag", "groupByData": name} for name in tags]
    return {"aggregateFunction": "average", "groupByKeys": keys} if keys else None


def _closed(group_by: Mapping[str, Sequence[str]]) -> list[str]:
    """MLflow's ids of the groups in the list."""
    return [",".join(group) for group in product(*([f"tag.{name}.{value}" for value in values] for name, values in group_by.items())) if group]


def _column(name: str) -> str:
    kind, _, of_kind = name.partition(".")
    return f"{kind}.`{of_kind}`" if kind in ("tags", "params") else f"metrics.`{name}`"


def _chart(chart: Chart, section: str) -> dict[str, Any]:
    common = {
        "uuid": _id(f"{section}: {chart.metric}"),
        "type": "BAR" if chart.bar else "LINE",
        "metricKey": chart.metric,
        "displayName": chart.title or chart.metric,
        "metricSectionId": _id(section),
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    }
    if chart.bar:
        return common
    return common | {
        "selectedMetricKeys": [chart.metric],
        "xAxisKey": "step",
        "useGlobalXaxisKey": False,
        "xAxisScaleType": "log" if chart.log_x else "linear",
        "scaleType": "log" if chart.log else "linear",
        "displayPoints": not chart.log,
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": False,
        "range": {},
    }


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
