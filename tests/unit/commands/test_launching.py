"""Sweeps whose requests one of Hydra's launchers runs: on this machine at the same time, or as jobs of a queue."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir

from pipeline.__main__ import main
from pipeline.commands.launching import _launcher, run_all
from pipeline.config.compose import register_schema
from pipeline.config.names import CONF
from pipeline.data.rows import write_jsonl
from pipeline.store.artifacts import Store

INSTALLED = {"joblib": "hydra_plugins.hydra_joblib_launcher", "submitit": "hydra_plugins.hydra_submitit_launcher"}


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "options"), [("joblib", ["hydra.launcher.n_jobs=2"]), ("submitit_local", [])])
def test_each_request_is_a_command_of_its_own_with_its_own_exit_status(
    launcher: str, options: list[str], tmp_path: Path
) -> None:
    pytest.importorskip(INSTALLED[launcher.partition("_")[0]])
    requests = [["--help", "launch"], ["stage=nope"]]
    assert run_all(requests, [f"hydra/launcher={launcher}", *options], str(tmp_path)) == [0, 2]


@pytest.mark.slow
def test_a_sweep_is_made_by_a_launcher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(INSTALLED["joblib"])
    write_jsonl(tmp_path / "rows.jsonl", [{"prompt": f"What is {n}?", "completion": f"A {n}."} for n in range(40)])
    asked = ("stage=data", f"data.path={tmp_path / 'rows.jsonl'}", "data.seed=1,2", "tracking=off")
    outputs = tmp_path / "my outputs, (1)"
    assert main(["-m", f"outputs='{outputs}'", "project=s", *asked, "hydra/launcher=joblib"]) == 0
    assert "2 requests, run with hydra/launcher=joblib" in capsys.readouterr().out
    store = Store(outputs, "s")
    seeds = [store.read_manifest("data", version)["config"]["seed"] for version in store.versions("data")]
    assert sorted(seeds) == [1, 2]


def test_the_jobs_of_slurm_are_queued_again_when_their_time_is_over() -> None:
    """There is no SLURM here: that submitit's launcher takes our settings is all that can be seen."""
    pytest.importorskip(INSTALLED["submitit"])
    register_schema()
    with initialize_config_dir(str(CONF), job_name="pipeline", version_base="1.3"):
        launcher = _launcher([["seed=0"]], ["hydra/launcher=slurm", "hydra.launcher.partition=gpu"])
    assert type(launcher).__name__ == "SlurmLauncher"
    found = {name: launcher.params[name] for name in ("partition", "gpus_per_node", "max_num_timeout")}
    assert found == {"partition": "gpu", "gpus_per_node": 1, "max_num_timeout": 20}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (["seed=0", "hydra/launcher=joblib"], "a launcher runs the requests of a sweep: add -m."),
        (["-m", "plan=true", "seed=0,1", "hydra/launcher=nope"], "no such launcher is installed."),
        (["-m", "plan=true", "seed=0,1", "hydra/launcher=basic", "hydra.launcher.nope=1"], "Could not override"),
    ],
)
def test_a_launcher_that_cannot_run_is_refused(
    request_: list[str], message: str, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [word for word in request_ if word == "-m"]
    assert main([*flags, f"outputs={outputs}", *request_[len(flags) :]]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not outputs.exists()
