"""What the benchmarks share."""

import os
import platform
import re
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from actgrad.results import fingerprint as provenance


def ratio(values: np.ndarray, reference: np.ndarray) -> dict[str, float | None]:
    """The median of the ratios within a round, and its 95 % interval by order statistics."""
    ratios = values / reference
    low, high = map(rounded, stats.quantile_test(ratios, p=0.5).confidence_interval(0.95))
    return {"value": rounded(np.median(ratios)), "low": low, "high": high}


def rounded(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.4g}")


def machine() -> dict[str, object]:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().partition('.')[0]}",
    } | {name: value for name, value in provenance.environment().items() if name in ("python", "tensorflow", "keras")}


def environment(**more: str) -> dict[str, str]:
    """This process' environment, with its Python's scripts, and the store of the current folder instead of a team's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return os.environ | own | more
