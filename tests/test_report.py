"""The report: its numbers, its files, and what it refuses."""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from actgrad.analysis import claims, tables
from actgrad.analysis.evidence import Evidence
from actgrad.errors import UserError
from actgrad.report import figures as plots
from actgrad.report import page as html
from actgrad.results import run as results
from actgrad.results.run import LAYERS, CellResult
from conftest import ROOT, sentence

HOSTILE = "<script>alert(1)</script>"


def made_up(activation: str, seed: int, accuracy: float, epochs: int = 3, **metrics) -> CellResult:
    """A cell whose figures are known, in the form of a real one."""
    step = np.arange(1, 10 * epochs + 1)
    history = pd.DataFrame({"epoch": range(1, epochs + 1), "step": range(10, 10 * epochs + 1, 10)})
    for name in results.HISTORY:
        history[name] = np.linspace(0.1, accuracy, epochs) if "accuracy" in name else np.linspace(2, 1, epochs)
    gradients = pd.DataFrame({"step": step, **{layer: np.float32(i + 1) / step for i, layer in enumerate(LAYERS)}})
    measured = {
        "units": 6,
        "delta_rms": 0.1,
        "slope_ms": 0.5,
        "weight_gain": 2.0,
        "pooling_gain": 0.25,
        "dead": 0,
        "died": 0,
        "revived": 0,
        "saturated": 0.0,
    }
    probe = pd.DataFrame([{"epoch": e, "step": 10 * e, "layer": layer, **measured} for e in range(epochs + 1) for layer in LAYERS])
    z = np.linspace(-6, 6, 25)
    values = dict.fromkeys((results.TRAIN_ACCURACY, results.VAL_ACCURACY, results.TEST_ACCURACY), accuracy)
    return CellResult(
        config=f"data: {{source: '{HOSTILE}', licence: ''}}\nrecipe: {{name: r, input_scaling: none, optimizer: Adam, learning_rate: 0.1, "
        "batch_size: 2, epochs: 3, kernel_initializer: glorot_uniform}\nmodel: {pooling: max}\n",
        history=history,
        gradients=gradients,
        probe=probe,
        activation=pd.DataFrame({"z": z, "value": z, "derivative": 1.0}),
        metrics={
            "key": f"toy/{activation}-{seed}",
            "status": "finished",
            "validation_split": "val",
            "last": values,
            "best": {"epoch": epochs} | values,
            "affine": {"folding_error": 0.5, "superposition_error": 0.2},
            "data_sha256": "0" * 64,
            "code_sha256": "1" * 64,
            "environment": {"tensorflow": "2.21.0"},
        }
        | metrics,
    )


def study_cells(**metrics) -> dict[str, list[CellResult]]:
    return {"relu": [made_up("relu", 0, 0.5), made_up("relu", 1, 0.7)], "snake": [made_up("snake", 0, 0.9, **metrics), made_up("snake", 1, 0.9)]}


def page(cells: dict[str, list[CellResult]], drawn: bool = False, **more) -> str:
    evidence = Evidence("toy", cells, **more)
    return html.report(evidence, claims.ledger(evidence), plots.study_drawings(evidence) if drawn else [])


def test_a_seed_that_stays_below_twice_the_accuracy_of_guessing_did_not_learn():
    guessing = 1 / 6  # six units in the last layer
    cells = [made_up("relu", seed, accuracy) for seed, accuracy in enumerate((guessing, 1.9 * guessing, 2.1 * guessing))]
    diverged = made_up("relu", 3, 0.1, status="diverged", last={}, best={})
    assert tables.summary({"relu": [*cells, diverged]})["not_learned"].tolist() == [2]
    table = tables.seeds({"relu": [*cells, diverged]})
    assert table["seed"].tolist() == [0, 1, 2, 3]
    assert table["test_accuracy_last"].iloc[:3].tolist() == [guessing, 1.9 * guessing, 2.1 * guessing]
    assert np.isnan(table["test_accuracy_last"].iloc[3])


def test_of_two_classes_a_network_has_learned_from_halfway_between_guessing_and_1():
    cell = made_up("relu", 0, 0.7)
    cell.probe["units"] = 2
    assert tables.guessing({"relu": [cell]}) == 0.5
    assert tables.learned_from({"relu": [cell]}) == 0.75
    assert tables.summary({"relu": [cell]})["not_learned"].tolist() == [1]


