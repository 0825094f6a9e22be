"""Mirrors the manifests to Weights & Biases. Everything also works without a network or a key.

There is one run per version: the project is the group, the stage is the `job_type`, and the run's id contains the
version, so a resumed version continues its run. Artifacts are logged by reference; payloads are not uploaded.
"""

import logging
import netrc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from pipeline.config.nodes.machine import TrackingConfig
from pipeline.errors import RequestError
from pipeline.store.artifact import Artifact

log = logging.getLogger(__name__)

SERVICE = {"wandb", "requests", "urllib3", "httpx", "httpcore"}  # exceptions of these packages are service faults
REACHED_WITHIN = 20  # seconds; a longer timeout would only delay a machine without a network


class Tracker(Protocol):
    """Receives the metrics of one version."""

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...

    def finish(self, artifact: Artifact | None) -> None: ...


class NoTracker:
    """Does nothing, for tracking=off."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        return

    def finish(self, artifact: Artifact | None) -> None:
        return


class WandbTracker:
    """A W&B run for one version. When the run ends, faults of the service are logged and not raised."""

    def __init__(self, mode: str, config: TrackingConfig, folder: Path, run: Mapping[str, Any]) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
            init_timeout=REACHED_WITHIN,
            x_disable_meta=True,
            x_disable_stats=True,
        )
        self._wandb = wandb
        self._online = mode == "online"
        self._run = wandb.init(
            mode=cast(Any, mode),
            project=config.project,
            entity=config.entity,
            dir=folder,
            resume="allow",
            settings=settings,
            **run,
        )
        self._run.define_metric("*", step_metric="tokens")  # the only step that is comparable between stages

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self, artifact: Artifact | None) -> None:
        """Mirror the manifest and end the run."""
        try:
            if artifact is not None:
                self._mirror(artifact)
            self._run.finish(exit_code=0 if artifact is not None else 1)
        except Exception as error:  # the version is complete even if the service fails
            if not is_service_fault(error):
                raise
            log.exception("W&B did not take %s", self._run.id)

    def _mirror(self, artifact: Artifact) -> None:
        """Log the metrics as the summary, the artifact by reference, and the lineage if online."""
        self._run.log({}, commit=True)  # otherwise the last step's row would overwrite the summary
        self._run.summary.update(dict(artifact.metrics))
        made_from = {role: given.reference for role, given in artifact.inputs.items()}
        if self._online:  # offline, `use_artifact` raises; the metadata holds the lineage
            for given in artifact.inputs.values():
                if given.manifest.get("files"):
                    self._use(f"{given.stage}-{given.version}:latest")
        metadata = {"inputs": made_from, "metrics": dict(artifact.metrics), "reference": artifact.reference}
        logged = self._wandb.Artifact(f"{artifact.stage}-{artifact.version}", type=artifact.stage, metadata=metadata)
        logged.add_reference(artifact.path.absolute().as_uri(), checksum=False)
        self._run.log_artifact(logged)

    def _use(self, name: str) -> None:
        """Link an input's artifact at W&B. An input that was tracked offline is missing there."""
        try:
            self._run.use_artifact(name)
        except ValueError as error:  # raised by W&B for an artifact that it does not have
            log.warning("W&B does not have %s: %s", name, error)


def is_service_fault(error: Exception) -> bool:
    """Whether W&B, the network or the disk raised this exception. All others are bugs in the pipeline."""
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(packages & SERVICE)


def mode_of(config: TrackingConfig) -> str:
    """Return the tracking mode. `auto` is online with a key in the environment or the netrc file, else offline."""
    if config.mode != "auto":
        return config.mode
    return "online" if os.environ.get("WANDB_API_KEY") or _key_in_netrc() else "offline"


def _key_in_netrc() -> bool:
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class Tracking:
    """Creates trackers for the versions of one chain. If the service cannot be reached, the rest is tracked offline."""

    def __init__(self, config: TrackingConfig, folder: Path, say: Callable[[str], None]) -> None:
        self.config, self.folder, self.mode, self._say = config, folder, mode_of(config), say

    def start(self, run: Mapping[str, Any], *, quick: bool = False) -> Tracker:
        """Return a tracker for one version. `run` holds wandb.init's id, name, group, job_type and config.

        A `quick` stage is not tracked offline: importing wandb takes longer than the stage, and there is no curve to
        keep. Raises `RequestError` for invalid environment variables WANDB_….
        """
        if quick and self.mode == "offline":
            return NoTracker()
        while self.mode != "off":
            try:
                return WandbTracker(self.mode, self.config, self.folder, run)
            except Exception as error:  # a tracking service must never end a training run
                if type(error).__module__.startswith("pydantic"):  # from wandb.Settings, which reads WANDB_…
                    words = " ".join(str(error).splitlines()[1:3])
                    raise RequestError(f"W&B refuses its settings (variables WANDB_…): {words}") from error
                if not is_service_fault(error):
                    raise
                instead = "offline" if self.mode == "online" else "off"
                self._say(f"W&B cannot be reached {self.mode} ({type(error).__name__}): {instead} from here")
                self.mode = instead
        return NoTracker()
