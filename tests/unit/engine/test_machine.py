"""What a request takes of a machine, when nothing is said: a core or a GPU for each stage, and no busy core."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.engine import machine
from pipeline.engine.launcher import with_launched_processes
from tests.conftest import configured


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None unless a test says so, and every test looks for itself."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS")  # the tests' own
    found_once = machine.idle_cores, machine.threads_in_environment
    for found in found_once:
        found.cache_clear()
    yield
    for found in found_once:
        found.cache_clear()


def idle(monkeypatch: pytest.MonkeyPatch, *busy: float) -> None:
    """As many cores as there are figures, each so many percent busy."""
    monkeypatch.setattr(machine.psutil, "cpu_percent", lambda *_, **__: list(busy))
    monkeypatch.setattr(machine.psutil.Process, "cpu_affinity", lambda _: list(range(len(busy))), raising=False)


def _large_model(folder: Path) -> Path:
    """Return a folder with the weights of a model that is not small, all of them holes."""
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(machine.SMALL)
    return folder


@pytest.mark.parametrize(
    ("busy", "cores"), [((0.0, 0.0), 2), ((100.0, 4.0), 1), ((100.0, 100.0), 1), ((3.0, 96.0, 2.0, 5.0), 3)]
)
def test_the_tiny_model_runs_one_stage_for_each_idle_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: tuple[float, ...], cores: int
) -> None:
    idle(monkeypatch, *busy)
    assert machine.parallel(configured(tmp_path)) == cores
    assert machine.threads(configured(tmp_path)) == min(cores, 2)


def test_a_larger_model_fills_the_cpu_alone_and_leaves_busy_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle(monkeypatch, 0.0, 99.0, 0.0)
    large = configured(tmp_path / "outputs", "model=hub", f"model.path={_large_model(tmp_path)}")
    assert machine.parallel(large) == 1
    assert machine.threads(large) == 2


def test_several_gpus_make_several_stages_one_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    assert machine.parallel(configured(tmp_path)) == 3
    assert machine.gpus() == ["2", "5", "7"]
    assert machine.parallel(configured(tmp_path, "launch.device=cpu", "launch.parallel=4")) == 4


def test_what_was_asked_for_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idle(monkeypatch, 0.0, 0.0)
    config = configured(tmp_path, "threads=7", "launch.parallel=1")
    assert (machine.threads(config), machine.parallel(config)) == (7, 1)


@pytest.mark.parametrize(
    ("variable", "override", "threads"),
    [("1", [], 1), ("3", [], 2), ("3", ["threads=5"], 5), ("", [], 2), ("4,2", [], 2), ("0", [], 2)],
)
def test_threads_follow_the_environment_unless_the_request_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, override: list[str], threads: int
) -> None:
    idle(monkeypatch, 0.0, 0.0)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert machine.threads(configured(tmp_path, *override)) == threads


@pytest.mark.parametrize("policy", [None, "active"])
def test_waiting_threads_sleep_soon_unless_the_environment_says_how_they_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str | None
) -> None:
    idle(monkeypatch, 0.0, 0.0)
    for name, value in (("OMP_WAIT_POLICY", policy), ("GOMP_SPINCOUNT", None), ("TOKENIZERS_PARALLELISM", None)):
        monkeypatch.setenv(name, value or "")  # so that it is as before, afterwards
        if not value:
            monkeypatch.delenv(name)
    machine.limit_threads(configured(tmp_path))
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert os.environ.get("GOMP_SPINCOUNT") == (None if policy else str(machine.SPINS))


@pytest.mark.parametrize("first", [[], ["threads=1"]])
def test_a_later_request_of_a_sweep_does_not_take_the_threads_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: list[str]
) -> None:
    """They run in one process, and the variable that an earlier one has set is no wish of the user's."""
    idle(monkeypatch, 0.0, 0.0, 0.0, 0.0)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    machine.limit_threads(configured(tmp_path, *first))
    assert "OMP_NUM_THREADS" in os.environ
    assert machine.threads(configured(tmp_path, f"model.path={_large_model(tmp_path)}", "model=hub")) == 4


@pytest.mark.parametrize(
    ("variable", "override", "each"), [(None, [], 2), ("1", [], 1), ("3", [], 3), ("3", ["threads=6"], 3)]
)
def test_launched_processes_divide_the_cores_unless_the_launcher_gave_each_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, override: list[str], each: int
) -> None:
    idle(monkeypatch, 0.0, 0.0, 0.0, 0.0)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    config = configured(tmp_path, *(override or [f"model.path={_large_model(tmp_path)}", "model=hub"]))
    assert machine.threads(with_launched_processes(config)) == each