def test_summary_is_mean_and_sample_deviation_over_seeds():
    table = tables.summary(study_cells()).set_index("activation")
    relu = table.loc["relu"]
    assert (relu["seeds"], relu["diverged"]) == ("0 1", 0)
    assert relu["val_accuracy_last_mean"] == pytest.approx(0.6)
    assert relu["val_accuracy_last_sd"] == pytest.approx(np.sqrt(0.02))
    assert table.loc["snake", "val_accuracy_best_sd"] == 0
    assert relu["conv1_gradient_norm_first_mean"] == 1
    assert relu["conv1_gradient_norm_last_mean"] == pytest.approx(1 / 30)
    assert relu["output_gradient_norm_first_mean"] == 5


def test_one_seed_has_no_deviation():
    table = tables.summary({"relu": [made_up("relu", 0, 0.5)]})
    assert np.isnan(table.loc[0, "val_accuracy_last_sd"])
    assert table.loc[0, "val_accuracy_last_mean"] == 0.5


def test_the_page_is_one_file_and_names_are_escaped():
    text = page(study_cells(), drawn=True)
    assert text.count("<img src=") == 8
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.search(r"""src=["'](?!data:image/svg)""", text)
    text = re.sub("<img .*", "", text)
    assert not re.search(r"""href=["'](?!#|[a-z_]+\.csv|figures/[a-z_]+\.(svg|png))""", text)
    assert "60.0<small> ± 14.1</small>" in text


def test_the_page_opens_with_every_claim_and_its_links_lead_somewhere():
    text = page(study_cells(), drawn=True)
    assert text[: text.index("Results</h2>")].count("<details>") == len(claims.CLAIMS)
    assert text.index("What holds</h2>") < text.index("Results</h2>")
    assert "The study has no cells of linear, sigmoid." in text
    targets = set(re.findall(r'href="#([^"]+)"', text))
    assert targets <= set(re.findall(r'id="([^"]+)"', text))
    assert targets


def test_pairs_are_coloured_only_where_they_are_told_apart():
    alike = page(study_cells())
    assert alike.count('class="alike"') == 2
    assert ">-30.0</td>" in alike
    assert ">+30.0</td>" in alike
    apart = {name: [made_up(name, seed, base + 0.001 * seed**2) for seed in range(4)] for name, base in (("relu", 0.5), ("snake", 0.9))}
    for seed, cell in enumerate(apart["relu"]):
        cell.metrics["last"][results.TEST_ACCURACY] += 0.001 * seed
    assert re.findall(r'class="(ahead|behind|alike)"', page(apart)) == ["behind", "ahead"]


def test_a_study_without_validation_split_is_labelled():
    cells = study_cells()
    for of_activation in cells.values():
        for cell in of_activation:
            cell.metrics["validation_split"] = "test"
    text = page(cells)
    assert "test as validation" in text
    assert "No validation split was taken" in text
    assert "No validation split was taken" not in page(study_cells())


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("both_seeds", [False, True])
def test_a_cell_that_diverged_in_its_first_epoch_is_shown_and_named(tmp_path, steps, both_seeds):
    cells = study_cells()
    for seed in (0, 1) if both_seeds else (0,):
        whole = made_up("snake", seed, 0.9, status="diverged", last={}, best={})
        rows = {"history": whole.history[:0], "probe": whole.probe[whole.probe["epoch"] == 0], "gradients": whole.gradients[:steps]}
        dataclasses.replace(whole, **rows).write(tmp_path / str(seed))
        cells["snake"][seed] = CellResult.read(tmp_path / str(seed))
    text = page(cells, drawn=True)
    assert "toy/snake-0 diverged" in text
    table = tables.summary(cells).set_index("activation")
    assert table.loc["snake", "diverged"] == 1 + both_seeds
    assert both_seeds or table.loc["snake", "val_accuracy_last_mean"] == pytest.approx(0.9)
    assert plots.cell_gradient_norms(cells["snake"][0])
    assert plots.cell_learning_curves(cells["snake"][0])


def test_cells_of_different_recipes_make_no_report():
    cells = study_cells()
    cells["snake"][1] = dataclasses.replace(cells["snake"][1], config=cells["snake"][1].config.replace("0.1", "0.2"))
    with pytest.raises(UserError, match="toy/snake-1 was trained on other data or under another recipe than toy/relu-0"):
        tables.belong_together(cells)
    tables.belong_together(study_cells())


def test_every_claim_names_a_figure_that_there_is():
    more = {"experiments": {"he": study_cells()}, "depth": DEPTH, "trials": TRIALS, "times": TIMES}
    drawn = {drawing.name for drawing in plots.study_drawings(Evidence("toy", study_cells(), **more))} | {"article_curve"}
    assert {claim.figure for claim in claims.CLAIMS} <= drawn


