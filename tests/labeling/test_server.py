"""The embedded server: one per home, private, with Argilla's own API, and clear messages for unsupported requests."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from labeling.backend import LabelingError
from labeling.server import Connection, remote, running, serving
from labeling.server.home import Home
from tests.labeling.conftest import SessionServer
from tests.places import ROOT

INSIDE = ROOT / "labeling" / "server"


def secrets_of(home: Path) -> list[str]:
    """Return every generated secret, also the passwords in invitations."""
    secrets = json.loads((home / "secrets.json").read_text())
    passwords = [file.read_text().split("Password")[1].split()[0] for file in (home / "invitations").glob("*.txt")]
    return [secrets["auth"], secrets["password"], secrets["api_key"], *passwords]


def test_it_is_argilla_with_its_pages_and_an_owner(argilla_server: Connection) -> None:
    with argilla_server.client() as client:
        assert client.get("/version").json() == {"version": "2.8.0"}
        assert client.get("/me").json()["role"] == "owner"
        assert client.get("/status").json()["search_engine"]["name"] == "sql"
        page = client.get(argilla_server.url + "/")
    assert page.status_code == 200
    assert "<html" in page.text


def test_another_key_is_refused_and_no_key_shows(argilla_server: Connection) -> None:
    assert not Connection(argilla_server.url, "argilla.apikey").answers()  # Argilla's default
    assert argilla_server.api_key not in repr(argilla_server)
    assert argilla_server.api_key not in repr(Home(Path("/nowhere")).secrets())


def test_the_owner_can_log_in_with_the_generated_password_and_default_ones_fail(
    argilla_server: Connection, argilla_home: Path
) -> None:
    secrets = json.loads((argilla_home / "secrets.json").read_text())
    with argilla_server.client() as client:
        right = client.post("/token", data={"username": secrets["username"], "password": secrets["password"]})
        default = client.post("/token", data={"username": "argilla", "password": "12345678"})
    assert right.status_code == 201
    assert default.status_code == 401


def test_only_its_owner_can_read_the_home(argilla_server: Connection, argilla_home: Path) -> None:
    assert stat.S_IMODE(argilla_home.stat().st_mode) == 0o700
    open_to_others = [
        path for path in argilla_home.iterdir() if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert open_to_others == []


def test_secrets_are_in_no_log_no_command_line_and_no_environment(
    argilla_server: Connection, argilla_home: Path
) -> None:
    secrets = secrets_of(argilla_home)
    with argilla_server.client() as client:
        # a password that is too short, a wrong type: Argilla itself would log the whole body
        body = {"username": "x", "first_name": "x", "role": "annotator", "password": secrets[1][:7]}
        assert client.post("/users", json=body).status_code == 422
        assert client.post("/users", json={**body, "password": [secrets[1]]}).status_code == 422
        assert client.post("/workspaces", json={"name": {"secret": secrets[1]}}).status_code == 422
    log = (argilla_home / "server.log").read_text()
    assert "refused: RequestValidationError at body.password" in log
    seen = {path.name: path.read_text() for path in argilla_home.glob("*.log")}
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                seen[f"{process.name} {name}"] = (process / name).read_bytes().decode(errors="replace")
            except OSError:
                continue  # an ended process, or one of another user
    found = [where for where, text in seen.items() for secret in [*secrets, secrets[1][:7]] if secret in text]
    assert found == []


def test_a_home_has_one_server_which_others_join(argilla_server: Connection, argilla_home: Path) -> None:
    assert running(argilla_home) == argilla_server
    with serving(argilla_home, say=pytest.fail) as joined:  # type: ignore[arg-type]
        assert joined == argilla_server
    assert running(argilla_home) == argilla_server


def test_a_home_without_a_server_has_none_running(tmp_path: Path) -> None:
    assert running(tmp_path / "nothing") is None


def test_it_stays_below_400_mb(argilla: SessionServer) -> None:
    assert 0 < argilla.peak < 400


def test_a_remote_server_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGILLA_API_URL", "https://argilla.example/")
    monkeypatch.delenv("ARGILLA_API_KEY", raising=False)
    with pytest.raises(LabelingError, match="Not set in the environment: ARGILLA_API_KEY") as missing:
        remote()
    assert missing.value.fault == "request"
    monkeypatch.setenv("ARGILLA_API_KEY", "key")
    assert remote() == Connection("https://argilla.example", "key")
    monkeypatch.setenv("ARGILLA_API_URL", "argilla.example")
    with pytest.raises(LabelingError, match="must begin with http"):
        remote()


CHANGES = {
    "SearchEngine.__abstractmethods__ = frozenset({*SearchEngine.__abstractmethods__, 'reindex'})": "reindex",
    "queues.DEFAULT_QUEUE = object()": "DEFAULT_QUEUE cannot be queued to",
    "_version.__version__ = '2.9.0'": "2.9.0, not 2.8.0",
    "del jobs.Job": "job handler does not fetch jobs",
}


SCRIPT = f"""
import json, os, sys
os.environ |= {{"ARGILLA_HOME_PATH": sys.argv[1], "ARGILLA_SEARCH_ENGINE": "sql"}}
sys.path.append({str(INSIDE)!r})
from inside import late
with late.imports():
    from argilla_server import _version
from argilla_server.jobs import queues
from argilla_server.api.handlers.v1 import jobs
from argilla_server.search_engine import SearchEngine
from inside import interface
from inside.search import SqlSearchEngine
interface.check(SqlSearchEngine)
for change in sys.argv[2:]:
    if os.fork():
        os.wait()
        continue
    exec(change)
    try:
        interface.check(SqlSearchEngine)
    except interface.Mismatch as error:
        print(json.dumps([change, str(error)]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def refusals(argilla_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the check says of each change, which is made in a process of its own, forked after the slow imports."""
    command = [argilla_environment, "-I", "-c", SCRIPT, tmp_path_factory.mktemp("home"), *CHANGES]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in ran.stdout.splitlines())


@pytest.mark.parametrize(("change", "said"), CHANGES.items())
def test_an_argilla_of_another_build_is_refused_with_what_differs(
    refusals: dict[str, str], change: str, said: str
) -> None:
    assert said in refusals[change]


def test_labeling_is_imported_without_torch_and_the_pipeline() -> None:
    script = """
import importlib, pkgutil, sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "trl", "peft", "wandb", "hydra", "pipeline"):
            raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, Forbidden())
import labeling
names = [module.name for module in pkgutil.walk_packages(labeling.__path__, "labeling.")]
names = [name for name in names if not name.startswith("labeling.server.inside")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 15
