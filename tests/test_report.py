"""The report: its numbers, its files, and refused input."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from actgrad.analysis import claims, tables
from actgrad.analysis.claims import ledger, ledgers
from actgrad.analysis.claims.article import BUILD, NETWORK, TRAINING
from actgrad.analysis.evidence import Evidence
from actgrad.analysis.ranking import ranking
from actgrad.analysis.runs import Runs
from actgrad.report import embedding, figures
from actgrad.report import page as pages
from actgrad.report.content import content
from actgrad.report.experience import COUNTS, REMEDIES, with_report
from actgrad.report.provenance import provenance
from actgrad.results.run import RunResult
from actgrad.training.names import TEST_ACCURACY
from conftest import LAYERS, ROOT, SITES, as_project, refuses, sentence
from made_up_runs import DATA, DEEP, HOSTILE, LEAKY, TIMES, TRIALS, evidence, made_up, study_runs


def page(*arguments, pictures: bool = False, **keywords) -> str:
    """The page of a report. Drawing its figures takes two seconds."""
    one = evidence(*arguments, **keywords)
    ranked = ranking(one)
    shown = figures.shown(one, ranked)
    made = [figures.drawing(figure, shown) for figure in figures.FIGURES if pictures and figure.data(one) is not None]
    judged = ledgers(one)
    slots = pages.slots(one, ranked, judged, shown, [drawing.name for drawing in made])
    return pages.page(one, judged, shown, made, provenance(one, DATA), slots)


def drawn(*arguments, **keywords) -> dict[str, figures.Drawing]:
    one = evidence(*arguments, **keywords)
    shown = figures.shown(one, ranking(one))
    return {figure.name: figures.drawing(figure, shown) for figure in figures.FIGURES if figure.data(one) is not None}


def tables_of(*arguments, **keywords) -> dict[str, pd.DataFrame]:
    """The table of each figure."""
    one = evidence(*arguments, **keywords)
    return {figure.name: table for figure in figures.FIGURES if (table := figure.data(one)) is not None}


def test_summary_is_mean_and_sample_deviation_over_seeds():
    table = tables.summary(study_runs()).set_index("activation")
    relu = table.loc["relu"]
    assert (relu["seeds"], relu["diverged"]) == ("0 1", 0)
    assert relu["val_accuracy_last_mean"] == pytest.approx(0.6)
    assert relu["val_accuracy_last_sd"] == pytest.approx(np.sqrt(0.02))
    assert table.loc["snake", "val_accuracy_best_sd"] == 0
    assert relu["first_layer_gradient_norm_first_mean"] == 1
    assert relu["first_layer_gradient_norm_last_mean"] == pytest.approx(1 / 30)
    assert relu["last_layer_gradient_norm_first_mean"] == 5


def test_one_seed_has_no_deviation():
    table = tables.summary({"relu": [made_up("relu", 0, 0.5)]})
    assert np.isnan(table.loc[0, "val_accuracy_last_sd"])
    assert table.loc[0, "val_accuracy_last_mean"] == 0.5


def test_the_page_is_one_file_and_names_are_escaped():
    text = page(study_runs(), pictures=True)
    assert text.count("<img src=") == 10
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.search(r"""src=["'](?!data:image/svg)""", text)
    text = re.sub("<img .*", "", text)
    assert not re.search(r"""href=["'](?!#|data:,|[a-z_]+\.(csv|json)|figures/[a-z_]+\.svg)""", text)
    assert "60.0<small> ± 14.1</small>" in text


def test_the_page_opens_with_every_claim_that_applies_and_its_links_lead_somewhere():
    text = page(study_runs(), pictures=True)
    first = text[text.index("What holds</h2>") : text.index('<h2 id="results"')]
    judged = [finding["verdict"] != claims.NOT_MEASURED for finding in ledger(evidence(study_runs()))]
    assert first.count("<details>") == sum(judged) > 0
    assert f"{len(judged) - sum(judged)} claims could not be judged here" in first
    assert "The study has no runs of linear, sigmoid." in first
    targets, ids = set(re.findall(r'href="#([^"]+)"', text)), re.findall(r'<(?:h2|figure) id="([^"]+)"', text)
    assert targets <= set(ids)
    assert targets
    assert len(ids) == len(set(ids))


