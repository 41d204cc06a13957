"""A report is the same, whichever processes and whichever processor make it."""

import os
import subprocess
import sys

from conftest import ROOT

REPORT = "from actgrad.report import content; from made_up_runs import DATA, evidence, study_runs; study = evidence(study_runs())\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    """A new process, because only one that has drawn nothing forks another."""
    places = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
    return subprocess.run([sys.executable, "-c", REPORT + code], cwd=ROOT, env=os.environ | places, capture_output=True, text=True, timeout=120)


def test_two_processes_make_the_same_files_as_one_and_a_process_that_has_drawn_forks_none():
    """The drawing library's threads are missing in a process that is forked after it was started: the second report of a process never ended."""
    done = run(
        "made = [content.content(study, DATA, processes=number) for number in (2, 2, 1)]; assert made[0] == made[1] == made[2]; print(len(made[0]))"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_a_second_process_that_is_killed_is_told_in_one_sentence():
    """As the system does to it when memory runs out. It was a traceback."""
    killed = "import os, signal; content._csv = lambda table: os.kill(os.getpid(), signal.SIGKILL)\n"  # _counted calls it first, in that process
    tried = """from actgrad.errors import UserError
try:
    content.content(study, DATA, processes=2)
except UserError as error:
    print(error.line)"""
    done = run(killed + tried)
    assert done.stdout.startswith("error[no-memory]: the second process of the report was killed"), done.stderr


def test_the_last_bit_of_a_number_changes_no_file():
    """Logarithms differ there between types of processor, and a report made on another one differed in five files."""
    code = """import dataclasses
import numpy as np
from actgrad.analysis.evidence import Evidence
other = {name: [dataclasses.replace(run, probes=run.probes.assign(preact_grad_rms=np.nextafter(run.probes["preact_grad_rms"], 1))) for run in of]
         for name, of in study.runs.items()}
other = Evidence("toy", {study.headline: other, **study.other_conditions}, trials=study.trials, times=study.times)
made = [content.content(one, DATA) for one in (study, other)]
print([name for name in made[0] if made[0][name] != made[1][name]], len(made[1]))"""
    done = run(code)
    assert done.stdout.startswith("[] "), done.stdout + done.stderr
    assert int(done.stdout.split()[1]) > 10
