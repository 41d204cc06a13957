"""Undocumented behaviour of Hydra and OmegaConf that this project relies on. A test here fails if an update changes it."""

import copy
import os
from unittest.mock import Mock

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from actgrad.config import loading, overrides
from actgrad.errors import UserError
from actgrad.pipeline import status
from conftest import refuses


def parsed(text: str) -> Override:
    return OverridesParser.create().parse_override(text)


def composing_error(*given: str) -> Exception:
    with initialize_config_dir(str(loading.CONF), version_base="1.3"), pytest.raises(HydraException) as raised:
        compose("config", ["run_dir=unused", *given])
    return raised.value


# --- hydra._internal.utils.get_args_parser: config/overrides.py


def test_the_parser_of_hydras_flags():
    parser = overrides.get_args_parser()
    flags = {action.dest for action in parser._actions}
    needed = {"overrides", "help", "hydra_help", "experimental_rerun", *overrides.EXCLUSIVE_FLAGS}
    assert needed <= flags, f"config/overrides.py reads {sorted(needed - flags)} from Hydra's flags, which has none of that name now"
    given = parser.parse_intermixed_args(["data=digits", "-m", "seed=0,1"])
    assert (given.overrides, given.multirun) == (["data=digits", "seed=0,1"], True), "config/overrides.py tells flags from KEY=VALUE by it"


def test_a_flag_that_hydra_does_not_know_is_refused_by_the_method_error():
    parser = overrides.get_args_parser()
    parser.error = overrides._refuse
    with refuses("usage", "--epochs"):
        parser.parse_intermixed_args(["--epochs", "3"])


# --- Override: config/overrides.py


def test_the_values_of_an_override():
    """Only Override._convert_value turns a sweep's elements into plain values."""
    sweep = parsed("a=1,'x y',null,{b: 'c'}").value()
    assert isinstance(sweep, ChoiceSweep), "config/overrides.py tells A,B by the class ChoiceSweep"
    assert any(isinstance(one, QuotedString) for one in sweep.list), "if a sweep holds plain values, Override._convert_value is not needed any more"
    assert [Override._convert_value(one) for one in sweep.list] == [1, "x y", None, {"b": "c"}], "config/overrides.py gets the values of a sweep so"


def test_the_parts_of_an_override():
    one = parsed("++a.b@c=3")
    assert (one.input_line, one.key_or_group, one.get_key_element()) == ("++a.b@c=3", "a.b", "++a.b@c"), "config/overrides.py says them in sentences"
    for text, kinds in {"~a": (1, 0, 0), "a=1,2": (0, 1, 0), "a=range(3)": (0, 1, 1), "a=1": (0, 0, 0)}.items():
        one = parsed(text)
        assert (one.is_delete(), one.is_sweep_override(), one.is_range_sweep()) == kinds, "config/overrides.py tells the kinds of overrides so"
    assert list(parsed("a=range(2)").sweep_iterator()) == [0, 1], "config/overrides.py gets the values of a range so"
    assert parsed("a=interval(0,1)").is_interval_sweep(), "config/overrides.py lists no values of an interval"
    pattern = parsed("a=glob(*u*)").value()
    assert isinstance(pattern, Glob), "config/overrides.py tells a pattern by the class Glob"
    assert pattern.filter(["relu", "elu", "tanh"]) == ["relu", "elu"], "config/overrides.py gets the values of a pattern so"


# --- errors of composing: config/composing.py


def test_the_error_for_a_choice_without_a_file_has_the_choices():
    error = composing_error("activation=tnh")
    assert getattr(error, "missing_cfg_file", None) == "activation/tnh", "config/composing.py reads the group and the choice from missing_cfg_file"
    assert "tanh" in (getattr(error, "options", None) or ()), "config/composing.py reads the known choices from options"


def test_the_error_for_an_unknown_key_has_its_place():
    error = composing_error("recipe.epoch=3")
    cause = error.__cause__
    assert isinstance(cause, ConfigKeyError | ConfigAttributeError), "config/composing.py tells an unknown key by the cause of Hydra's error"
    assert (cause.full_key, "epochs" in cause.parent_node) == ("recipe.epoch", True), "config/composing.py names the keys that are known beside it"
    assert "data" in OmegaConf.to_container(cause.parent_node._get_root(), resolve=False), "config/composing.py looks for near keys in the whole"
    assert "use +recipe.epoch=3" in str(error), "config/composing.py takes the value for its suggestion from Hydra's own"


