"""A team's server with real parts: PostgreSQL, MLflow with passwords, S3-compatible storage, and two clones of one repository.

Commands and files are from docs/team.md, with other folders and ports.
"""

import importlib.util
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import yaml

from conftest import ROOT, STUDY, Project, left_out

pytestmark = pytest.mark.scale

DOCUMENT = (ROOT / "docs" / "team.md").read_text()
ONE_EPOCH = ("data=digits", "activation=relu", "recipe.epochs=1")
PLACEHOLDERS = {
    "DATABASE_PASSWORD": "PGPASSWORD",
    "ADMIN_PASSWORD": "admin",
    "SESSION_KEY": "session",
    "ARTIFACTS_SECRET": "mlflow",
    "ALICE_SECRET": "alice",
    "BOB_SECRET": "bob",
}
PACKAGES = ("boto3", "dvc_s3", "flask_wtf", "psycopg2")


def block(language: str, n: int = 0) -> str:
    """A block of the document."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)[n]


def line(start: str) -> str:
    """The only line of the document that starts like this, or has this after a variable."""
    (found,) = [text for text in DOCUMENT.splitlines() if start in text and not text.startswith(("|", "-", " "))]
    return found


class Team:
    """The servers, each in its own process, and the output of servers and members' commands."""

    def __init__(self, folder: Path):
        self.folder, self.printed, self.processes = folder, [], []
        (folder / "none").touch()  # instead of the keys of the user who runs the tests
        files = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
        self.nobody = {"AWS_EC2_METADATA_DISABLED": "true"} | dict.fromkeys(files, str(folder / "none"))
        self.secrets = {name: secrets.token_hex(24) for name in ("owner", "PGPASSWORD", "admin", "session", "mlflow", "alice", "bob")}
        self.ports = {port: free_port() for port in ("5000", "5432", "9000", "9001")}
        self.mlflow, self.runs, self.results = (f"http://127.0.0.1:{self.ports[port]}" for port in ("5000", "9000", "9001"))

    def here(self, text: str) -> str:
        """A text of the document, with this team's ports and folder."""
        for port, own in self.ports.items():
            text = re.sub(rf"(?<=[: ]){port}\b", str(own), text)
        return text.replace("/srv/actgrad", str(self.folder))

    def start(self, name: str, command: list[str], environment: Mapping[str, str], **how) -> subprocess.Popen:
        with (self.folder / "logs" / name).open("wb") as log:
            path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
            process = subprocess.Popen(
                command, cwd=self.folder, env=path | environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **how
            )
        self.processes.append(process)
        return process

    def wait(self, process: subprocess.Popen, ready: Callable[[], None]) -> None:
        for _ in range(600):
            assert process.poll() is None, self.logs()
            try:
                return ready()
            except Exception:  # any error until it is up
                time.sleep(0.1)
        raise AssertionError(self.logs())

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.folder / "logs").iterdir()))

    def database(self, name: str, user: str = "mlflow", password: str = "PGPASSWORD"):
        import psycopg2

        where = {"host": "127.0.0.1", "port": self.ports["5432"], "connect_timeout": 5}
        return psycopg2.connect(dbname=name, user=user, password=self.secrets[password], **where)

    def postgresql(self, binaries: Path) -> None:
        """A separate cluster, owned by a user other than root, because PostgreSQL refuses to run as root."""
        unprivileged = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        data, password = self.folder / "postgresql", self.folder / "password"
        data.mkdir()
        password.write_text(self.secrets["owner"])
        if unprivileged:
            for path in (data, password):
                shutil.chown(path, "postgres", "postgres")
        made = [binaries / "initdb", "-D", data, "-U", "owner", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C", "-N"]
        subprocess.run(made, check=True, cwd=data, stdout=subprocess.DEVNULL, **unprivileged)
        password.unlink()
        settings = {"port": self.ports["5432"], "listen_addresses": "127.0.0.1", "unix_socket_directories": data, "fsync": "off"}
        command = [str(binaries / "postgres"), "-D", str(data), *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]
        process = self.start("postgresql", command, {}, **unprivileged)
        self.wait(process, lambda: self.database("postgres", "owner", "owner").close())
        owner = self.database("postgres", "owner", "owner")
        owner.autocommit = True
        with owner.cursor() as cursor:
            cursor.execute("CREATE ROLE mlflow LOGIN PASSWORD %s", [self.secrets["PGPASSWORD"]])
            for name in ("mlflow", "mlflow_auth"):
                cursor.execute(f"CREATE DATABASE {name} OWNER mlflow")
        owner.close()

    def serve(self, name: str, start: str, ready: Callable[[], None], more: str = "") -> None:
        self.wait(self.start(name, ["bash", "-c", f". ./secrets\n{self.here(line(start))}{more}"], self.nobody), ready)

    def listening(self, port: str) -> None:
        socket.create_connection(("127.0.0.1", self.ports[port]), 1).close()

    def services(self) -> None:
        (self.folder / "runs" / "artifacts").mkdir(parents=True)
        (self.folder / "results" / "dvc").mkdir(parents=True)
        (self.folder / "auth.ini").write_text(self.here(block("ini")))
        text = self.here(block("sh", 1))
        for placeholder, name in PLACEHOLDERS.items():
            text = re.sub(rf"(?<=[=,]){placeholder}\b", self.secrets[name], text)
        (self.folder / "secrets").touch(0o600)
        (self.folder / "secrets").write_text(text)
        for port in ("9000", "9001"):
            self.serve(f"storage-{port}", f"rclone serve s3 --addr 127.0.0.1:{port}", partial(self.listening, port))
        self.serve("mlflow", "mlflow server --app-name", lambda: urllib.request.urlopen(f"{self.mlflow}/health", timeout=1).close(), " --workers 1")
        (self.folder / "secrets").unlink()  # the only file that may contain them

    def members(self, *names: str) -> None:
        script = self.here(line("MLFLOW_TRACKING_USERNAME=admin python")).replace(" alice bob ", f" {' '.join(names)} ")
        body = DOCUMENT.partition("alice bob <<'END'\n")[2].partition("END\n")[0]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "MLFLOW_TRACKING_PASSWORD": self.secrets["admin"]}
        done = subprocess.run(["bash", "-c", f"{script}\n{body}END\n"], env=os.environ | own, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.printed.append(done.stderr)
        self.passwords = dict(text.split() for text in done.stdout.splitlines())
        self.secrets |= {f"{name} in MLflow": password for name, password in self.passwords.items()}

    def key(self, name: str) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": self.secrets[name]}

    def api(self, user: str | None, password: str | None, path: str = "experiments/search", /, **body) -> requests.Response:
        who = (user, password) if user else None
        return requests.post(f"{self.mlflow}/api/2.0/mlflow/{path}", json=body or {"max_results": 10}, auth=who, timeout=30)

    def mlflow_runs(self) -> list[dict]:
        (experiment,) = [one for one in self.api("admin", self.secrets["admin"]).json()["experiments"] if one["name"] == "digits"]
        return self.api("admin", self.secrets["admin"], "runs/search", experiment_ids=[experiment["experiment_id"]]).json().get("runs", [])

    def stop(self) -> None:
        for process in reversed(self.processes):
            postgresql = "postgres" in process.args[0]  # for which SIGTERM means: wait until all clients have left
            os.killpg(process.pid, signal.SIGINT if postgresql else signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Member(Project):
    """The clone of a member with a password for MLflow and a key for DVC's remote in the environment."""

    def __init__(self, team: Team, folder: Path, **environment: str):
        self.team, self.folder = team, folder
        self.environment = team.nobody | {"DVC_SITE_CACHE_DIR": str(team.folder / "dvc"), "XDG_CACHE_HOME": str(team.folder / "cache")} | environment

    def start(self, *command: str, **environment: str) -> subprocess.Popen:
        return super().start(*command, **self.environment | environment)

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        process = self.start(*command, **environment)
        printed, _ = process.communicate()
        self.team.printed.append(printed)
        self.code = process.returncode
        assert not check or self.code == 0, printed
        return printed


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        left_out(f"{', '.join(missing)} not installed: make setup-scale")
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not binaries:
        left_out("PostgreSQL is not installed: apt-get install postgresql")
    # not in pytest's own folder, which PostgreSQL's user may not enter
    folder = Path(tempfile.mkdtemp(prefix="actgrad-team-"))
    folder.chmod(0o755)
    (folder / "logs").mkdir()
    team = Team(folder)
    try:
        team.postgresql(binaries[-1].parent)
        team.services()
        team.members("alice", "bob")
        yield team
    finally:
        team.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def alice(team) -> Member:
    """A member who trained and published runs and results. Her password is in the address."""
    project = Project.__new__(Member)
    member = Member(
        team, team.folder / "alice", MLFLOW_TRACKING_URI=team.mlflow.replace("//", f"//alice:{team.passwords['alice']}@"), **team.key("alice")
    )
    project.__dict__ |= member.__dict__
    Project.__init__(project, member.folder)
    (project.folder / "params.yaml").write_text(yaml.safe_dump(STUDY | {"activations": ["relu"], "conditions": ["baseline"]}))
    for command in block("sh", 4).splitlines():
        project.run(*shlex.split(team.here(command)))
    project.commit("one run, and where its results are")
    project.run("git", "init", "-q", "--bare", "../study.git")
    project.run("git", "remote", "add", "origin", "../study.git")
    project.run("git", "push", "-q", "--set-upstream", "origin", "HEAD")
    project.run("git", "clone", "-q", "../study.git", "../bob")
    assert "tracking:" not in project.run("dvc", "repro", "report@digits")
    project.commit("results")
    project.run("dvc", "push")
    project.run("git", "push", "-q")
    return project


@pytest.fixture(scope="module")
def bob(team, alice) -> Member:
    """A member who pulled what Alice pushed."""
    assert alice.folder.with_name("bob").is_dir()
    three = {"MLFLOW_TRACKING_URI": team.mlflow, "MLFLOW_TRACKING_USERNAME": "bob", "MLFLOW_TRACKING_PASSWORD": team.passwords["bob"]}
    member = Member(team, team.folder / "bob", **three, **team.key("bob"))
    member.run("git", "pull", "-q")
    member.run("dvc", "pull")
    return member


def test_a_second_clone_has_the_results_and_the_runs_and_trains_nothing(bob, alice):
    file = "runs/digits/relu/baseline-0/steps.parquet"
    assert (bob.folder / file).read_bytes() == (alice.folder / file).read_bytes()
    assert "digits: 1 of 1 runs, 0 MLflow runs made or completed" in bob.run("python", "src/publish.py", "data=digits")
    assert "Running stage" not in bob.run("dvc", "repro")
    assert bob.stale() == set()
    assert "Cache and remote 'team' are in sync" in bob.run("dvc", "status", "--cloud")
    printed = bob.run("python", "src/verify.py", "--run", "digits/relu/baseline-0")
    assert "WRONG" not in printed
    assert "ok    core_sha256 " in printed
    assert "ok    weights_sha256  " in printed  # of Alice's model, through the server
    assert bob.run("git", "status", "--porcelain") == ""


def test_a_run_that_the_server_lost_is_made_again_by_another_member(team, bob):
    (run,) = team.mlflow_runs()
    by = {"run_id": run["info"]["run_id"]}
    assert team.api("bob", team.passwords["bob"], "runs/delete", **by).status_code == 403  # the experiment is Alice's
    assert team.api("alice", team.passwords["alice"], "runs/delete", **by).status_code == 200
    assert team.mlflow_runs() == []
    assert "digits: 1 of 1 runs, 1 MLflow runs made or completed" in bob.run("python", "src/publish.py", "data=digits")
    (again,) = team.mlflow_runs()
    assert again["info"]["run_id"] != run["info"]["run_id"]


@pytest.mark.parametrize("who", [(None, None), ("alice", "wrong"), ("nobody", "wrong"), ("admin", "password1234")])
def test_mlflow_refuses_who_has_no_password(team, who):
    assert team.api(*who).status_code == 401


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize(("server", "bucket"), [("runs", "artifacts"), ("results", "dvc")])
def test_storage_refuses_who_has_no_key(team, server, bucket):
    import boto3
    import botocore

    def listed(**who: str | None) -> list[dict]:
        unsigned = {} if who else {"config": botocore.config.Config(signature_version=botocore.UNSIGNED)}
        names = {"aws_access_key_id": who.get("AWS_ACCESS_KEY_ID"), "aws_secret_access_key": who.get("AWS_SECRET_ACCESS_KEY")}
        client = boto3.client("s3", endpoint_url=getattr(team, server), region_name="us-east-1", **names, **unsigned)
        return client.list_objects_v2(Bucket=bucket)["Contents"]

    inside, outside = ("mlflow", "alice") if server == "runs" else ("alice", "mlflow")
    assert listed(**team.key(inside))
    for who, code in (({}, 400), (team.key(inside) | {"AWS_SECRET_ACCESS_KEY": "wrong"}, 403), (team.key(outside), 403)):
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            listed(**who)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == code


def test_dvc_refuses_who_has_no_key(bob):
    said = bob.run("dvc", "status", "--cloud", check=False, AWS_SECRET_ACCESS_KEY="wrong")
    assert bob.code != 0
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def refused(team, bob) -> dict[str, tuple[int, str]]:
    """Exit code and output of a training and of publish.py with wrong passwords. The training's password is in the address."""
    publish, train = (team.secrets.setdefault(f"wrong: {name}", f"wr/ng@{secrets.token_hex(24)}") for name in ("publish", "train"))
    address = team.mlflow.replace("//", f"//bob:{quote(train, safe='')}@")
    started = {
        "publish": bob.start("python", "src/publish.py", "data=digits", MLFLOW_TRACKING_PASSWORD=publish),
        "train": bob.start("python", "src/train.py", *ONE_EPOCH, "run_dir=outputs/refused", MLFLOW_TRACKING_URI=address),
    }
    said = {name: process.communicate()[0] for name, process in started.items()}
    team.printed += said.values()
    return {name: (process.returncode, said[name]) for name, process in started.items()}


def test_publish_with_a_wrong_password_ends_in_one_sentence(team, refused):
    code, said = refused["publish"]
    (sentence,) = said.splitlines()
    assert sentence.startswith(f"error[store-failed]: the MLflow store {team.mlflow} cannot be used (")
    assert code == 1


def test_a_training_with_a_wrong_password_finishes_and_says_that_it_is_not_logged(refused):
    code, said = refused["train"]
    assert re.search(r"digits/relu/baseline-0: finished, test accuracy [\d.]+ %, results in outputs/refused", said)
    (sentence,) = [text for text in said.splitlines() if "tracking:" in text]
    assert "digits/relu/baseline-0 is no longer logged to MLflow (" in sentence
    assert "Traceback" not in said
    assert code == 0


def test_who_may_only_read_reads_and_logs_nothing(team, bob):
    password = team.secrets["carol in MLflow"] = "c@r/l " + secrets.token_hex(24)
    assert team.api("admin", team.secrets["admin"], "users/create", username="carol", password=password).status_code == 200
    (run,) = team.mlflow_runs()
    as_carol = {"MLFLOW_TRACKING_URI": team.mlflow.replace("//", f"//carol:{quote(password, safe='')}@")}
    assert team.api("carol", password, "runs/search", experiment_ids=[run["info"]["experiment_id"]]).json()["runs"]
    team.api("alice", team.passwords["alice"], "runs/delete", run_id=run["info"]["run_id"])
    said = bob.run("python", "src/publish.py", "data=digits", check=False, **as_carol)
    assert bob.code == 1
    (sentence,) = said.splitlines()
    assert sentence.startswith(f"error[store-failed]: the MLflow store {team.mlflow} cannot be used (")
    assert "Permission denied" in sentence
    assert team.mlflow_runs() == []


def test_no_secret_is_anywhere_but_in_the_environment(team, alice, bob):
    found = []
    sought = {name: {value.encode(), quote(value, safe="").encode()} for name, value in team.secrets.items()}
    (team.folder / "control").write_text(team.secrets["alice"])

    def look(where: str, content: bytes) -> None:
        found.extend((name, where) for name, forms in sought.items() if any(form in content for form in forms))

    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has already ended
            look(str(process), process.read_bytes())
    look("what commands said", "\n".join(team.printed).encode())
    for path in team.folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(team.folder / "postgresql"):
            look(str(path), path.read_bytes())
    for clone in (alice, bob):
        everything = ("git", "cat-file", "--batch", "--batch-all-objects", "--unordered")
        look(f"git objects of {clone.folder}", subprocess.run(everything, cwd=clone.folder, capture_output=True, check=True).stdout)
    for name in ("mlflow", "mlflow_auth"):
        with team.database(name) as database, database.cursor() as cursor:
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT * FROM "{table}"')
                look(f"table {table} of {name}", repr(cursor.fetchall()).encode())
        database.close()
    assert found == [("alice", str(team.folder / "control"))]  # which shows that the search works