def test_pairs_are_coloured_only_where_the_difference_is_significant():
    alike = page(study_runs())
    assert alike.count('class="alike"') == 2
    assert ">-30.0</td>" in alike
    assert ">+30.0</td>" in alike
    apart = {name: [made_up(name, seed, base + 0.001 * seed**2) for seed in range(4)] for name, base in (("relu", 0.5), ("snake", 0.9))}
    for seed, run in enumerate(apart["relu"]):
        run.metrics["last"][TEST_ACCURACY] += 0.001 * seed
    assert re.findall(r'class="(ahead|behind|alike)"', page(apart)) == ["ahead", "behind"]


def test_a_study_without_validation_split_is_labelled():
    runs = study_runs()
    for of_activation in runs.values():
        for run in of_activation:
            run.metrics["validation_split"] = "test"
    text = page(runs)
    assert "test as validation" in text
    assert "No validation split was taken" in text
    assert "No validation split was taken" not in page(study_runs())


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("both_seeds", [False, True])
def test_a_run_that_diverged_in_its_first_epoch_is_shown_and_named(tmp_path, steps, both_seeds):
    runs = study_runs()
    for seed in (0, 1) if both_seeds else (0,):
        whole = made_up("snake", seed, 0.9, status="diverged", last={}, best={}, linearity={})
        rows = {"history": whole.history[:0], "probes": whole.probes[whole.probes["epoch"] == 0], "steps": whole.steps[whole.steps["step"] <= steps]}
        dataclasses.replace(whole, **rows).write(tmp_path / str(seed))
        runs["snake"][seed] = RunResult.read(tmp_path / str(seed))
    text = page(runs, {"he": study_runs("he")})
    assert "toy/snake/baseline-0 diverged" in text
    table = tables.summary(runs).set_index("activation")
    assert table.loc["snake", "diverged"] == 1 + both_seeds
    assert both_seeds or table.loc["snake", "val_accuracy_last_mean"] == pytest.approx(0.9)


def test_vega_lite_knows_every_word_of_every_chart():
    """A report does not check this, because it takes longer than to draw."""
    one = evidence(study_runs(), {"he": study_runs("he"), **DEEP, **LEAKY}, trials=TRIALS, times=TIMES)
    shown = figures.shown(one, ranking(one))
    for figure in figures.FIGURES:
        if figure.data(one) is not None:
            figure.chart(shown).to_dict()


def test_every_claim_names_a_figure_that_there_is():
    more = {"others": {"he": study_runs("he"), **DEEP, **LEAKY}, "trials": TRIALS, "times": TIMES}
    assert {claim.figure for claim in claims.CLAIMS} <= {*drawn(study_runs(), **more), "article_curve", ""}


def test_weights_that_not_all_networks_have_are_in_the_data_alone():
    """PReLU's slopes have a place in the table of norms, but are not drawn."""
    runs = study_runs()
    for run in runs["snake"]:
        run.metrics["layers"].insert(1, {"layer": SITES[0], "kind": "ChannelPReLU", "parameters": 6})
        object.__setattr__(run, "steps", pd.concat([run.steps, run.steps[run.steps["layer"] == "conv1"].assign(layer=SITES[0])]))
    table = tables_of(runs)["gradient_norms"]
    assert table.groupby("activation")["layer"].nunique().to_dict() == {"relu": 5, "snake": 6}
    places = table[table["activation"] == "snake"].drop_duplicates("layer").set_index("layer")["place"]
    assert places.to_dict() == {"conv1": 1, SITES[0]: 2, "conv2": 3, "conv3": 4, "dense1": 5, "output": 6}
    rows = drawn_rows(runs)["signals"].query("measure == 'weight gradient'")
    assert list(dict.fromkeys(rows["layer"])) == [*LAYERS]


def test_the_page_holds_lines_over_training_of_layers_that_a_control_offers_and_of_seeds_of_the_headline():
    """A study of 150 runs, 63 of them of 16 layers, had a page of 1.2 MB. Ends of training keep every layer and every seed."""
    others = study_runs("other")
    for run in (run for runs in others.values() for run in runs):
        run.metrics["layers"].append({"layer": "dense9", "kind": "Dense", "parameters": 6})
        object.__setattr__(run, "steps", pd.concat([run.steps, run.steps[run.steps["layer"] == "conv1"].assign(layer="dense9")]))
    study = evidence(study_runs(), {"other": others})
    rows = figures.shown(study, ranking(study)).rows
    lines = rows["signals"][rows["signals"]["when"] == ""]
    for table in (lines, rows["units"]):
        assert set(table.loc[table["condition"] == "baseline", "seed"]) == {"0", "1", "mean"}
        assert set(table.loc[table["condition"] == "other", "seed"]) == {"mean"}
    ends = rows["signals"][rows["signals"]["layer"] == "dense9"]
    assert set(ends["when"]) == {"before training", "after training"}
    assert set(ends["seed"]) == {"0", "1", "mean"}


