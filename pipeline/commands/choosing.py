"""Chooses settings with which every stage of a chain fits the memory of a machine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import PeftConfig
from pipeline.config.schema import PipelineConfig, tuned_stages
from pipeline.memory.estimates import Device, Longest, Start, memory_of
from pipeline.stages import STAGES

MICRO = (8, 4, 2, 1)  # rows per pass, the quickest first
SAMPLED = (128, 64, 32, 16, 8, 4, 2, 1)  # answers that PPO samples at once
TOKENS = (131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024)  # of answers written at once by `sample` and `evaluate`
ROLLOUTS = (64, 32, 16)  # answers of an iteration of PPO: a reward model scores them at once
BUDGET = "launch.batch_tokens"
METHODS = ("lora", "qlora")  # adapters learn as well as all weights do ("LoRA Without Regret", Schulman et al., 2025)


@dataclass(frozen=True)
class Machine:
    """The device that a chain runs on, and the bytes that it may use there."""

    device: Device
    memory: float


@dataclass(frozen=True)
class Chosen:
    """Settings that fit: the method, how passes are made, the sizes of samples, and each stage's memory in bytes."""

    method: str
    launch: Mapping[str, Any]
    sizes: Mapping[str, int]  # key -> answers, or their tokens
    memory: Mapping[str, float]


def choose(config: PipelineConfig, start: Start, longest: Longest, machine: Machine) -> Chosen | None:
    """Return the first settings with which every stage fits; None if there are none.

    Adapters on whole weights come before adapters on 4 bits, keeping activations before recomputing them, and many rows
    in a pass before few.
    """
    for method in ("full",) if config.peft.method == "full" else METHODS:
        for launch in _launches(config, method, machine.device):
            found = _fitted(config, method, launch, start, longest, machine)
            if found:
                return found
    return None


def least_memory(config: PipelineConfig, method: str, start: Start, longest: Longest, device: Device) -> float:
    """Return what the largest stage needs with a method when everything else is as small as it can be."""
    launch = list(_launches(config, method, device))[-1]
    given = (method, launch, start, longest, device)
    return max(_memory(config, name, *given, 1, ROLLOUTS[-1]) for name in _stages())


def _launches(config: PipelineConfig, method: str, device: Device) -> Iterator[LaunchConfig]:
    """Yield the ways to pass a batch through a model, the quickest first."""
    shared = gcd(*(getattr(config, name).batch_size for name in tuned_stages()))
    own = LaunchConfig(device=device, mixed_precision="bf16" if (method, device) == ("qlora", "cuda") else "auto")
    for recompute in (False, True):
        for micro in MICRO:
            if shared % micro == 0:
                yield replace(own, micro_batch_size=micro, gradient_checkpointing=recompute)


def _stages() -> list[str]:
    return [name for name, stage in STAGES.items() if stage.rows]


def _fitted(
    config: PipelineConfig, method: str, launch: LaunchConfig, start: Start, longest: Longest, machine: Machine
) -> Chosen | None:
    """Return the settings of one way, with the largest samples that fit; None if a stage does not fit."""
    memory: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for name in _stages():
        samples = hasattr(getattr(config, name), "decoding")
        ppo = STAGES[name].generates
        for rollouts in ROLLOUTS if ppo else (None,):
            for sampled in SAMPLED if ppo else TOKENS if samples else (None,):
                needed = _memory(config, name, method, launch, start, longest, machine.device, sampled, rollouts)
                if needed <= machine.memory and name not in memory:
                    memory[name] = needed
                    sizes |= _sizes(name, sampled, rollouts, sizes)
        if name not in memory:
            return None
    passes = {"micro_batch_size": launch.micro_batch_size, "gradient_checkpointing": launch.gradient_checkpointing}
    return Chosen(method, {"mixed_precision": launch.mixed_precision, **passes}, sizes, memory)


def _sizes(name: str, sampled: int | None, rollouts: int | None, others: Mapping[str, int]) -> dict[str, int]:
    """Return the keys that a stage's sizes have in the configuration; `others` are those of the stages before it."""
    if rollouts:
        return {f"{name}.rollouts": rollouts, f"{name}.sampling_batch_size": min(sampled or 1, rollouts)}
    return {BUDGET: min(sampled, others.get(BUDGET, sampled))} if sampled else {}


def _memory(
    config: PipelineConfig,
    name: str,
    method: str,
    launch: LaunchConfig,
    start: Start,
    longest: Longest,
    device: Device,
    sampled: int | None,
    rollouts: int | None,
) -> float:
    """Return the bytes that a stage needs after the stages before it have trained adapters or all weights."""
    node, first = getattr(config, name), name == "sft"
    if hasattr(node, "peft"):
        node = replace(node, peft=PeftConfig(method=method, rank=config.peft.rank))
    if STAGES[name].generates:
        assert rollouts
        node = replace(node, rollouts=rollouts, batch_size=rollouts // 2, sampling_batch_size=sampled)
    elif hasattr(node, "decoding"):
        assert sampled
        launch = replace(launch, batch_tokens=sampled)
    if not first and method != "full":
        start = replace(start, below=start.shape.adapter(config.peft.rank), quantized=method == "qlora")
    return memory_of(STAGES[name], node, launch, start, longest, device).total
