"""Finds the smallest change of a request with which a step fits the memory."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import gcd
from typing import Any

from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.schema import PipelineConfig, tuned_stages
from pipeline.memory.estimates import Device, Longest, Start, memory_of
from pipeline.model_files.architectures import PREFIX
from pipeline.stage import Stage

Change = dict[str, Any]  # the end of a key -> its value; keys of `launch` begin with `launch.`

MICRO, RECOMPUTE, METHOD = "launch.micro_batch_size", "launch.gradient_checkpointing", "peft.method"
SHARD, TOKENS = "launch.shard", "launch.batch_tokens"


def remedy(
    stage: Stage,
    node: Any,
    config: PipelineConfig,
    start: Start,
    longest: Longest,
    device: Device,
    free: float,
) -> str | None:
    """Return the overrides with which a stage fits `free` bytes; None if none are known.

    A single change comes before several, and changes that keep the result come before those that do not.
    """
    for change in _changes(stage, node, config):
        changed, launch = _changed(node, config.launch, change)
        if memory_of(stage, changed, launch, start, longest, device).total <= free:
            return " ".join(_override(stage.name, key, value) for key, value in change.items())
    return None


def _changes(stage: Stage, node: Any, config: PipelineConfig) -> Iterator[Change]:
    """Yield changes of a request, the mildest first."""
    if not hasattr(node, "peft"):
        yield from ({TOKENS: size} for size in _smaller(config.launch.batch_tokens))
        return
    sampled = [{"sampling_batch_size": size} for size in _smaller(node.sampling_batch_size)] if stage.generates else []
    micro = [{MICRO: size} for size in _divisors(node, config)]
    smallest = micro[-1:] or [{}]
    yield from micro
    if node.peft.method == PREFIX:
        return
    recompute: Change = {RECOMPUTE: True} if not config.launch.gradient_checkpointing else {}
    yield from sampled
    if recompute:
        yield recompute
    yield from ({**smallest[0], **recompute, **more} for more in [{}, *sampled])
    if config.launch.processes > 1 and not config.launch.shard and node.peft.method == "full" and not stage.generates:
        own: list[Change] = [{}, *micro, recompute, {**smallest[0], **recompute}]
        yield from ({SHARD: True, **one} for one in own)
    methods = ("lora",) if config.launch.shard else ("lora", "qlora")
    for method in methods[("full", "lora", "qlora").index(node.peft.method) :]:
        yield {METHOD: method}
        yield from ({METHOD: method, **one} for one in micro)
        yield {METHOD: method, **recompute}
        yield from ({METHOD: method, **smallest[0], **recompute, **more} for more in [{}, *sampled])


def _smaller(size: int) -> list[int]:
    """Return the powers of two below a number, the largest first."""
    return [2**power for power in reversed(range(size.bit_length())) if 2**power < size]


def _divisors(node: Any, config: PipelineConfig) -> list[int]:
    """Return smaller micro batches that divide the batches of all stages, the largest first."""
    shared = gcd(*(getattr(config, name).batch_size for name in tuned_stages()), node.batch_size)
    now = min(config.launch.micro_batch_size or node.batch_size, node.batch_size)
    return [size for size in _smaller(now) if shared % size == 0]


def _changed(node: Any, launch: LaunchConfig, change: Mapping[str, Any]) -> tuple[Any, LaunchConfig]:
    """Return a stage's node and `launch` with the changes."""
    for key, value in change.items():
        place, _, last = key.rpartition(".")
        if place == "launch":
            launch = replace(launch, **{last: value})
        elif place:
            node = replace(node, **{place: replace(getattr(node, place), **{last: value})})
        else:
            node = replace(node, **{last: value})
    return node, launch


def _override(stage: str, key: str, value: Any) -> str:
    """Return a change as it is written on a command line."""
    if key == METHOD:
        return f"peft={value}"
    return f"{key if key.startswith('launch.') else f'{stage}.{key}'}={str(value).lower()}"
