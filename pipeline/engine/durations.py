"""What a step will take besides memory: disk, and time, as far as an earlier version of its stage tells it."""

import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config.schema import PipelineConfig, content
from pipeline.console import seconds_text
from pipeline.engine.fitting import Plan, size_text
from pipeline.engine.maker import packing_of
from pipeline.engine.planner import Step
from pipeline.engine.starts import rows_file, start_of
from pipeline.errors import PipelineError
from pipeline.memory.disk import Disk, disk_of
from pipeline.memory.estimates import Start, held_by
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

PROPORTIONAL = ("epochs", "iterations", "rollouts", "answers")  # options that multiply the time
COSTLY = (  # options that change how long a row takes, so they have to be equal
    *("peft", "decoding", "max_new_tokens", "max_length", "judge", "watch_judge", "rewards", "policies"),
    *("batch_size", "sampling_batch_size", "early_stopping", "trainer", "advantage", "value_warmup"),
)
MACHINE = (  # uses of the machine that have to be equal
    *("device", "processes", "micro_batch_size", "gradient_checkpointing", "attn_implementation", "compile"),
    *("mixed_precision", "packing"),
)


class Duration(NamedTuple):
    """The expected seconds of a step, and the version that they follow from."""

    seconds: float
    earlier: Artifact


def expected_duration(step: Step, start: Start, config: PipelineConfig, store: Store) -> Duration | None:
    """Return how long a step will take; None if no version like it was made here without a break.

    Seconds grow with epochs, iterations, rollouts and answers, and with the bytes of the rows.
    """
    now = _work(step, content(step.config), store)
    for earlier in _alike(step, start, config, store) if now else ():
        before = _work(earlier, earlier.manifest["config"], store)
        if now and before:
            return Duration(float(earlier.manifest["seconds"]) * now / before, earlier)
    return None


def _alike(step: Step, start: Start, config: PipelineConfig, store: Store) -> Iterator[Artifact]:
    """Yield earlier versions of a stage whose rows took as long as they will now, newest first."""
    runtime = {**asdict(config.launch), **packing_of(step)}
    wanted = _part(content(step.config), COSTLY), _part(runtime, MACHINE)
    for version in reversed(store.versions(step.name)):
        try:
            earlier = store.open(step.name, version)
        except PipelineError:  # the damage is reported when it is used
            continue
        found = earlier.manifest
        is_here = found.get("host", {}).get("name") == platform.node()
        without_break = found.get("resumed") is False  # the seconds of a resumed run are those since it went on
        same = (_part(found["config"], COSTLY), _part(found.get("runtime", {}), MACHINE)) == wanted
        if is_here and without_break and same and start_of(earlier, config) == start:
            yield earlier


def _part(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}


def _work(given: Step | Artifact, config: Mapping[str, Any], store: Store) -> float | None:
    """Return a number in proportion to a stage's time; None if its rows are not there yet."""
    factor = prod(float(config[name]) for name in PROPORTIONAL if name in config)
    if "iterations" in config:  # as many answers, whatever the number of prompts
        return factor
    file = rows_file(given, store)
    return factor * _size(file, config.get("prompts")) if file else None


def _size(file: Path, most: int | None) -> float:
    """Return the bytes of a file's rows, of at most `most` of them."""
    size = float(file.stat().st_size)
    if most is None:
        return size
    with file.open("rb") as lines:
        count = sum(1 for _ in lines)
    return size * min(1.0, most / max(count, 1))


# -- words -------------------------------------------------------------------------------------------------------------


def cost_lines(plan: Plan, config: PipelineConfig, store: Store) -> Iterator[str]:
    """Yield the lines about disk, for a stage that trains, and about time."""
    peft = getattr(plan.step.config, "peft", None)
    if peft:
        held = held_by(plan.step.stage, peft, config.launch, plan.start, plan.device)
        yield disk_text(disk_of(plan.step.config, held), _free_disk(store.root))
    found = expected_duration(plan.step, plan.start, config, store)
    if found is None:
        yield "its time is not known: no version like it was made here without a break"
    else:
        before = seconds_text(float(found.earlier.manifest["seconds"]))
        yield f"about {seconds_text(found.seconds)}: {found.earlier.reference} took {before}"


def disk_text(disk: Disk, free: float) -> str:
    """Return the line about the disk, with a warning if it has less free than the stage takes."""
    meanwhile = size_text(disk.most - disk.kept)
    verdict = "" if disk.most <= free else ": too little. Remove versions (artifacts prune), or give outputs=FOLDER"
    return f"disk: weights of {size_text(disk.kept)}, checkpoints of up to {meanwhile}; {size_text(free)} free{verdict}"


def _free_disk(folder: Path) -> float:
    """Return the free bytes where a folder is, or will be."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    return float(shutil.disk_usage(there).free)
