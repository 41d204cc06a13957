"""Names of what the monitor measures. Imports nothing, so that readers of results need no Keras."""

SATURATION = 0.05
"""A derivative below this share of the function's largest counts as saturated."""

COUNTS = ("dead", "newly_dead", "revived")
PROBE_COLUMNS = ("layer", "units", "preact_grad_rms", "slope_ms", "weight_gain", "pooling_gain", *COUNTS, "saturated")
"""Columns of LayerProbe.measure: one row a layer."""
