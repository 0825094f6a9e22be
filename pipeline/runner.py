"""Runs a plan: skip what is up to date, resume what is unfinished, commit what is done, and say so in one line each."""

import contextlib
import errno
import logging
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.markup import escape

from pipeline.artifacts import Artifact, Store
from pipeline.config import PipelineConfig, content
from pipeline.console import console, progress, seconds_text
from pipeline.errors import PipelineError
from pipeline.people import People
from pipeline.planner import ASKED, UP_TO_DATE, Planner, Step, observed_fingerprint, short
from pipeline.stage import Runtime, StageContext
from pipeline.tracking import NoTracker, Tracker, Tracking, mode_of

LOG = "log.txt"
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "tokenizers", "wandb")
WIDE = 114  # columns from which on a stage's line also says what it was made from
FULL = 1_000_000  # bytes left on a disk that nothing more goes onto
SMALL = 50_000_000  # bytes of weights
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large",
}

log = logging.getLogger(__name__)


def run(config: PipelineConfig) -> list[Step]:
    """Make what the configuration asks for. Returns the steps of the chain; their artifacts are then in the store.

    Raises `WaitingForPeople` where it cannot go on before they have answered.
    """
    store = Store(Path(config.outputs), config.project)
    planner = Planner(config, store)
    steps = planner.plan()
    console.print(heading(config, len(planner.to_run())))
    if config.plan:
        _print_plan(planner)
        return steps
    os.environ.setdefault("OMP_NUM_THREADS", str(threads(config)))  # read by torch at its import
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with People(config.labeling, config.project, _say) as people:
        maker = Maker(config, store, Tracking(config.tracking, Path(config.outputs) / ".tracking"), people)
        settled: dict[str, str] = {}
        while (said := maker.make(planner)) is not None:
            settled[said.stage] = said.version
            planner = Planner(config, store, settled)
            steps = planner.plan()
    if config.tag:
        store.point(steps[-1].name, config.tag, steps[-1].version)
    return steps


class Maker:
    """Makes the steps of a plan, and prints a line for each, once."""

    def __init__(self, config: PipelineConfig, store: Store, tracking: Tracking, people: People) -> None:
        self.config, self.store, self.tracking, self.people = config, store, tracking, people
        self._printed: set[str] = set()

    def make(self, planner: Planner) -> Artifact | None:
        """All steps of a plan; where people are asked, those up to their answers, which are returned."""
        to_run = planner.to_run()
        for step in planner.steps.values():
            if step in to_run:
                artifact = self.observed(step) if step.asks else self.run_step(step)
            elif step.complete:
                artifact = self.store.open(step.name, step.version)
                self.store.point(step.name, step.pointer, step.version)
            else:
                continue  # nothing that runs needs it
            if step.title not in self._printed:
                console.print(line(step, artifact, step in to_run))
                if step.complete and step.why != UP_TO_DATE:
                    _say(step.why)
            self._printed.add(step.title)
            if step.asks:
                return artifact
        return None

    def observed(self, step: Step) -> Artifact:
        """What people have said by now, as the version that their answers come to."""
        if step.why != ASKED:
            _say(step.why)
        inputs = self._inputs(step)
        place = self.store.root / step.name
        context = self._context(inputs, place, NoTracker(), None)
        assert step.stage.observe is not None
        seen = step.stage.observe(step.config, context)
        version = observed_fingerprint(step.stage, seen, {role: given.version for role, given in inputs.items()})
        if self.store.is_complete(step.name, version):
            self.store.point(step.name, "latest", version)
            return self.store.open(step.name, version)
        return self.run_step(replace(step, version=version), seen)

    def run_step(self, step: Step, observed: Any = None) -> Artifact:
        """Run one stage into its version's directory and commit it."""
        inputs = self._inputs(step)
        with self.store.writing(step.name, step.version) as directory:
            if self.store.is_complete(step.name, step.version):  # another process made it in the meantime
                return self.store.open(step.name, step.version)
            tracker = self.tracking.start(_tracked_run(step, self.config, inputs))
            artifact = None
            began = time.monotonic()
            try:
                with _reported_faults(step, directory), _logging_to(directory / LOG):
                    log.info("%s@%s from %s", step.name, step.version, {r: a.reference for r, a in inputs.items()})
                    metrics = step.stage.run(step.config, self._context(inputs, directory, tracker, observed))
                manifest = _manifest(step, self.config, inputs, metrics, time.monotonic() - began, self.store)
                with _reported_faults(step, directory):
                    artifact = self.store.commit(step.name, step.version, manifest, pointer=step.pointer)
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
    ) -> StageContext:
        runtime = Runtime(self.config.launch, threads(self.config), self.config.gates)
        return StageContext(inputs, directory, runtime, progress, _say, tracker.log, self.people, observed)


