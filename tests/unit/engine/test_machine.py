"""What a request takes of a machine, when nothing is said: a core or a GPU for each stage, and no busy core."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.engine import machine
from tests.conftest import configured


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """None unless a test says so, and every test looks for itself."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine.idle_cores.cache_clear()
    yield
    machine.idle_cores.cache_clear()


def idle(monkeypatch: pytest.MonkeyPatch, *busy: float) -> None:
    """As many cores as there are figures, each so many percent busy."""
    monkeypatch.setattr(machine.psutil, "cpu_percent", lambda *_, **__: list(busy))
    monkeypatch.setattr(machine.psutil.Process, "cpu_affinity", lambda _: list(range(len(busy))), raising=False)


@pytest.mark.parametrize(
    ("busy", "cores"), [((0.0, 0.0), 2), ((100.0, 4.0), 1), ((100.0, 100.0), 1), ((3.0, 96.0, 2.0, 5.0), 3)]
)
def test_the_tiny_model_runs_one_stage_for_each_idle_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: tuple[float, ...], cores: int
) -> None:
    idle(monkeypatch, *busy)
    assert machine.parallel(configured(tmp_path)) == cores
    assert machine.threads(configured(tmp_path)) == 1


def test_a_larger_model_fills_the_cpu_alone_and_leaves_busy_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle(monkeypatch, 0.0, 99.0, 0.0)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(machine.SMALL)
    large = configured(tmp_path / "outputs", "model=hub", f"model.path={tmp_path}")
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
