"""Weights & Biases as a mirror of the manifests: with no network and no key everything still works.

One run per version made: the project's name is the group, the stage is the `job_type`, the version is the run's id, so
a resumed version goes on in its own run. The artifact is logged by reference: payloads stay where they are.
"""

import logging
import netrc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from pipeline.config.schema import TrackingConfig
from pipeline.errors import RequestError
from pipeline.store.artifacts import Artifact

log = logging.getLogger(__name__)

SERVICE = {"wandb", "requests", "urllib3", "httpx", "httpcore"}  # packages whose exceptions are the service's
REACHED_WITHIN = 20  # seconds: longer, and a machine without a network waits for nothing


class Tracker(Protocol):
    """Where the metrics of one version go."""

    def log(self, metrics: Mapping[str, float], step: int) -> None: ...

    def finish(self, artifact: Artifact | None) -> None: ...


class NoTracker:
    """tracking=off"""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        return

    def finish(self, artifact: Artifact | None) -> None:
        return


class WandbTracker:
    """A W&B run for one version. A fault of the service is logged and never ends the work."""

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
        self._run.define_metric("*", step_metric="tokens")  # the step that means the same in every training stage

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self, artifact: Artifact | None) -> None:
        """Mirror the manifest, and end the run."""
        try:
            if artifact is not None:
                self._mirror(artifact)
            self._run.finish(exit_code=0 if artifact is not None else 1)
        except Exception as error:  # the version is made, whatever the service says
            if not is_service_fault(error):
                raise
            log.exception("W&B did not take %s", self._run.id)

    def _mirror(self, artifact: Artifact) -> None:
        """Metrics as the summary, the artifact by reference, lineage as far as the mode allows."""
        self._run.log({}, commit=True)  # else the last step's row would come after, and overwrite, the summary
        self._run.summary.update(dict(artifact.metrics))
        made_from = {role: given.reference for role, given in artifact.inputs.items()}
        if self._online:  # offline, `use_artifact` always raises: there the lineage is the metadata
            for given in artifact.inputs.values():
                if given.manifest.get("files"):
                    self._use(f"{given.stage}-{given.version}:latest")
        metadata = {"inputs": made_from, "metrics": dict(artifact.metrics), "reference": artifact.reference}
        logged = self._wandb.Artifact(f"{artifact.stage}-{artifact.version}", type=artifact.stage, metadata=metadata)
        logged.add_reference(artifact.path.absolute().as_uri(), checksum=False)
        self._run.log_artifact(logged)

    def _use(self, name: str) -> None:
        """Draw the lineage at W&B, as far as it is there: an input that was tracked offline is not."""
        try:
            self._run.use_artifact(name)
        except ValueError as error:  # W&B's word for an artifact that it does not have
            log.warning("W&B does not have %s: %s", name, error)


def is_service_fault(error: Exception) -> bool:
    """Whether an exception is W&B's, the network's or the disk's. All others are bugs of this pipeline."""
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(packages & SERVICE)


def mode_of(config: TrackingConfig) -> str:
    """`auto` resolved: online with a key in the environment or the netrc file, else offline."""
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
    """Trackers for the versions of one chain; where the service cannot be reached, the rest is tracked offline."""

    def __init__(self, config: TrackingConfig, folder: Path, say: Callable[[str], None]) -> None:
        self.config, self.folder, self.mode, self._say = config, folder, mode_of(config), say

    def start(self, run: Mapping[str, Any], *, quick: bool = False) -> Tracker:
        """A tracker for one version; `run` holds wandb.init's id, name, group, job_type and config.

        A `quick` stage is not tracked offline: importing wandb takes longer than the stage, and has no curve to keep.
        """
        if quick and self.mode == "offline":
            return NoTracker()
        while self.mode != "off":
            try:
                return WandbTracker(self.mode, self.config, self.folder, run)
            except Exception as error:  # a tracking service must never cost a training run
                if type(error).__module__.startswith("pydantic"):  # of wandb.Settings: the environment's WANDB_…
                    words = " ".join(str(error).splitlines()[1:3])
                    raise RequestError(f"W&B refuses its settings (variables WANDB_…): {words}") from error
                if not is_service_fault(error):
                    raise
                instead = "offline" if self.mode == "online" else "off"
                self._say(f"W&B cannot be reached {self.mode} ({type(error).__name__}): {instead} from here")
                self.mode = instead
        return NoTracker()
