"""Every example runs as a user would start it, and its results are as described."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from monitor_models import BACKEND


def printed_by(name: str, folder: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "KERAS_BACKEND": BACKEND, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, ROOT / "examples" / f"{name}.py"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_network_of_ones_own(tmp_path):
    printed = printed_by("cnn", tmp_path)
    assert "update ratio" in printed
    assert (tmp_path / "diagnosis.json").is_file()
    assert (tmp_path / "gradients.html").stat().st_size > 500_000


@pytest.mark.slow
def test_residual_paths_keep_the_gradient(tmp_path):
    without, by_paths = printed_by("residual", tmp_path).splitlines()[-2:]
    assert without.startswith("without residual paths, ")
    assert "The gradient vanishes: at block_1 " in without
    assert "The gradient does not vanish" in by_paths


@pytest.mark.slow
def test_the_gradient_of_eight_sigmoid_layers_vanishes(tmp_path):
    printed_by("vanishing", tmp_path)
    assert re.search(r"The gradient vanishes: at dense1 it is \d\d,\d{3} times smaller than at dense8", (tmp_path / "gradients.html").read_text())


@pytest.mark.slow
def test_text_with_an_embedding_and_attention(tmp_path):
    printed = printed_by("text", tmp_path)
    for kind in ("Embedding", "LayerNormalization", "EinsumDense", "Dense"):
        assert kind in printed


@pytest.mark.slow
def test_the_lines_of_the_readme(tmp_path):
    (lines,) = (block for block in re.findall("```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL) if "GradientMonitor" in block)
    (tmp_path / "lines.py").write_text((ROOT / "examples" / "cnn.py").read_text().partition("monitor =")[0] + lines.replace("epochs=5", "epochs=1"))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "KERAS_BACKEND": BACKEND}
    done = subprocess.run([sys.executable, "lines.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gradients.html").is_file()


@pytest.mark.slow
def test_activations_compared(tmp_path):
    printed = printed_by("compare", tmp_path)
    assert [line.split()[0] for line in printed.splitlines()[2:6]] == ["sigmoid", "tanh", "relu", "gelu"]
    assert (tmp_path / "comparison" / "index.html").is_file()


def test_a_loop_of_ones_own(tmp_path):
    printed = printed_by("custom_loop", tmp_path)
    assert [int(line.split()[0]) for line in printed.splitlines() if "dense " in line and len(line.split()) == 4] == [0, 1, 2, 4, 8, 16, 32]