def drawn_rows(runs: Runs) -> Mapping[str, pd.DataFrame]:
    return figures.shown(evidence(runs), ranking(evidence(runs))).rows


def test_coordinates_of_a_picture_are_rounded_and_its_words_are_not():
    rows = pd.DataFrame({"x": [0.123456, 0.2], "y": [1 / 3, 1 / 7]})
    encoding = {"x": {"field": "x", "type": "quantitative", "title": "processor of 2.2567 GHz"}, "y": {"field": "y", "type": "quantitative"}}
    svg = figures.picture({"data": {"name": "rows"}, "mark": "line", "encoding": encoding}, {"rows": rows})
    assert "2.2567 GHz" in svg
    assert not re.search(r' (d|x|y|transform)="[^"]*\d\.\d\d', svg)


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes():
    assert content(evidence(study_runs()), DATA) == content(evidence(study_runs()), DATA)


def test_one_colour_per_activation_wherever_it_appears():
    colours = figures.styles(["snake", "relu", "swoosh"])
    assert colours["relu"] == figures.styles(["relu"])["relu"]
    assert len({colour for colour, _ in colours.values()}) == 3


@pytest.mark.parametrize("ground", [1.0, 0.0095])
def test_colours_stand_out_from_both_grounds(ground):
    """3 to 1 or more, by WCAG 2.1, on white and on the dark ground."""
    every = figures.styles([*figures.STYLES, *(f"own{number}" for number in range(5))])
    assert len({colour for colour, _ in every.values()}) == len(every)
    for name, (colour, _) in every.items():
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        low, high = sorted((0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2], ground))
        assert (high + 0.05) / (low + 0.05) >= 3, name


def test_a_gradient_of_zero_leaves_a_gap_and_no_warning():
    runs = study_runs()
    for of_activation in runs.values():
        for run in of_activation:
            run.gradients.loc[5:, "conv1"] = 0
            run.probe.loc[run.probe["layer"] == SITES[0], "preact_grad_rms"] = 0
    assert "<img" in page(runs, pictures=True)


PATHS = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
PARAMS = "datasets: [digits]\nconditions: [baseline]\nactivations: [tanh]\nseeds: [0]\n"


def test_report_writes_what_it_read(script, tmp_path, trained):
    (tmp_path / "params.yaml").write_text(PARAMS)
    not_listed = tmp_path / "runs" / "digits" / "tanh" / "removed-0"
    not_listed.mkdir(parents=True)
    trained[1].write(tmp_path / "runs" / "digits" / "tanh" / "baseline-0")
    done = script("report.py", "data=digits")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("note: the page does not say how many images there are, because data/digits.npz is not the file of these runs\n")
    folder = tmp_path / "reports" / "digits"
    names = {path.stem for path in folder.glob("figures/*.svg")}
    assert names == {
        *("seeds", "attenuation", "learning_curves", "gradient_norms", "preact_grads", "share_of_next", "update_ratios"),
        *("unit_states", "linearity", "activations"),
    }
    tables = ("summary", "ranking", "pairs", "conditions", "remedies")
    assert {path.name for path in folder.glob("*.*")} == {f"{name}.csv" for name in (*names, *tables)} | {
        "index.html",
        "claims.json",
        "provenance.json",
    }
    row = pd.read_csv(folder / "summary.csv").loc[0]
    assert row["val_accuracy_last_mean"] == float(f"{trained[1].metrics['last']['val/accuracy']:.8g}")
    assert row["first_layer_gradient_norm_first_mean"] == pytest.approx(trained[1].gradients["conv1"].iloc[0])
    facts = json.loads((folder / "provenance.json").read_text())
    assert facts["source"] in (folder / "index.html").read_text()
    assert facts["environments"] == [{"values": trained[1].metrics["environment"], "runs": ["digits/tanh/baseline-0"]}]

    (tmp_path / "README.md").write_text("# a page\n\n<!-- results of digits -->\n<!-- end of results -->\nthe end\n")
    done = script("report.py", "data=digits", "--readme")
    assert done.stdout == "README.md: the results of digits, in place of those of digits\n", done.stderr
    assert "| tanh | " in (tmp_path / "README.md").read_text()
    assert (tmp_path / "README.md").read_text().endswith("<!-- end of results -->\nthe end\n")


