"""The page that GradientMonitor.report writes."""

import html
import json
import math

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from actgrad.diagnosis.signal import initial_loss, sentence

POINTS = 400
"""Maximum number of steps in a chart."""
ON_LOG_SCALE = "A red triangle is 0; what is not a finite number is left out."
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --line: #d5d5d5; --soft: #5d5d5d }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --line: #3a3d42; --soft: #a9a9a9 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } .answer { font-size: 1.15rem }
table { border-collapse: collapse; font-size: 0.9rem }
th, td { text-align: left; padding: 0.25rem 0.8rem 0.25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td:nth-child(4) { white-space: nowrap }
.scroll { overflow-x: auto } p.note { color: var(--soft); font-size: 0.9rem }
"""
SCRIPT = """
const dark = matchMedia('(prefers-color-scheme: dark)');
function draw() {
  for (const [name, spec] of Object.entries(SPECS))
    vegaEmbed('#' + name, spec, {actions: false, renderer: 'svg', theme: dark.matches ? 'dark' : undefined, config: {background: 'transparent'}});
}
dark.addEventListener('change', draw);
draw();
"""


def page(steps: pd.DataFrame, probes: pd.DataFrame, layers: pd.DataFrame, findings: pd.DataFrame) -> str:
    """A self-contained HTML page, made from the tables of GradientMonitor."""
    order = layers["layer"].tolist()
    charts: dict[str, alt.Chart | alt.VConcatChart] = {}
    answer = "No step was recorded."
    if len(steps):
        charts["gradients"] = _over_steps(steps, order, "grad_norm", "Norm of the gradient")
        charts["updates"] = _over_steps(steps, order, "update_ratio", "Update norm by weight norm", band=(1e-4, 1e-2))
        answer = f"{len(order)} layers were recorded over {int(steps['step'].max()):,} steps."
    if len(probes):
        charts["signal"] = _signal(probes)
        charts["units"] = _units(probes)
        first, last = (probes[probes["step"] == step] for step in (probes["step"].min(), probes["step"].max()))
        begin = f"{_when(probes['step'].min()).capitalize()}: {initial_loss(first)} {sentence(first)}"
        answer = begin if len(first) == len(probes) else f"{begin} At the end: {sentence(last)}"
    sections = [
        (
            "signal",
            "Signal layer by layer",
            "Left to right is the order of the forward pass. Top: the gradient of one example's loss. Bottom: the spread of the activations. "
            + ON_LOG_SCALE,
        ),
        (
            "gradients",
            "Gradient of each layer's weights",
            "It sums over positions and multiplies by the layer's input, so it may grow where the signal above shrinks. " + ON_LOG_SCALE,
        ),
        ("updates", "Size of an update", "The band is where it usually lies, 1e-4 to 1e-2 (Karpathy)."),
        ("units", "Dead units", "Share of units whose derivative is 0 for every example that was measured."),
    ]
    body = "".join(
        f'<h2>{title}</h2><p class="note">{note}</p><div class="scroll"><div id="{name}"></div></div>'
        for name, title, note in sections
        if name in charts
    )
    specs = {name: json.loads(chart.to_json()) for name, chart in charts.items()}
    library = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub lacks the default of snippet
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Gradients</title>'
        f"<style>{STYLE}</style></head><body><h1>What training does to each layer</h1>"
        f'<p class="answer">{html.escape(answer)}</p>{body}<h2>Findings of published rules</h2>{_table(findings)}'
        f"<script>{library}</script><script>const SPECS = {_safe(specs)};{SCRIPT}</script></body></html>"
    )


def _safe(specs: dict) -> str:
    return json.dumps(specs).replace("</", "<\\/")


def _over_steps(steps: pd.DataFrame, order: list[str], column: str, title: str, band: tuple[float, float] | None = None) -> alt.Chart:
    last = int(steps["step"].max())
    chosen = np.unique(np.linspace(1, last, min(last, POINTS)).round().astype(int))
    data = steps[steps["step"].isin(chosen)][["step", "layer", column]].replace([np.inf, -np.inf], np.nan).dropna()
    data, zeros = _on_log_scale(data, column)
    picked = alt.selection_point(fields=["layer"], bind="legend")
    lines = (
        alt.Chart(data)
        .mark_line(strokeWidth=1.3)
        .encode(
            x=alt.X("step:Q", title="Step"),
            y=_log_axis(data, column, title),
            color=alt.Color("layer:N", sort=order, scale=alt.Scale(scheme="viridis"), title="Layer", legend=alt.Legend(symbolLimit=60)),
            opacity=alt.condition(picked, alt.value(1), alt.value(0.08)),
            tooltip=["step", "layer", alt.Tooltip(column, format=".3g")],
        )
        .add_params(picked)
    )
    lines += _zeros(zeros).encode(x="step:Q", y=f"{column}:Q", tooltip=["step", "layer"])
    if band is None:
        return lines.properties(width=560, height=260)
    area = alt.Chart(pd.DataFrame({"low": [band[0]], "high": [band[1]]})).mark_rect(opacity=0.12, color="#2a9d8f").encode(y="low:Q", y2="high:Q")
    return (area + lines).properties(width=560, height=260)


def _signal(probes: pd.DataFrame) -> alt.VConcatChart:
    steps = [probes["step"].min(), probes["step"].max()]
    data = probes[probes["step"].isin(steps)].copy()
    data["when"] = np.where(data["step"] == steps[0], _when(steps[0]), "at the end")
    order = probes.loc[probes["step"] == steps[0], "layer"].tolist()
    panels = []
    for column, title in (("preact_grad_rms", "dL/dz, root mean square"), ("act_std", "Activations, deviation")):
        shown, zeros = _on_log_scale(data[["layer", "when", column]].replace([np.inf, -np.inf], np.nan).dropna(), column)
        panels.append(
            (
                alt.Chart(shown)
                .mark_line(point=True)
                .encode(
                    x=alt.X("layer:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40)),
                    y=_log_axis(shown, column, title),
                    color=alt.Color("when:N", title=None, sort=[_when(steps[0]), "at the end"], scale=alt.Scale(range=["#e76f51", "#287271"])),
                    tooltip=["layer", "when", alt.Tooltip(column, format=".3g")],
                )
                + _zeros(zeros).encode(x=alt.X("layer:N", sort=order), y=f"{column}:Q", tooltip=["layer", "when"])
            ).properties(width=max(560, min(900, 28 * len(order))), height=170)
        )
    return alt.vconcat(*panels)


def _when(step: int) -> str:
    return "before training" if step == 0 else f"step {step:,}"


def _on_log_scale(data: pd.DataFrame, column: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows with a value above 0, and the rows with 0, moved to the axis's lower end because a logarithmic axis has no 0."""
    above, zeros = data[data[column] > 0], data[data[column] == 0]
    lowest = above[column].min() / 10 if len(above) else 1.0
    return above, zeros.assign(**{column: lowest})


def _log_axis(data: pd.DataFrame, column: str, title: str) -> alt.Y:
    """A logarithmic axis with a line at each power of ten, or at Vega's usual places if the data do not span one."""
    low, high = np.log10(data[column].min()) if len(data) else 0.0, np.log10(data[column].max()) if len(data) else 0.0
    powers = [float(f"1e{power}") for power in range(math.floor(low), math.ceil(high) + 1)]
    axis = alt.Axis(format=".0e", values=powers[:: max(1, len(powers) // 10)]) if high - low > 1 else alt.Axis(format="~g")
    return alt.Y(f"{column}:Q", title=title, scale=alt.Scale(type="log"), axis=axis)


def _zeros(zeros: pd.DataFrame) -> alt.Chart:
    return alt.Chart(zeros).mark_point(shape="triangle-down", color="#c1121f", filled=True, size=50)


def _units(probes: pd.DataFrame) -> alt.Chart:
    data = probes[probes["hidden"].astype(bool)][["step", "layer", "dead", "units"]].astype({"dead": float, "units": float})
    data["share"] = data["dead"] / data["units"]
    order = data.loc[data["step"] == data["step"].min(), "layer"].tolist()
    return (
        alt.Chart(data)
        .mark_line(point=True)
        .encode(
            x=alt.X("step:Q", title="Step", scale=alt.Scale(type="symlog")),
            y=alt.Y("share:Q", title="Dead units", axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("layer:N", sort=order, scale=alt.Scale(scheme="viridis"), title="Layer", legend=alt.Legend(symbolLimit=60)),
            tooltip=["step", "layer", "dead", "units"],
        )
        .properties(width=560, height=220)
    )


def _table(findings: pd.DataFrame) -> str:
    if findings.empty:
        return "<p>No rule fired.</p>"
    rows = "".join(
        f"<tr><td>{html.escape(str(one['rule']))}</td><td>{html.escape(one['layer'])}</td><td>{one['step']:,}</td><td>{one['value']:.3g}</td>"
        f"<td>{html.escape(one['threshold'])} ({html.escape(one['source'])})</td><td>{html.escape(one['seen'])}</td>"
        f"<td>{html.escape(one['remedy'])}{_brought(one['gained'])}</td></tr>"
        for one in findings.to_dict("records")
    )
    columns = ("Finding", "Layer", "First at step", "Value", "Rule", "In actgrad's own runs it", "What one usually tries")
    head = f"<tr>{''.join(f'<th>{column}</th>' for column in columns)}</tr>"
    note = "The rules contradict each other; each is shown with its own threshold."
    return f'<p class="note">{note}</p><div class="scroll"><table>{head}{rows}</table></div>'


def _brought(gained: str) -> str:
    return f'<p class="note">{html.escape(gained)}</p>' if gained else ""
