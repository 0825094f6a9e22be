"""Checks whether the stages of a request can run in the requested number of processes, when it is planned."""

import os
from collections.abc import Collection, Iterator

from pipeline.config.losses import uses_own_losses
from pipeline.config.nodes.machine import ATTENTION_ON_GPU
from pipeline.config.schema import PipelineConfig
from pipeline.engine.machine import gpus
from pipeline.errors import Unplannable
from pipeline.stages import STAGES

LIBRARIES = {  # that shard models: the variables by which accelerate is told to use them
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron",
}
ORDERS = ("random", "sequential")  # of rows; the others of transformers depend on the number of processes


def check_processes(config: PipelineConfig, stages: Collection[str]) -> None:
    """Raise `Unplannable` if one of `stages`, which several processes would make together, cannot be made so."""
    faults = list(_faults(config, stages)) if config.launch.processes > 1 and stages else []
    if config.launch.shard and stages:
        faults += _shard_faults(config, stages)
    if faults:
        raise Unplannable(faults)


def _faults(config: PipelineConfig, stages: Collection[str]) -> Iterator[str]:
    yield from _machine_faults(config)
    count, micro = config.launch.processes, config.launch.micro_batch_size
    for name in stages:
        node = getattr(config, name)
        batch = getattr(node, "batch_size", None)
        if batch is None:
            continue
        if batch % count:
            fits = f"{name}.batch_size={-(-batch // count) * count}"
            yield f"launch.processes={count}: does not divide {name}.batch_size={batch}. Give {fits}, for example."
        elif micro and batch // count > micro and batch // count % micro:
            yield (
                f"launch.micro_batch_size={micro}: does not divide the {batch // count} rows of a process, "
                f"{name}.batch_size={batch} / launch.processes={count}."
            )
        if getattr(node, "packing", False):
            yield f"{name}.packing=true: packed steps were not compared in several processes: launch.processes=1."
        yield from _trainer_faults(name, getattr(node, "trainer", {}))


def _machine_faults(config: PipelineConfig) -> Iterator[str]:
    launch, there = config.launch, len(gpus())
    for variable, name in LIBRARIES.items():
        if os.environ.get(variable, "").lower() == "true":
            yield f"{variable}=true: choose no {name}. Models are sharded by launch.shard=true, in one way."
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no":
        yield "ACCELERATE_MIXED_PRECISION: the precision is part of the request: launch.mixed_precision=bf16."
    if launch.device == "mps":
        yield f"launch.processes={launch.processes}: an Apple GPU takes one process: launch.processes=1."
    if (launch.parallel or 1) > 1:
        yield (
            f"launch.parallel={launch.parallel}: a request makes several stages at once, or one in several processes "
            f"(launch.processes={launch.processes}): leave one of the two out."
        )
    if launch.device in ("auto", "cuda") and 0 < there < launch.processes:
        yield f"launch.processes={launch.processes}: each needs a GPU of its own, and {there} can be seen here."


def _shard_faults(config: PipelineConfig, stages: Collection[str]) -> Iterator[str]:
    """Yield why `launch.shard=true` cannot be kept. `base` and stages that train nothing keep whole copies."""
    launch = config.launch
    if launch.processes == 1:
        yield "launch.shard=true: several processes share a model: give their number, launch.processes=8, for example."
    if launch.compile:
        yield "launch.shard=true: compiled layers were not compared with it: launch.compile=false."
    if launch.attn_implementation in ATTENTION_ON_GPU:
        yield (
            f"launch.shard=true: models are checked on the CPU before they are sharded, and "
            f"launch.attn_implementation={launch.attn_implementation} needs a GPU. Use sdpa."
        )
    for name in stages:
        method = getattr(getattr(getattr(config, name), "peft", None), "method", None)
        if method == "full" and STAGES[name].generates:
            yield (
                f"launch.shard=true: the models of {name} are not sharded: peft@{name}.peft=lora, with which they have "
                "one base model, or launch.shard=false."
            )
        elif method == "qlora" and not STAGES[name].generates:
            yield f"launch.shard=true: 4-bit weights are not sharded: peft@{name}.peft=lora, or launch.shard=false."


def _trainer_faults(name: str, trainer: dict[str, object]) -> Iterator[str]:
    """Yield options with which losses would depend on the number of processes."""
    order = trainer.get("train_sampling_strategy", "random")
    if order not in ORDERS:
        yield f"{name}.trainer.train_sampling_strategy={order}: in one process only: launch.processes=1."
    if name == "dpo" and not uses_own_losses(trainer):
        yield (
            "dpo.trainer: TRL computes this loss, as a mean over the rows of each process: launch.processes=1. The "
            "losses and options of docs/reference.md that the pipeline computes run in several processes."
        )
