"""MLflow: the record of every run, live while it trains, and brought in line with runs/ afterwards."""

import logging
import os

# Before MLflow is imported, because it reads some of these only then.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Give up a server that does not answer after seconds. With MLflow's own defaults it would hold up a training for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
for name in ("RUN_ID", "EXPERIMENT_ID", "EXPERIMENT_NAME"):  # of whoever started this: a run here has an MLflow run of its own, where conf/ says
    os.environ.pop(f"MLFLOW_{name}", None)
logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # it would print the traceback of errors that we report in one sentence
logging.getLogger("mlflow.tracking.fluent").setLevel(logging.WARNING)  # it would print that an MLflow experiment is made
