"""Nodes of machines: how this one is used, servers that draw answers, and where metrics are logged."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from pipeline.config.fields import choice, number, option

ATTENTION_ON_GPU = ("flash_attention_2", "flash_attention_3", "flex_attention")


ATTENTION = ("sdpa", "eager", *ATTENTION_ON_GPU)
"""The values of `launch.attn_implementation`, by transformers' names."""


@dataclass
class LaunchConfig:
    """How the machine is used. Not part of any version: a run is the same on another machine."""

    device: str = choice("auto", "auto", "cpu", "cuda", "mps")  # auto: a GPU if there is one
    micro_batch_size: int | None = number(None, least=1)  # rows per device and forward pass; absent: all
    gradient_checkpointing: bool = False  # recompute activations to save memory
    attn_implementation: str | None = option(*ATTENTION)  # how attention is computed; absent: transformers' choice
    compile: bool = False  # compile layers for training: minutes at first, then faster on a GPU
    batch_tokens: int = number(32768, least=1)  # tokens, padding included, of answers drawn or scored at once
    checkpoint_minutes: float = number(15.0, above=0)  # most time between checkpoints: what a killed run may lose
    mixed_precision: str = choice("auto", "auto", "no", "bf16")  # auto: bf16 to train all of a bfloat16 model on a GPU
    force: bool = False  # run a stage even if its memory plan finds that it cannot fit
    parallel: int | None = number(None, least=1)  # stages at once; absent: one per GPU; per idle core for a small model
    processes: int = number(1, least=1)  # processes that train, sample and evaluate together, each on a GPU of its own
    shard: bool = False  # the processes share the model that they train: weights, gradients, optimizer (FSDP)
    data_processes: int | None = number(None, least=1)  # processes that read and clean data; absent: one per core


DRAWN_BY = ("hf", "openai", "vllm")
"""The values of `generation.by`: transformers on this machine, or a server that speaks OpenAI's language."""


ROLLOUTS = "rollouts"
"""The name in `generation.servers` of the server that draws PPO's answers from the policy in training."""


@dataclass
class ServerConfig:
    """A server that draws the answers of one policy. It is no part of a version; the manifest records it."""

    policy: str = MISSING  # as in `sample.policies`, `evaluate.policies` or `draft.writer`; or `rollouts`: PPO's
    url: str = MISSING  # http://HOST:8000/v1
    model: str | None = None  # the policy's name at the server; absent: the only one that the server lists


@dataclass
class ServingConfig:
    """Where policies' answers are drawn. Follows `generation=NAME`; PPO's rollouts follow `ppo.drawn_by`."""

    by: str = choice("hf", *DRAWN_BY)  # hf: here; otherwise by a server: part of these stages' versions
    servers: list[ServerConfig] | None = None  # a server for each policy that draws: [{policy: sft, url: …}]
    request: dict[str, Any] = field(default_factory=dict)  # further fields of each request, by the server's names
    check: bool = True  # compare each server with the policy's weights first; false: sample and draft do not load them
    concurrency: int = number(32, least=1)  # open requests


@dataclass
class TrackingConfig:
    """Weights & Biases. `auto` is online with a key in the environment or the netrc file, otherwise offline."""

    mode: str = choice("auto", "auto", "online", "offline", "off")  # auto: online with a key, otherwise offline
    project: str = "alignment-pipeline"  # project name at W&B
    entity: str | None = None  # team or user at W&B
