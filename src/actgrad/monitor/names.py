"""Names of the monitor's measurements. Imports nothing, so that readers of results need no Keras."""

SATURATION = 0.05
"""A derivative below this share of the function's largest counts as saturated."""
NORMS = ("grad_norm", "update_norm", "weight_norm")
"""Norms that are recorded for each layer at each update."""
COUNTS = ("units", "dead", "newly_dead", "revived", "revived_since_last")
"""Columns of the probe that hold whole numbers, missing for the output of the model."""
