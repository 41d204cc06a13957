"""MLflow: log every run while it trains, and bring the store in line with runs/ afterwards."""

import logging
import os

# Set before MLflow is imported, because it reads some of these only then.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Give up after seconds if a server does not answer. MLflow's defaults would delay a training for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
for name in ("RUN_ID", "EXPERIMENT_ID", "EXPERIMENT_NAME"):  # set by the caller; a run here has its own MLflow run, where conf/ says
    os.environ.pop(f"MLFLOW_{name}", None)
logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # would print tracebacks of errors that we report in one sentence
logging.getLogger("mlflow.tracking.fluent").setLevel(logging.WARNING)  # would print a line for each new experiment
