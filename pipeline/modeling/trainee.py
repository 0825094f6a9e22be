"""A policy about to be fine-tuned: loaded, prepared as its stage's `peft` says, with its chat format at hand."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from pipeline.artifacts import Artifact
from pipeline.config import PeftConfig
from pipeline.modeling.policy import (
    MODEL,
    Model,
    PolicySource,
    bits_per_base_weight,
    context_of,
    device_of,
    load_for_training,
    save_policy,
    source_of,
    tokenizer_of,
    trainable_parameters,
)
from pipeline.modeling.rendering import ChatFormat
from pipeline.modeling.training import set_up
from pipeline.stage import StageContext


@dataclass(frozen=True)
class Trainee:
    """The model, and all that a stage needs around it."""

    model: Model
    tokenizer: PreTrainedTokenizerBase
    chat: ChatFormat
    source: PolicySource
    device: torch.device

    @property
    def room(self) -> int:
        """The most tokens of prompt and answer together."""
        return context_of(self.model)

    def save(self, context: StageContext) -> None:
        """Write what was trained into the stage's payload."""
        save_policy(self.model, self.tokenizer, context.output_dir / MODEL, self.source)

    def size(self) -> dict[str, float]:
        """What training changes, and what the frozen rest takes."""
        sizes = trainable_parameters(self.model), bits_per_base_weight(self.model)
        return dict(zip(("trainable", "bits_per_base_weight"), sizes, strict=True))


Loader = Callable[[PolicySource, PreTrainedTokenizerBase, torch.device, PeftConfig, int], Model]


def prepare(
    artifact: Artifact, peft: PeftConfig, seed: int, context: StageContext, load: Loader = load_for_training
) -> Trainee:
    """Load a policy for training, saying what had to be set on its tokenizer; `load` makes of it what is trained."""
    set_up(context.runtime, seed)
    source, device = source_of(artifact), device_of(context.runtime.launch)
    tokenizer, remarks = tokenizer_of(source)
    for remark in remarks:
        context.say(remark)
    model = load(source, tokenizer, device, peft, seed)
    return Trainee(model, tokenizer, ChatFormat(tokenizer), source, device)