def test_every_kind_of_evidence_has_its_figure_and_its_data():
    study = study_runs()
    other = {name: [made_up(name, seed, value, condition="he") for seed in (0, 1)] for name, value in (("relu", 0.8), ("snake", 0.6))}
    for of_activation in other.values():
        for index, run in enumerate(of_activation):
            of_activation[index] = dataclasses.replace(run, config=run.config.replace("glorot_uniform", "he_uniform"))
    more = {"others": {"he": other, **DEEP, **LEAKY}, "trials": TRIALS, "times": TIMES}
    drawings, data = drawn(study, **more), tables_of(study, **more)
    assert set(drawings) == {
        "seeds",
        "attenuation",
        "learning_curves",
        "gradient_norms",
        "preact_grads",
        "share_of_next",
        "update_ratios",
        "depth",
        "unit_states",
        "slopes",
        "alarms",
        "learning_rates",
        "conditions",
        "linearity",
        "activations",
        "times",
    }
    assert all(len(data[name]) and drawing.svg.startswith("<svg") and 60 < len(drawing.caption) < 300 for name, drawing in drawings.items())
    assert data["times"]["activation"].tolist() == ["relu"]
    assert data["slopes"][["slope", "accuracy", "learned"]].to_numpy().tolist() == [["0.25", 0.1, False], ["0.25", 0.6, True]]
    assert {*data["alarms"]["failed"]} == {0, 1}  # one run failed, and some rules look at other activations alone
    assert data["learning_rates"]["mean"].tolist() == [0.5, 0.7, 0.6, 0.0]
    assert data["depth"]["mean"].tolist() == pytest.approx([0.2, 0.2, 0.3, 0.3])
    means = data["conditions"].set_index(["condition", "activation"])["mean"][["baseline", "he"]]
    assert means.to_dict() == pytest.approx({("baseline", "relu"): 0.6, ("baseline", "snake"): 0.9, ("he", "relu"): 0.8, ("he", "snake"): 0.6})
    text = page(study, pictures=True, **more)
    assert "<dt>he</dt><dd>recipe.kernel_initializer: he_uniform</dd>" in text
    assert re.search(r"relu minus snake</td>\s*<td class=\"alike\">-30.0</td>\s*<td class=\"alike\">\+20.0</td>", text)
    assert "For relu, snake the best rate is the smallest or the largest that was tried" in text
    assert "<th>claim</th><th>baseline</th><th>he<br><small>he uniform initial weights</small></th>" in text
    assert "<tr><td>ReLU units can die</td>" in text
    assert '<summary class="answer">Of 18 different trainings 1 failed, too few to show that any of 24 published rules tells of failure' in text
    assert "<dd>model.build: actgrad.networks.mlp.build; model.config.depth: 3; model.config.width: 84</dd>" in text