def test_the_error_for_a_default_that_is_not_there_to_be_overridden_names_the_file(tmp_path):
    (tmp_path / "local").mkdir()
    (tmp_path / "config.yaml").write_text("defaults: [local: default]\n")
    (tmp_path / "local" / "default.yaml").write_text("defaults: [{override /hydra/launcher: joblib}]\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"), pytest.raises(HydraException) as raised:
        compose("config")
    assert str(raised.value).startswith("In 'local/default': Could not override "), "config/composing.py reads the file from this sentence"


# --- jobs: pipeline/status.py, pipeline/failures.py, pipeline/run.py


class Asked:
    """Replaces Hydra's callbacks, and gets a job's result before Hydra does."""

    def __init__(self) -> None:
        self.seen, self.config = None, None

    def on_job_start(self, **_: object) -> None:
        pass

    def on_job_end(self, config: DictConfig, job_return: JobReturn) -> None:
        self.seen, self.config = copy.copy(job_return), config
        job_return.status, job_return.return_value = JobStatus.COMPLETED, 0.5


@pytest.fixture
def job(tmp_path):
    """Run a function as a Hydra job. Returns what a callback saw at its end, and what Hydra got."""

    def run(task, *given: str) -> tuple[Asked, JobReturn]:
        with initialize_config_dir(str(loading.CONF), version_base="1.3"):
            config = compose("config", ["run_dir=unused", f"hydra.run.dir={tmp_path}", *given], return_hydra_config=True)
            OmegaConf.set_struct(config, False)
            config.hydra.job.num = 3
            config.hydra.runtime.output_dir = str(tmp_path)
            asked = Asked()
            returned = run_job(task, config, "hydra.run.dir", None, HydraContext(config_loader=None, callbacks=asked), configure_logging=False)
        return asked, returned

    return run


@pytest.mark.parametrize(("task", "composed"), [(["run=a,b"], []), (["activation=relu,tanh"], [["activation=relu"]])])
def test_hydra_composes_no_run_of_a_study_before_the_first_starts(monkeypatch, task, composed):
    """It composed each: a fifth of a second for each of 353 runs before the first began."""
    monkeypatch.setattr(Sweeper, "validate_batch_is_legal", Sweeper.validate_batch_is_legal)
    status.StatusWriter("unused").on_multirun_start(OmegaConf.create({"hydra": {"overrides": {"task": task}}}))
    sweeper = Mock()
    Sweeper.validate_batch_is_legal(sweeper, [["activation=relu"]])
    loads = sweeper.hydra_context.config_loader.load_sweep_config.call_args_list
    assert [call.kwargs["sweep_overrides"] for call in loads] == composed, "pipeline/status.py replaces this method of Hydra's sweepers"


def test_a_callback_sees_the_error_of_a_job_and_may_change_what_hydra_goes_on_with(job):
    def fails(_: DictConfig) -> float:
        raise UserError("wrong-value", "no more of it")

    asked, returned = job(fails, "seed=4")
    assert asked.seen.status is JobStatus.FAILED
    assert isinstance(asked.seen._return_value, UserError), "pipeline/status.py reads the error of a job from JobReturn._return_value"
    assert "seed=4" in asked.seen.overrides, "pipeline/failures.py names a run by JobReturn.overrides"
    assert asked.config.hydra.job.num == 3, "pipeline/failures.py numbers runs by hydra.job.num of what a callback is given"
    assert returned.return_value == 0.5, "pipeline/failures.py changes the JobReturn that a callback is given, which was what Hydra goes on with"


def test_hydra_says_a_failed_job_in_a_line_of_its_own(capsys):
    """This line of Hydra's is why pipeline/failures.py hides jobs that failed by a user's mistake."""
    failed = JobReturn(overrides=["seed=4"], status=JobStatus.FAILED)
    failed.return_value = UserError("wrong-value", "no more of it")
    with pytest.raises(UserError):
        _ = failed.return_value
    assert capsys.readouterr().err == "Error executing job with overrides: ['seed=4']\n"


def test_environment_variables_of_a_job_are_set_in_it_alone(job):
    """pipeline/run.py passes a sha256 to jobs in this way, with any launcher."""
    value = "'12345678901234567890e5'"
    seen = []
    job(lambda _: seen.append(os.environ.get("OF_A_JOB")), f"+hydra.job.env_set.OF_A_JOB={value}")
    assert (seen, "OF_A_JOB" in os.environ) == ([value.strip("'")], False)


def test_hydra_raises_an_error_as_it_is_where_all_of_it_is_wanted(monkeypatch):
    """train.py sets HYDRA_FULL_ERROR, so that errors reach its main(); else Hydra prints them and exits."""
    from hydra._internal.utils import run_and_report

    def fails() -> None:
        raise UserError("wrong-value", "no more of it")

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError):
        run_and_report(fails)
