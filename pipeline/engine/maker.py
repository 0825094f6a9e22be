"""Makes one version: locks its directory, runs the stage there with a log file, and commits the result."""

import contextlib
import errno
import logging
import math
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from labeling.overlap import overlap_of
from pipeline.config.nodes.people import LabelingConfig
from pipeline.config.schema import PipelineConfig, content
from pipeline.engine.fitting import check_fits, is_served
from pipeline.engine.group import ALONE
from pipeline.engine.machine import threads
from pipeline.engine.planner import PEOPLE_ARE_ASKED, Step, observed_fingerprint, short_version
from pipeline.errors import PipelineError, RequestError, WaitingForPeople
from pipeline.garbage import import_for_good
from pipeline.people.annotators import People
from pipeline.people.history import collections
from pipeline.people.waiting import uninvited
from pipeline.progress import Reporter
from pipeline.services.tracking import NoTracker, Tracker, Tracking
from pipeline.stage import PeopleContext, Runtime
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import CHECKPOINTS, Store

LOG = "log.txt"
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "tokenizers", "wandb")
MIN_FREE_BYTES = 1_000_000  # a disk with fewer free bytes counts as full
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large",
}

log = logging.getLogger(__name__)


class Maker:
    """Makes versions in the current process."""

    def __init__(self, config: PipelineConfig, store: Store, people: People, reporter: Reporter) -> None:
        self.config, self.store, self.people, self.reporter = config, store, people, reporter
        self.group = ALONE  # the processes that make the next step
        self.tracking = Tracking(config.tracking, Path(config.outputs) / ".tracking", self.say)

    def say(self, remark: str) -> None:
        log.info(remark)
        self.reporter.say(remark)

    def make(self, step: Step) -> Artifact:
        """Make a step and return its artifact. For a step that asks people, the version depends on their answers."""
        return self.observed(step) if step.asks else self.run_step(step)

    def observed(self, step: Step) -> Artifact:
        """Return the artifact of people's answers so far; its version is the hash of these answers.

        If an earlier collection of this round has more answers, return that one. Raises `WaitingForPeople` if there are
        too few.
        """
        if step.why != PEOPLE_ARE_ASKED:
            self.say(step.why)
        inputs = self._inputs(step)
        assert step.stage.asking is not None
        seen = self._observe(step, inputs)
        version = observed_fingerprint(step.stage, seen, {role: given.version for role, given in inputs.items()})
        if not self.store.is_complete(step.name, version):
            self.run_step(replace(step, version=version), seen)
        about = step.stage.asking.about
        used = collections(self.store, step.name, about)[inputs[about].version].version
        if used != version:
            self.say(_fewer(step.name, used))
        self.store.point(step.name, "latest", used)
        return self.store.open(step.name, used)

    def welcome(self, step: Step) -> None:
        """Invite people who were named after a complete step's round was answered. What stands is used as it is."""
        asking = step.stage.asking
        if asking is None or not asking.applies(self.config) or not (new := uninvited(self.people)):
            return
        inputs = self.store.open(step.name, step.version).inputs
        if asking.about in inputs:
            try:
                self._observe(replace(step, config=replace(step.config, wait=False)), inputs)
            except WaitingForPeople:
                self.say(_fewer(step.name, step.version))
            except PipelineError as error:
                self.say(f"not invited: {', '.join(new)}. {error}")

    def _observe(self, step: Step, inputs: Mapping[str, Artifact]) -> Any:
        """Read people's answers. A whole collection of the round stands, unless `overlap` asks for more answers."""
        assert step.stage.asking is not None
        about = step.stage.asking.about
        made = collections(self.store, step.name, about).get(inputs[about].version)
        more = made is not None and made.overlap is not None and _asks_for_more(self.config.labeling, made.overlap)
        standing = made.answers if made is not None and made.whole and not more else 0
        context = replace(self._context(inputs, self.store.root / step.name, NoTracker(), None), standing=standing)
        return step.stage.asking.observe(step.config, context)

    def make_together(self, step: Step) -> None:
        """Make a step as one process of the group: the main one makes the version, the others only compute."""
        if self.group.rank == 0:
            self.run_step(step)
            return
        inputs, directory = self._inputs(step), self.store.directory(step.name, step.version)
        logging.captureWarnings(True)  # the main process logs the same ones
        _import_libraries(step)
        with _reported_faults(step, directory), self.group.join():
            step.stage.run(step.config, self._context(inputs, directory, NoTracker(), None))

    def run_step(self, step: Step, observed: Any = None) -> Artifact:
        """Run one stage in its version's directory, commit it, and return the artifact.

        A `RequestError` also removes the directory if nothing but the log is in it.
        """
        inputs = self._inputs(step)
        given = {**inputs, **step.work}
        check_fits(step, self.config, self.store)
        with self.store.writing(step.name, step.version) as directory:
            if self.store.is_complete(step.name, step.version):  # made meanwhile by another process
                return self.store.open(step.name, step.version)
            tracker = self.tracking.start(_tracked_run(step, self.config, inputs), quick=step.stage.quick)
            artifact = None
            began, resumed = time.monotonic(), (directory / CHECKPOINTS).is_dir()
            try:
                with _reported_faults(step, directory), _logging_to(directory / LOG):
                    _import_libraries(step)
                    log.info("%s@%s from %s", step.name, step.version, {r: a.reference for r, a in inputs.items()})
                    with self.group.join():
                        metrics = step.stage.run(step.config, self._context(given, directory, tracker, observed))
                manifest = _manifest(step, self.config, inputs, metrics, time.monotonic() - began, self.store)
                manifest["resumed"] = resumed  # `seconds` are then those since it went on
                with _reported_faults(step, directory):
                    artifact = self.store.commit(step.name, step.version, manifest)
            except RequestError:
                self.store.discard(step.name, step.version, {LOG})
                raise
            finally:
                tracker.finish(artifact)
        return artifact

    def _inputs(self, step: Step) -> dict[str, Artifact]:
        return {
            role: given if isinstance(given, Artifact) else self.store.open(given.name, given.version)
            for role, given in step.inputs.items()
        }

    def _context(
        self, inputs: Mapping[str, Artifact], directory: Path, tracker: Tracker, observed: Any
    ) -> PeopleContext:
        own = self.group.rank, self.group.count
        runtime = Runtime(self.config.launch, threads(self.config), self.config.gates, *own, self.config.generation)

        def track(metrics: Mapping[str, float], step: int) -> None:
            self.reporter.note(metrics)
            tracker.log(metrics, step)

        return PeopleContext(inputs, directory, runtime, self.reporter.progress, self.say, track, self.people, observed)