def test_coordinates_of_a_figure_are_rounded_and_its_words_are_not():
    figure = Figure(figsize=(4, 3))
    figure.subplots().text(0.5, 0.5, "processor of 2.2567 GHz")
    svg = plots.image(figure, "svg").decode()
    assert "2.2567 GHz" in svg
    assert not re.search(r' [dxy]="[^"]*\b[1-9]\d*\.\d\d', svg)


def test_the_same_results_give_the_same_bytes():
    assert page(study_cells(), drawn=True) == page(study_cells(), drawn=True)


def test_one_colour_per_activation_wherever_it_appears():
    colours = plots.styles(["snake", "relu", "swoosh"])
    assert colours["relu"] == plots.styles(["relu"])["relu"]
    assert len({colour for colour, _ in colours.values()}) == 3


def test_a_gradient_of_zero_leaves_a_gap_and_no_warning():
    cells = study_cells()
    for of_activation in cells.values():
        for cell in of_activation:
            cell.gradients.loc[5:, "conv1"] = 0
            cell.probe.loc[cell.probe["layer"] == "conv1", "delta_rms"] = 0
    assert "<img" in page(cells, drawn=True)


def test_report_writes_what_it_read(script, tmp_path, trained):
    (tmp_path / "params.yaml").write_text("datasets: [digits]\nactivations: [tanh]\nseeds: [0]\nrecipe: default\n")
    stale = tmp_path / "runs" / "digits" / "removed-0"
    stale.mkdir(parents=True)
    trained[1].write(tmp_path / "runs" / "digits" / "tanh-0")
    done = script("report.py", "data=digits")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "reports" / "digits"
    figures = {path.stem for path in folder.glob("figures/*.svg")}
    assert figures == {"seeds", "learning_curves", "gradient_norms", "delta", "attenuation", "census", "affine", "activations"}
    assert {path.stem for path in folder.glob("figures/*.png")} == figures
    assert {path.name for path in folder.glob("*.*")} == {f"{name}.csv" for name in figures} | {
        "index.html",
        "claims.json",
        "summary.csv",
        "pairs.csv",
    }
    one_process = plots.study_drawings(Evidence("digits", {"tanh": [CellResult.read(tmp_path / "runs" / "digits" / "tanh-0")]}))
    assert [drawing.svg for drawing in one_process] == [(folder / "figures" / f"{drawing.name}.svg").read_bytes() for drawing in one_process]
    row = pd.read_csv(folder / "summary.csv").loc[0]
    assert row["val_accuracy_last_mean"] == trained[1].metrics["last"]["val/accuracy"]
    assert row["conv1_gradient_norm_first_mean"] == pytest.approx(trained[1].gradients["conv1"].iloc[0])


DEPTH = pd.DataFrame(
    [
        {"activation": name, "seed": seed, "depth": depth, "attenuation": 0.1 * depth}
        for name in ("relu", "snake")
        for seed in (0, 1)
        for depth in (2, 3)
    ]
)
TRIALS = pd.DataFrame(
    {
        "activation": ["relu", "relu", "snake", "snake"],
        "learning_rate": [0.01, 0.1] * 2,
        "seed": 0,
        "epochs": 2,
        "status": ["finished", "finished", "finished", "diverged"],
        "val_accuracy": [0.5, 0.7, 0.6, np.nan],
    }
)
TIMES = {
    "machine": {"processor": "abacus", "cores": 2},
    "dataset": "toy",
    "batch_size": 8,
    "activations": {
        name: {
            "layers_ms": 1.0,
            "step_ms": 2.0,
            "layers_to_relu": dict(zip(("value", "low", "high"), ends, strict=True)),
            "step_to_relu": {"value": 1.0, "low": None, "high": None},
        }
        for name, ends in (("relu", (1.0, 1.0, 1.0)), ("sigmoid", (2.0, 1.5, 2.5)), ("tanh", (2.0, 1.5, 2.5)), ("absent", (3.0, 2.0, 4.0)))
    },
}