def _print_plan(planner: Planner) -> None:
    to_run = planner.to_run()
    for step in planner.steps.values():
        action = "run " if step in to_run else "skip"
        why = step.why if step in to_run or step.complete else "not needed"
        console.print(f" {step.title:<12}{short(step.version):<4}  {action}  {escape(why)}")


def _say(remark: str) -> None:
    log.info(remark)
    console.print(f"   [dim]{escape(remark)}[/]")


def threads(config: PipelineConfig) -> int:
    """One torch thread for models as small as the embedded one, where more only wait for each other; else all cores."""
    folder = Path(config.model.path)
    small = not config.model.path or 0 < sum(f.stat().st_size for f in folder.glob("*.safetensors")) < SMALL
    return config.threads or (1 if small else os.cpu_count() or 1)


def heading(config: PipelineConfig, running: int) -> str:
    """The first line: which project this is, where it runs, and that annotators are simulated if they are."""
    mode = mode_of(config.tracking)
    parts = [f"[bold]{config.project}[/]", f"device {config.launch.device}", f"tracking {mode}"]
    if config.labeling.backend != "file" and not config.labeling.annotators and config.data.source == "playground":
        parts.append("annotators are [bold]SIMULATED[/]")
    if not running and not config.plan:
        parts.append("everything is up to date: nothing to run")
    return " · ".join(parts)


def line(step: Step, artifact: Artifact, ran: bool) -> str:
    """`sft  c3d2  from base a91c, data 77e0  eval loss 1.41  31 s`"""
    made_from = ", ".join(f"{given.stage} {short(given.version)}" for given in artifact.inputs.values())
    took = seconds_text(artifact.manifest["seconds"]) if ran else "up to date"
    origin = shorten(f"from {made_from}", 36, placeholder=" …") if made_from else ""
    said = f"{origin:<37}" if console.width >= WIDE else ""
    return f" {step.title:<12}{short(artifact.version)}  {said}{step.stage.summary(artifact.metrics):<45}{took:>12}"


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
        raise PipelineError(f"{step.title} ended with metrics that are not finite: {wrong}. See the log beside it.")
    return {
        "seconds": round(seconds, 3),
        "config": content(step.config),
        "inputs": {role: _recorded(artifact, store) for role, artifact in inputs.items()},
        "metrics": {name: float(value) for name, value in metrics.items()},
        "runtime": {**asdict(config.launch), "threads": threads(config), "gates": config.gates},
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "host": {"name": platform.node(), "system": platform.platform(), "python": platform.python_version()},
        "git": _git_commit(),
    }


def _recorded(artifact: Artifact, store: Store) -> dict[str, Any]:
    own: dict[str, Any] = {"stage": artifact.stage, "version": artifact.version}
    if artifact.manifest.get("source"):
        own["source"] = artifact.manifest["source"]
    elif not artifact.path.is_relative_to(store.root):  # of another project: found again by its place
        own["path"] = str(artifact.path.absolute())
    return own


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True)
    return asked.stdout.strip() or None if asked.returncode == 0 else None


def _tracked_run(step: Step, config: PipelineConfig, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    return {
        "id": f"{config.project}-{step.name}-{step.version}",
        "name": f"{step.title}-{short(step.version)}",
        "group": config.project,
        "job_type": step.name,
        "config": {**content(step.config), "inputs": {role: artifact.reference for role, artifact in inputs.items()}},
    }


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Everything that is logged while a stage runs goes into its log file, and nowhere else."""
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
        handler.close()
        logging.captureWarnings(False)


@contextlib.contextmanager
def _reported_faults(step: Step, directory: Path) -> Iterator[None]:
    """Faults of the machine and of our own code as one message each; what was done so far stays and is resumed."""
    again = f"What is done is kept in {directory}; the same command goes on from there."
    try:
        yield
    except (PipelineError, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = _machine_fault(error, directory)
        if reason:
            raise PipelineError(f"{step.title}: {reason}. {again}") from error
        raise PipelineError(
            f"{step.title} failed: {type(error).__name__}: {error}\n"
            f"The whole traceback is in {directory / LOG}. {again}"
        ) from error


def _machine_fault(error: BaseException, directory: Path) -> str | None:
    """What the machine ran out of, from an exception of any library; None where it is something else."""
    text = str(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{DISK.get(error.errno or 0, error.strerror or text)}{where}"
    if "No space left on device" in text or shutil.disk_usage(directory).free < FULL:  # torch only says it failed
        return DISK[errno.ENOSPC]
    if "File too large" in text or "os error 27" in text:
        return DISK[errno.EFBIG]
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return "out of memory; lower launch.micro_batch_size, or choose peft=lora or peft=qlora"
    return None
