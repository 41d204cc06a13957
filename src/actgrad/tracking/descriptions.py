"""Descriptions of runs and experiments on MLflow's pages, as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from actgrad.results.paths import RUNS
from actgrad.results.run import RunResult
from actgrad.tracking.metrics import LAYERS, STEP_POINTS
from actgrad.tracking.views import View
from actgrad.training.names import TEST_ACCURACY, VAL_ACCURACY

METRICS = f"""\
| metric | what it is |
| --- | --- |
| `grad_norm/<layer>` | L2 norm of the gradient of the layer's weights at a step, at up to {STEP_POINTS} steps |
| `update_ratio/<layer>` | norm of the step's update by the norm of the weights |
| `preact_grad_rms/<layer>` | root mean square of dL/dz, where z is what the activation is applied to, and L the loss of one image of a fixed batch |
| `attenuation/decades` | powers of ten by which that shrinks from the last layer with an activation to the first |
| `dead/<layer>`, `dead/total` | units whose derivative is 0 for every image of that batch |
| `newly_dead/<layer>`, `revived/<layer>` | units that died in training; units that were dead before it and live now |
| `saturated/<layer>` | share of activations whose derivative is below 5 % of the function's largest |
| `train/…`, `val/…`, `test/…` | loss and accuracy; `test` once, after the last epoch |

Steps are optimizer steps. Of a network with more than {LAYERS} layers, {LAYERS} are shown, the first and the last among them.
"""


def of_run(result: RunResult, folder: Path) -> str:
    """Description of a run: its result, what it is, and where its files and report are."""
    metrics, last = result.metrics, result.metrics["last"]
    accuracy, split = (last.get(TEST_ACCURACY), "test") if TEST_ACCURACY in last else (last.get(VAL_ACCURACY), "validation")
    if metrics["status"] != "finished" or accuracy is None:
        found = f"**Diverged** after {metrics['steps']} optimizer steps: its loss or gradient was not finite."
    else:
        found = f"**{accuracy:.1%} of the {split} images** are classified correctly after {metrics['epochs']} epochs."
    if census := metrics["census"].values():
        found += f" {sum(one['dead'] for one in census)} of {sum(one['units'] for one in census)} units are dead."
    what = f"Activation {result.activation_name}, condition {result.condition}, seed {result.seed}, dataset {result.dataset}."
    report = f" Report of the study: `reports/{result.dataset}/index.html`." if folder.parts[:1] == RUNS.parts else ""
    return f"{found}\n\n{what} Files: `{folder.as_posix()}`.{report}"


def of_study(dataset: str, shown: Sequence[View], experiment: str) -> str:
    """Description of a study's MLflow experiment: content, links to its views, and how to read the metrics."""
    about = (
        f"The study on {dataset}: each run is one training, with an activation, a condition and a seed. A line of a chart is the mean over seeds, "
        f"its band the range. Runs that the study has trained anew since are tagged `superseded = true`, and no view shows them. "
        f"The report: `reports/{dataset}/index.html`."
    )
    return _page(about, shown, experiment)


def by_hand(dataset: str, shown: Sequence[View], experiment: str) -> str:
    """Description of the MLflow experiment for runs by hand."""
    about = (
        f"Runs by hand on {dataset}, of `python src/train.py data={dataset} …`, each named by its activation and by what was overridden. "
        "Runs that begin with *mean of* are means over the seeds of the study, to compare with."
    )
    return _page(about, shown, experiment)


def of_search(dataset: str, shown: Sequence[View], experiment: str) -> str:
    """Description of the MLflow experiment for a search of learning rates."""
    about = (
        f"Trials of `python src/tune.py data={dataset}`: short trainings with several learning rates, judged on the validation split. "
        f"In the chart, a rate of 0.001 stands at 1,000. The best rates are in `conf/rates/{dataset}.yaml`."
    )
    return _page(about, shown, experiment)


def _page(about: str, shown: Sequence[View], experiment: str) -> str:
    links = "\n".join(f"- [{view.name}]({view.link(experiment)})" for view in shown)
    return f"{about}\n\n{links}\n\n{METRICS}"
