"""The memory of a stage, from its configuration, its model and the lengths of its rows."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import DecodingConfig, PeftConfig
from pipeline.memory.activations import FLOAT, Tuning
from pipeline.memory.phases import (
    DRAWING,
    DRAWING_TOP_P,
    REWARD_BATCH,
    Held,
    Memory,
    Roles,
    Rows,
    Sampling,
    generation,
    ppo,
    training,
)
from pipeline.memory.shape import Shape
from pipeline.memory.shards import sharded
from pipeline.model_files.architectures import PREFIX
from pipeline.ppo.sources import FUNCTION_SOURCE
from pipeline.stage import Stage

Device = Literal["cpu", "cuda", "mps"]

# Bytes that a process takes besides its tensors: libraries and their threads; on a GPU, CUDA's context and kernels.
# Measured: benchmarks/memory.py
LIBRARIES: dict[str, float] = {"cpu": 0.75 * 2**30, "mps": 0.75 * 2**30, "cuda": 0.6 * 2**30}

SHORTEST = 8  # tokens of the shortest prompt: about those of a chat template


@dataclass(frozen=True)
class Start:
    """The model that a stage starts from."""

    shape: Shape
    precision: int  # bytes of a number in its weights, if they are only used
    below: int = 0  # weights of the adapters on it
    quantized: bool = False  # an adapter below was trained on 4 bits, so every stage after it is
    half: bool = False  # its precision is bfloat16: all of its weights are trained under autocast on a GPU


@dataclass(frozen=True)
class Longest:
    """Tokens of the longest row, of the longest prompt, and of a new answer; the most answers in a ranking."""

    row: int
    prompt: int
    new: int
    predicted: int | None = None  # tokens of the longest answer in the rows; absent: unknown
    answers: int = 1


def memory_of(
    stage: Stage, config: Any, launch: LaunchConfig, start: Start, longest: Longest, device: Device
) -> Memory:
    """Return the memory that a stage needs for its model on one device, by phase and part.

    `config` is the stage's node. Lengths are those of the longest rows, since the batch that holds them needs most.
    Several processes have a GPU each; on a CPU they share the machine's memory.
    """
    if not hasattr(config, "peft"):
        method = "qlora" if start.quantized else "lora" if start.below else "frozen"
        held = Held(start.shape, Tuning(method, rank=0, precision=start.precision), start.below)
        decoding = config.decoding
        per_logit = DRAWING_TOP_P if decoding.top_p < 1 else DRAWING
        rows, most = (_at_once(decoding, launch, prompt + longest.new) for prompt in (longest.prompt, SHORTEST))
        memory = generation(held, Sampling(rows, longest.prompt, longest.new, per_logit, most))
    else:
        memory = _training(stage, config, launch, start, longest, device)
    libraries = {"libraries": LIBRARIES[device]}
    here = launch.processes if stage.is_distributed and device != "cuda" else 1
    phases = {name: {**parts, **libraries} for name, parts in memory.phases.items()}
    return Memory({name: {part: here * size for part, size in parts.items()} for name, parts in phases.items()})


def _at_once(decoding: DecodingConfig, launch: LaunchConfig, length: int) -> int:
    """Return how many answers are drawn at once where a prompt and its answer have `length` tokens."""
    rows = max(1, launch.batch_tokens // length)
    return min(rows, decoding.batch_size or rows)


def _training(
    stage: Stage, config: Any, launch: LaunchConfig, start: Start, longest: Longest, device: Device
) -> Memory:
    assert stage.rows is not None
    held = held_by(stage, config.peft, launch, start, device)
    own = -(-config.batch_size // launch.processes)  # rows of a step in one process
    micro = min(launch.micro_batch_size or own, own)
    passes = max(stage.rows.passes, longest.answers if stage.makes == "reward model" else 1)
    rows = Rows(
        passes * micro,
        longest.row,
        longest.predicted,
        recompute=launch.gradient_checkpointing,
        accumulate=micro < own,
    )
    if stage.generates:
        sampled = min(config.sampling_batch_size, config.rollouts)
        sampling = Sampling(sampled, longest.prompt, longest.new, DRAWING)
        rows = replace(rows, length=longest.prompt + longest.new, predicted=longest.new)
        scored = min(REWARD_BATCH, config.rollouts)
        roles = Roles(
            held,
            _reward_models(config),
            judge=config.watch_judge,
            valued=config.has_value_model,
            scored=scored,
            gpu=device == "cuda",
            temperature=config.temperature,
        )
        return ppo(roles, rows, sampling)
    held = replace(held, language_loss=held.with_head or bool(getattr(config, "sft_weight", 0)))
    memory = training(held, rows)
    if launch.processes == 1:
        return memory
    if launch.shard:
        return sharded(memory, held, launch.processes, accumulate=rows.accumulate)
    exchanged = {"exchanged gradients": FLOAT * held.trainable}  # DDP's buckets are copies
    return Memory({name: {**parts, **exchanged} for name, parts in memory.phases.items()})


def _reward_models(config: Any) -> int:
    """Return how many of PPO's sources of reward are models; the others are functions."""
    return sum(FUNCTION_SOURCE.fullmatch(one.source) is None for one in config.rewards)


def held_by(stage: Stage, peft: PeftConfig, launch: LaunchConfig, start: Start, device: Device) -> Held:
    """Return how a training stage holds its model: as `modeling.policy` loads it."""
    method = "qlora" if peft.method == "lora" and start.quantized else peft.method
    autocast = launch.mixed_precision == "bf16"
    if launch.mixed_precision == "auto":
        autocast = method == "full" and start.half and device == "cuda"
    precision = FLOAT if method == "full" else start.precision
    below, with_head = 0 if method == "full" else start.below, stage.makes != "reward model"
    if method == PREFIX:  # as adapters on no layer
        tuning = Tuning("lora", 0, "", precision, autocast)
        return Held(start.shape, tuning, below, with_head, prefix=start.shape.prefix(peft.virtual_tokens))
    tuning = Tuning(method, peft.rank, peft.target_modules, precision, autocast)
    return Held(start.shape, tuning, below, with_head=with_head)
