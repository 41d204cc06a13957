"""What the benchmarks share."""

import os
import platform
import re
from pathlib import Path

import numpy as np
from scipy import stats

from actgrad import provenance


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
