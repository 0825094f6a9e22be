"""Runs the requests of a sweep with one of Hydra's launchers: several at once (joblib), or on a cluster (submitit).

The launcher decides when and where each runs. Each is a command of its own, as it would be typed there.
"""

import functools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.types import HydraContext, RunMode
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.compose import register_schema
from pipeline.config.names import CONF
from pipeline.errors import PipelineError, RequestError


def run_all(requests: Sequence[Sequence[str]], overrides: Sequence[str], folder: str) -> list[int]:
    """Run each request with the launcher that Hydra's `overrides` choose; its files go into `folder`.

    Returns the exit statuses. Raises `RequestError` for a launcher that is not there or does not take its settings.
    """
    register_schema()
    with initialize_config_dir(str(CONF), job_name="pipeline", version_base="1.3"):
        launcher = _launcher(requests, [*overrides, f"hydra.sweep.dir='{folder}'"])
        try:
            return [int(job.return_value) for job in launcher.launch([[] for _ in requests], initial_job_idx=0)]
        except Exception as error:  # joblib and submitit have their own for jobs that were killed or cancelled
            raise PipelineError(
                f"A job ended without an exit status ({type(error).__name__}: {error}). Finished work is kept; the "
                "same command continues from there."
            ) from error


def _launcher(requests: Sequence[Sequence[str]], overrides: Sequence[str]) -> Any:
    """Return Hydra's launcher, ready to run one job for each request."""
    loader = GlobalHydra.instance().config_loader()
    with _reported(overrides):
        config = loader.load_configuration("config", [*overrides], run_mode=RunMode.MULTIRUN)
        HydraConfig.instance().set_config(config)
        return Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks()),
            task_function=functools.partial(run_one, [list(one) for one in requests]),
            config=config,
        )


def run_one(requests: Sequence[Sequence[str]], composed: Any) -> int:
    """Run the request of the current job as a command and return its exit status; 1 if a signal ended it."""
    request = requests[HydraConfig.get().job.num]
    status = subprocess.run([sys.executable, "-m", "pipeline", *request]).returncode
    return status if status >= 0 else 1


@contextmanager
def _reported(overrides: Sequence[str]) -> Iterator[None]:
    """Turn Hydra's errors about a launcher into `RequestError`."""
    try:
        yield
    except MissingConfigException as error:
        raise RequestError(
            f"{' '.join(overrides)}: no such launcher is installed. joblib, submitit_local, submitit_slurm and slurm "
            "come with pip install -e '.[cluster]'."
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from error