def test_a_cache_folder_that_cannot_be_written_costs_no_report(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file, where a folder cannot be made")
    monkeypatch.setattr(embedding.pooch, "os_cache", lambda name: tmp_path / "home" / name)
    assert "vega" in embedding.library()


def test_what_a_report_found_of_alarms_replaces_what_it_found_before(tmp_path):
    folder = tmp_path / "reports" / "toy"
    folder.mkdir(parents=True)
    pd.DataFrame([["scaled inputs", 1.2345, np.nan, np.nan, 4, 0, 1]], columns=list(REMEDIES)).to_csv(folder / "remedies.csv", index=False)
    pd.DataFrame([["a", "b", "c", 1, 2, 1, 0, "refuted"]], columns=[*COUNTS, "verdict"]).to_csv(folder / "alarms.csv", index=False)
    before = {"alarms": [{"dataset": "toy", "rule": "old"}, {"dataset": "other", "rule": "kept"}], "remedies": []}
    found = with_report(before, "toy", tmp_path)
    assert [row["rule"] for row in found["alarms"]] == ["kept", "a"]
    assert (found["alarms"][1]["failed"], found["alarms"][1]["fired_failed"], found["alarms"][1]["dataset"]) == (1, 1, "toy")
    assert [(row["points"], row["low"], row["failed_without"]) for row in found["remedies"]] == [(1.23, None, 1)]
    (folder / "alarms.csv").write_text("rule,source\na,b\n")
    with refuses("stale-result", "reports/toy", "dvc repro report@toy"):
        with_report(before, "toy", tmp_path)
    (folder / "alarms.csv").unlink()
    assert [row["rule"] for row in with_report(before, "toy", tmp_path)["alarms"]] == ["kept"]


def test_two_reports_on_the_same_images_do_not_count_their_runs_twice(tmp_path):
    for name, sha256 in {"toy": "a", "all_of_toy": "a", "other": "b"}.items():
        (tmp_path / "reports" / name).mkdir(parents=True)
        (tmp_path / "reports" / name / "provenance.json").write_text(json.dumps({"data_sha256": [sha256]}))
    pd.DataFrame([["scaled inputs", 1, 1, 1, 4, 0, 1]], columns=list(REMEDIES)).to_csv(tmp_path / "reports/all_of_toy/remedies.csv", index=False)
    before = {"alarms": [], "remedies": [{"dataset": "toy"}, {"dataset": "other"}]}
    assert [row["dataset"] for row in with_report(before, "all_of_toy", tmp_path)["remedies"]] == ["all_of_toy", "other"]


def test_the_first_condition_is_the_headline():
    both = {"he": study_runs("he"), "baseline": study_runs()}
    found = Evidence("toy", both)
    assert (found.headline, list(found.other_conditions), found.runs) == ("he", ["baseline"], both["he"])
    assert (found.under("baseline").conditions, found.pairs["condition"].unique().tolist()) == ({"baseline": both["baseline"]}, ["he"])
    text = content(found, DATA)["index.html"].decode()
    assert "each, condition <b>he</b>:" in text
    assert "relu/he 0 1" in text  # runs of a claim, by seed


def test_the_curve_of_the_article_is_drawn_where_the_study_follows_it():
    recipe = json.dumps({"recipe": TRAINING, "model": {"build": BUILD, "config": NETWORK}})
    runs = {"relu": [dataclasses.replace(made_up("relu", 0, 0.5, epochs=10), config=recipe)]}
    table = tables_of(runs, dataset="cifar10_jpeg")["article_curve"]
    assert table.set_index(["split", "epoch"]).loc[("val", 10), "article"] == 0.5417
    assert table.set_index(["split", "epoch"]).loc[("val", 10), "mean"] == pytest.approx(0.5)
    assert "article_curve" in drawn(runs, dataset="cifar10_jpeg")
    assert "article_curve" not in tables_of(runs, dataset="digits")


@pytest.mark.slow
def test_report_imports_no_tensorflow(tmp_path, trained):
    (tmp_path / "params.yaml").write_text(PARAMS)
    trained[1].write(tmp_path / "runs" / "digits" / "tanh" / "baseline-0")
    code = (
        "import json, runpy, sys; sys.argv = ['report.py', 'data=digits'];"
        "runpy.run_path('src/report.py', run_name='__main__'); print(json.dumps(sorted(sys.modules)))"
    )
    env = os.environ | as_project(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "altair" in loaded
    assert not {"tensorflow", "keras"} & set(loaded)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["digits"], "not-understood", "'digits'"),
        (["data=digts"], "not-in-study", "data=digts is not in params.yaml, whose datasets are digits"),
        (["data=../runs"], "not-in-study", "data=../runs"),
        (["data=digits"], "missing-run", "runs/digits/tanh/baseline-0/metrics.json"),
        (["data=digits", "--readme"], "missing-file", "README.md"),
        (["data=digits", "--experience"], "missing-report", "dvc repro report@digits"),
    ],
)
def test_report_refuses_with_one_sentence_and_keeps_what_was_there(script, tmp_path, arguments, code, expected):
    (tmp_path / "params.yaml").write_text(PARAMS)
    old = tmp_path / "reports" / "digits" / "index.html"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    assert expected in sentence(script("report.py", *arguments), code)
    assert old.read_text() == "old"
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["digits"]


def test_without_params_there_is_no_study(script):
    assert "params.yaml" in sentence(script("report.py", "data=digits"), "missing-file")