def test_every_kind_of_evidence_has_its_figure_and_its_data():
    study = study_cells()
    other = {name: [made_up(name, seed, value) for seed in (0, 1)] for name, value in (("relu", 0.8), ("snake", 0.6))}
    for of_activation in other.values():
        for index, cell in enumerate(of_activation):
            of_activation[index] = dataclasses.replace(cell, config=cell.config.replace("glorot_uniform", "he_uniform"))
    more = {"experiments": {"he": other}, "depth": DEPTH, "trials": TRIALS, "times": TIMES}
    drawings = {drawing.name: drawing for drawing in plots.study_drawings(Evidence("toy", study, **more))}
    assert set(drawings) == {
        "seeds",
        "learning_curves",
        "gradient_norms",
        "delta",
        "attenuation",
        "depth",
        "census",
        "learning_rates",
        "experiments",
        "affine",
        "activations",
        "times",
    }
    assert all(len(drawing.data) and drawing.png.startswith(b"\x89PNG") and len(drawing.caption) > 60 for drawing in drawings.values())
    assert drawings["times"].data["activation"].tolist() == ["relu"]
    assert drawings["learning_rates"].data["mean"].tolist() == [0.5, 0.7, 0.6, 0.0]
    assert drawings["depth"].data["mean"].tolist() == pytest.approx([0.2, 0.3] * 2)
    means = drawings["experiments"].data.set_index(["experiment", "activation"])["mean"]
    assert means.to_dict() == pytest.approx({("study", "relu"): 0.6, ("study", "snake"): 0.9, ("he", "relu"): 0.8, ("he", "snake"): 0.6})
    text = page(study, **more)
    assert "<dt>he</dt><dd>recipe.kernel_initializer: he_uniform</dd>" in text
    assert re.search(r"relu minus snake</td>\s*<td class=\"alike\">-30.0</td>\s*<td class=\"alike\">\+20.0</td>", text)
    assert "For relu, snake the best rate is the smallest or the largest that was tried" in text


def test_the_curve_of_the_article_is_drawn_where_the_study_follows_it():
    cells = {
        "relu": [
            dataclasses.replace(
                made_up("relu", 0, 0.5, epochs=10),
                config=json.dumps({"recipe": claims.TRAINING, "model": {"pooling": "max", "batch_normalization": False}}),
            )
        ]
    }
    table = {drawing.name: drawing for drawing in plots.study_drawings(Evidence("cifar10_jpeg", cells))}["article_curve"].data
    assert table.set_index(["split", "epoch"]).loc[("val", 10), "article"] == 0.5417
    assert table.set_index(["split", "epoch"]).loc[("val", 10), "mean"] == pytest.approx(0.5)
    assert "article_curve" not in {drawing.name for drawing in plots.study_drawings(Evidence("digits", cells))}


def test_what_an_experiment_changes_is_named():
    study = study_cells()
    assert tables.differences(study, study) == {}
    rates = {
        name: [dataclasses.replace(cells[0], config=cells[0].config.replace("rate: 0.1", f"rate: {rate}"))]
        for (name, cells), rate in zip(study.items(), (0.2, 0.01), strict=True)
    }
    assert tables.differences(study, rates) == {"recipe.learning_rate": "0.01 to 0.2"}


def test_signal_is_measured_beside_what_derivatives_and_weights_predict():
    cell = made_up("relu", 0, 0.5)
    cell.probe.loc[cell.probe["layer"] == "conv1", "delta_rms"] = 0.02
    table = tables.signal({"relu": [cell]}).set_index(["epoch", "layer"])
    assert table.loc[(0, "conv1"), "attenuation"] == pytest.approx(0.2)  # 0.02 of conv2's 0.1
    assert table.loc[(0, "conv1"), "predicted"] == pytest.approx(0.5)  # sqrt(0.5 * 2 * 0.25)
    assert table.loc[(0, "conv1"), "derivative_factor"] == pytest.approx(np.sqrt(0.5))
    assert np.isnan(table.loc[(0, "output"), "attenuation"])


def test_report_imports_no_tensorflow(tmp_path, trained):
    (tmp_path / "params.yaml").write_text("datasets: [digits]\nactivations: [tanh]\nseeds: [0]\nrecipe: default\n")
    trained[1].write(tmp_path / "runs" / "digits" / "tanh-0")
    code = (
        f"import json, runpy, sys; sys.argv = ['report.py', 'data=digits']; sys.path.insert(0, {str(ROOT / 'src')!r});"
        f"runpy.run_path({str(ROOT / 'src' / 'report.py')!r}, run_name='__main__'); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "matplotlib" in loaded
    assert not {"tensorflow", "keras", "mlflow", "hydra"} & set(loaded)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["digits"], "'digits' is not understood; write data=NAME"),
        (["data=digts"], "data=digts is not in params.yaml, whose datasets are digits; add it there"),
        (["data=../runs"], "is not in params.yaml"),
        (["data=digits"], "runs/digits/relu-0/config.yaml is missing; train the cell: dvc repro"),
    ],
)
def test_report_refuses_with_one_sentence_and_keeps_what_was_there(script, tmp_path, arguments, expected):
    (tmp_path / "params.yaml").write_text("datasets: [digits]\nactivations: [relu]\nseeds: [0]\nrecipe: default\n")
    old = tmp_path / "reports" / "digits" / "index.html"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    assert expected in sentence(script("report.py", *arguments))
    assert old.read_text() == "old"
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["digits"]


def test_without_params_there_is_no_study(script):
    assert "params.yaml is missing" in sentence(script("report.py", "data=digits"))