def _fewer(stage: str, version: str) -> str:
    return f"the server has fewer answers than {stage} {short_version(version)}, which is used"


def _import_libraries(step: Step) -> None:
    """Import what every stage with a model uses: peft, and with it torch and transformers."""
    if step.stage.rows or step.stage.makes:
        import_for_good("peft")


def _manifest(
    step: Step,
    config: PipelineConfig,
    inputs: Mapping[str, Artifact],
    metrics: Mapping[str, float],
    seconds: float,
    store: Store,
) -> dict[str, Any]:
    wrong = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if wrong:
        raise PipelineError(f"{step.name} ended with metrics that are not finite: {wrong}. See the log beside it.")
    return {
        "seconds": round(seconds, 3),
        "config": content(step.config),
        "inputs": {role: _recorded(artifact, store) for role, artifact in inputs.items()},
        "metrics": {name: float(value) for name, value in metrics.items()},
        "runtime": {
            **asdict(config.launch),
            **packing_of(step),
            **servers_of(step, config),
            **({"shards": [shard.version for shard in step.work.values()]} if step.work else {}),
            "threads": threads(config),
            "gates": config.gates,
        },
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "host": {"name": platform.node(), "system": platform.platform(), "python": platform.python_version()},
        "git": _git_commit(),
    }


def packing_of(step: Step) -> dict[str, bool]:
    """Return whether rows are packed, which changes the time and no version."""
    return {"packing": step.config.packing} if hasattr(step.config, "packing") else {}


def servers_of(step: Step, config: PipelineConfig) -> dict[str, Any]:
    """Return the servers that drew answers, for a stage that had them drawn elsewhere."""
    return {"generation": asdict(config.generation)} if is_served(step) else {}


def _recorded(artifact: Artifact, store: Store) -> dict[str, Any]:
    own: dict[str, Any] = {"stage": artifact.stage, "version": artifact.version}
    if artifact.is_external:
        own["source"] = artifact.source
    elif not artifact.path.is_relative_to(store.root):  # of another project: its path is needed to find it again
        own["path"] = str(artifact.path.absolute())
    return own


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    return asked.stdout.strip() or None if asked.returncode == 0 else None


def _tracked_run(step: Step, config: PipelineConfig, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    return {
        "id": f"{config.project}-{step.name}-{step.version}",
        "name": f"{step.name}-{short_version(step.version)}",
        "group": config.project,
        "job_type": step.name,
        "config": {**content(step.config), "inputs": {role: artifact.reference for role, artifact in inputs.items()}},
    }


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Write the log messages and warnings of a running stage to its log file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    except BaseException:
        log.exception("stopped")
        raise
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        with contextlib.suppress(OSError):
            handler.close()
        logging.captureWarnings(False)


@contextlib.contextmanager
def _reported_faults(step: Step, directory: Path) -> Iterator[None]:
    """Turn any other exception into one `PipelineError`. The unfinished version stays and is resumed later."""
    again = f"Finished work is kept in {directory}; the same command continues from there."
    try:
        yield
    except (PipelineError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = _machine_fault(error, directory)
        if reason:
            raise PipelineError(f"{step.name}: {reason}. {again}") from error
        raise PipelineError(
            f"{step.name} failed: {type(error).__name__}: {error}\nThe whole traceback is in {directory / LOG}. {again}"
        ) from error


def _machine_fault(error: BaseException, directory: Path) -> str | None:
    """Return the resource that ran out (disk, quota, memory) or the failed file access; None for other exceptions."""
    text = str(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{DISK.get(error.errno or 0, error.strerror or text)}{where}"
    if "No space left on device" in text or shutil.disk_usage(directory).free < MIN_FREE_BYTES:  # torch gives no reason
        return DISK[errno.ENOSPC]
    if "File too large" in text or "os error 27" in text:
        return DISK[errno.EFBIG]
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return "out of memory; lower launch.micro_batch_size, or choose peft=lora or peft=qlora"
    return None


def _asks_for_more(labeling: LabelingConfig, collected: int | str) -> bool:
    """Return whether some task may need more answers than it needed when they were collected."""
    now, then = overlap_of(labeling.overlap), overlap_of(collected)
    return now.least > then.least or now.highest > then.highest
