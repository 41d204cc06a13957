"""Log means over the study's seeds to MLflow, for comparison with runs by hand."""

import hashlib

import mlflow

from actgrad.config.schema import Config
from actgrad.errors import UserError
from actgrad.results.paths import RUNS
from actgrad.results.run import RunResult, missing, read_metrics
from actgrad.tracking import contents, publish
from actgrad.tracking.metrics import mean


def log(config: Config, experiment: str) -> None:
    """Log the mean of the study's runs with the activation and condition of a run by hand, unless it is there.

    Args:
        config: of the run by hand.
        experiment: id of its MLflow experiment.

    Raises:
        MlflowException: if the store fails.
    """
    activation, condition = config.activation.name, config.condition.name
    folders = sorted(folder for folder in (RUNS / config.data.name / activation).glob(f"{condition}-*") if not missing(folder))
    if not folders:
        return
    try:
        trained = [read_metrics(folder) for folder in folders]
        of = hashlib.sha256("".join(sorted(one["fingerprint"] for one in trained)).encode()).hexdigest()
        client, name = mlflow.MlflowClient(), f"mean of {len(folders)} seeds: {activation} · {condition}"
        before = client.search_runs(
            [experiment], f"tags.activation = '{activation}' and tags.condition = '{condition}' and tags.{contents.MEAN_OF} != ''"
        )
        if any(run.data.tags.get("fingerprint") == of and run.info.status == "FINISHED" for run in before):
            return
        results = [RunResult.read(folder) for folder in folders]
    except (UserError, KeyError):  # damaged files of the study do not concern this run
        return
    tags = contents.starting_tags(results[0].key, contents.build(results[0]), of, trained[0]["validation_split"], trained[0]["data_sha256"])
    keys = " ".join(one["key"] for one in trained)
    del tags["key"]
    tags |= {"seed": "mean", contents.MEAN_OF: keys, contents.DESCRIPTION: f"The mean of these runs of the study: {keys}."}
    run = client.create_run(experiment, run_name=name, tags=tags | contents.SOURCE)
    publish.log_metrics(run.info.run_id, mean(results))
    client.update_run(run.info.run_id, "FINISHED")
    for old in before:
        client.delete_run(old.info.run_id)
