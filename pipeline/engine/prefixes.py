"""Checks, when a request is planned, how the machine is used where a prefix is trained (`peft.method=prefix`)."""

from collections.abc import Collection, Iterator

from pipeline.config.schema import PipelineConfig
from pipeline.errors import Unplannable
from pipeline.model_files.architectures import PREFIX


def check_prefixes(config: PipelineConfig, stages: Collection[str]) -> None:
    """Raise `Unplannable` if one of `stages`, which are to run, trains a prefix in a way that would leave it out."""
    tuned = [name for name in stages if getattr(getattr(getattr(config, name), "peft", None), "method", "") == PREFIX]
    faults = [f"{name}.peft.method=prefix: {fault}" for name in tuned for fault in _faults(config, name)]
    if faults:
        raise Unplannable(faults)


def _faults(config: PipelineConfig, name: str) -> Iterator[str]:
    launch = config.launch
    if launch.gradient_checkpointing:
        yield "recomputed layers would not see the prefix: launch.gradient_checkpointing=false."
    if launch.compile:
        yield "it was not compared with compiled layers: launch.compile=false."
    if launch.processes > 1:
        yield "it was not compared in several processes: launch.processes=1."
    if getattr(config, name).packing:
        yield f"packed rows would all be after one prefix: {name}.packing=false."
