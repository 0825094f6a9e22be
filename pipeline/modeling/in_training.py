"""The model in training, a policy or a reward model: loaded and prepared as its stage's `peft` requires."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import RequestError
from pipeline.model_files.architectures import ON_PREFIX
from pipeline.modeling import fsdp, processes
from pipeline.modeling.acceleration import compile_layers
from pipeline.modeling.adapters import Model
from pipeline.modeling.architecture import UNLIMITED, Footprint, measure_footprint
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.movement import StartingWeights, lost_steps_remark
from pipeline.modeling.policy import context_length_of, device_of, load_for_training, save_policy, trainable_parameters
from pipeline.modeling.sources import MODEL, PolicySource, source_to_run, tokenizer_of
from pipeline.modeling.training import set_up_torch
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact

MIN_SHARE_IN_4_BITS = 0.95  # `qlora` reports a smaller share of the weights in 4 bits


@dataclass(frozen=True)
class ModelInTraining:
    """The policy or reward model in training, with its tokenizer, source, device and precision."""

    model: Model
    tokenizer: PreTrainedTokenizerBase
    chat: ChatFormat
    source: PolicySource
    device: torch.device
    footprint: Footprint  # of the base model, measured before training
    half: bool = False  # bf16 autocast around training
    start: StartingWeights = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", StartingWeights(self.model))

    @property
    def context_length(self) -> int:
        """The context length: the maximum tokens of prompt and answer together."""
        return context_length_of(self.model)

    def row_limit(self, max_length: int | None) -> int:
        """Return the maximum tokens of a row: `max_length`, or the context length if that is less or there is none."""
        return min(max_length or self.context_length, self.context_length)

    def save(self, context: StageContext) -> None:
        """Write the trained weights into the artifact; report steps that were too small to change them."""
        save_policy(self.model, self.tokenizer, context.output_dir / MODEL, self.source)
        starting_dtype = self.source.compute or self.source.dtype
        rounded = not isinstance(self.model, PeftModel) and starting_dtype in ("bfloat16", "float16")
        kept = self.start.kept(self.model, getattr(torch, starting_dtype)) if rounded else None
        remark = lost_steps_remark(self.start.moved(self.model), kept, starting_dtype)
        if remark and context.is_main:
            context.say(remark)

    def size_metrics(self) -> dict[str, float]:
        """Return the number of trained parameters, the share that has changed so far, and bits per base weight."""
        bits, in_4_bits = self.footprint
        sizes = {
            "trainable": trainable_parameters(self.model),
            "moved": self.start.moved(self.model),
            "bits_per_base_weight": bits,
        }
        return {**sizes, "share_in_4_bits": in_4_bits} if in_4_bits else sizes

    def autocast(self) -> Any:
        """Return the autocast context of all passes in training."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)


Loader = Callable[[PolicySource, PreTrainedTokenizerBase, torch.device, PeftConfig, int], Model]


def prepare_model(
    artifact: Artifact,
    peft: PeftConfig,
    seed: int,
    context: StageContext,
    load: Loader = load_for_training,
    *,
    can_be_shared: bool = True,
) -> ModelInTraining:
    """Load a policy for training with `load`, and report settings that were added or assumed.

    With `launch.shard` the processes share it, if it `can_be_shared`.
    Raises `RequestError` if `qlora` quantizes none of the weights.
    """
    set_up_torch(context.runtime, seed)
    launch = context.runtime.launch
    source, device = source_to_run(artifact, launch), device_of(launch)
    if source.has_prefix:
        raise RequestError(f"{artifact.reference}: {ON_PREFIX}")
    tokenizer, remarks = tokenizer_of(source)
    for remark in remarks:
        context.say(remark)
    shared = launch.shard and can_be_shared and processes.is_together()
    model, measured = (_loaded_in_parts if shared else _loaded)(load, source, tokenizer, device, peft, seed)
    if peft.method == "qlora":
        _check_quantized(measured, source.weights, context)
    if context_length_of(model) == UNLIMITED:
        context.say(f"{source.weights}: its configuration has no context length; rows of any length are used")
    if launch.compile:
        compile_layers(model, source.weights)
    half = computes_in_bf16(launch, source, peft, device)
    return ModelInTraining(model, tokenizer, ChatFormat(tokenizer), source, device, measured, half)


def _loaded(
    load: Loader,
    source: PolicySource,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    peft: PeftConfig,
    seed: int,
) -> tuple[Model, Footprint]:
    """Return the model to train, and its measured size."""
    model = load(source, tokenizer, device, peft, seed)
    return model, measure_footprint(model)


def _loaded_in_parts(
    load: Loader, source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device, *how: Any
) -> tuple[Model, Footprint]:
    """Return, as `_loaded` does, a model that all processes share; each has its part on its device.

    It is loaded on the CPU, by one process of a machine at a time: it may be too large for a GPU, and for the memory as
    often as there are processes.
    """
    if device.type == "cuda":
        source = replace(source, dtype=source.compute or source.dtype)  # as it would be loaded there
    mesh = fsdp.mesh_on(device)

    def part() -> tuple[Model, Footprint]:
        model, measured = _loaded(load, source, tokenizer, torch.device("cpu"), *how)
        return fsdp.shard(model, mesh, source.weights), measured

    return processes.in_turns(part)


def computes_in_bf16(launch: LaunchConfig, source: PolicySource, peft: PeftConfig, device: torch.device) -> bool:
    """Return whether training runs under bf16 autocast.

    `auto`: only for full training of a bfloat16 model, in float32, on a GPU with bf16. Adapters need no autocast, since
    a frozen base model computes in its own precision; on a CPU float32 is faster.
    """
    if launch.mixed_precision != "auto":
        return launch.mixed_precision == "bf16"
    whole = peft.method == "full" and (source.compute or source.dtype) == "bfloat16"
    return whole and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _check_quantized(measured: Footprint, name: str, context: StageContext) -> None:
    """Report the share of weights in 4 bits if it is low: bitsandbytes leaves out experts and custom layers.

    Raises `RequestError` if no weight is in 4 bits.
    """
    if not measured.in_4_bits:
        raise RequestError(f"{name}: bitsandbytes quantizes none of its layers, so peft=qlora is peft=lora: use that.")
    if measured.in_4_bits < MIN_SHARE_IN_4_BITS:
        context.say(
            f"peft=qlora: {measured.in_4_bits:.0%} of the weights are in 4 bits, {measured.bits:.1f} bits per weight "
            "on average: bitsandbytes quantizes linear layers, but not a mixture's experts or layers of a model's own"
        )
