"""Reward models: a policy's transformer with a head that gives an answer one score.

The head is initialized as in arXiv 1909.08593, with weights from N(0, 1/(hidden + 1)), and stays in float32. Scores are
normalized: `scale * (raw - shift)` has mean 0 (arXiv 2009.01325) and standard deviation 1 (arXiv 1909.08593) over the
answers that people judged, so KL coefficient and penalties mean the same with every reward model.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import RequestError
from pipeline.model_files.architectures import reward_fault
from pipeline.modeling.adapters import (
    TRAINED,
    Model,
    activate_adapters,
    load_stack,
    lora_config,
    name_in_stack,
    with_adapter,
)
from pipeline.modeling.architecture import CLASSIFIER, classifier_of
from pipeline.modeling.heads import LanguageHead, unwrapped_model
from pipeline.modeling.policy import load_base, unfreeze
from pipeline.modeling.sources import PolicySource, config_of, in_float32
from pipeline.store.artifact import Artifact

HEAD = "score"
REWARD_FILE = "reward.json"
TASK = "SEQ_CLS"  # peft's name for this kind of model


def load_reward_for_training(
    source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device, peft: PeftConfig, seed: int
) -> Model:
    """Load a policy as an untrained reward model: with a new head, and the trainable weights of `peft`.

    With LoRA, the adapters below are frozen, and a new adapter and the head are trained. A model that is already a
    reward model keeps its head. Raises `RequestError` like `check_labels` and `load_base`.
    """
    source = in_float32(source) if peft.method == "full" else source
    has_head = _is_classifier(source)
    if has_head:
        check_labels(source, source.weights)
    quantized = peft.method != "full" and (source.quantized or peft.method == "qlora")
    model = _load_classifier(source, tokenizer, device, quantized)
    if not has_head:
        initialize_head(getattr(model, HEAD), seed)
    model = model if quantized else model.to(device)
    if peft.method == "full":
        whole = _with_stack(model, source.adapters)
        return unfreeze(whole.merge_and_unload() if isinstance(whole, PeftModel) else whole)
    torch.manual_seed(seed)
    config = lora_config(peft, model)
    config.task_type, config.modules_to_save = TASK, [HEAD]
    if source.adapters:
        model = with_adapter(_with_stack(model, source.adapters), config, TRAINED)
        activate_adapters(model, [*(name_in_stack(i) for i in range(len(source.adapters))), TRAINED])
        return model
    return with_adapter(model, config, TRAINED)


def load_reward(source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> Model:
    """Load a reward model for scoring: all adapters active, dropout off, in 4 bits if trained so."""
    model = _load_classifier(source, tokenizer, device, source.quantized)
    model = model if source.quantized else model.to(device)
    return cast(Model, _with_stack(model, source.adapters).eval())


def check_labels(source: PolicySource, name: str) -> None:
    """Raise `RequestError` unless the model gives exactly one score for a text."""
    if source.adapters:
        task = json.loads((source.adapters[-1] / "adapter_config.json").read_text()).get("task_type")
        if task != TASK:
            raise RequestError(f"{name}: this adapter is for {task}, not a reward model's ({TASK}).")
        return
    fault = reward_fault(config_of(source).to_dict())
    if fault:
        raise RequestError(f"{name}: {fault}")


def initialize_head(head: torch.nn.Linear, seed: int) -> None:
    """Initialize a head: weights from N(0, 1/(hidden + 1)), bias 0 (arXiv 1909.08593)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(head.weight.shape, generator=generator) / math.sqrt(head.in_features + 1)
    with torch.no_grad():
        head.weight.copy_(drawn)
        if head.bias is not None:
            head.bias.zero_()


def language_head(source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> LanguageHead:
    """Return the policy's language-model head, frozen, in the policy's precision, without the transformer below it.

    Raises `RequestError` if the policy has none: a reward model that is trained further, unless its embeddings are
    tied.
    """
    plain = replace(source, attention=None)  # the requested one may not run on a CPU
    whole = load_base(AutoModelForCausalLM, plain, tokenizer, torch.device("cpu"), quantized=False, old_head=HEAD)
    return LanguageHead(whole).without_transformer(device)


def _load_classifier(
    source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device, quantized: bool
) -> Any:
    """Load the model below the adapters with a float32 head: bfloat16 would lose small steps and differences.

    Raises `RequestError` if the architecture cannot have a head.
    """
    config, has_head = config_of(source), _is_classifier(source)
    config.num_labels = 1
    kind, new = classifier_of(config), "" if has_head else HEAD
    model: Any = load_base(kind, source, tokenizer, device, quantized=quantized, config=config, new_head=new)
    head = getattr(model, HEAD, None)
    if head is not None:
        _accept_any_precision(head.float())
        saved = _saved_head(Path(source.weights)) if has_head else None
        if saved is not None:
            with torch.no_grad():
                head.weight.copy_(saved)
    return model


def _accept_any_precision(head: Any) -> torch.nn.Module:
    """Make a head convert its input to its own precision; return the head."""
    head.register_forward_pre_hook(lambda module, given: (given[0].to(module.weight.dtype),))
    return cast(torch.nn.Module, head)


def _saved_head(folder: Path) -> Tensor | None:
    """Return the head's weight as saved, since `from_pretrained` rounds it to the precision of the rest; or None."""
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            if f"{HEAD}.weight" in weights.keys():  # noqa: SIM118 (no mapping)
                return cast(Tensor, weights.get_tensor(f"{HEAD}.weight"))
    return None


def _with_stack(model: Any, adapters: Sequence[Path]) -> Any:
    """Return the model with a stack of adapters, all active and frozen.

    Those of a policy were trained on a language model; they fit, since the transformer below the head is the same.
    """
    return load_stack(model, adapters, with_head=False)


def _is_classifier(source: PolicySource) -> bool:
    return any(CLASSIFIER in name for name in config_of(source).architectures or [])


def head_of(model: Any) -> Any:
    """Return the active head; None for models without a linear head named `score` (encoders)."""
    head: Any = getattr(unwrapped_model(model), HEAD, None)
    return head.modules_to_save[head.active_adapters[0]] if hasattr(head, "modules_to_save") else head


def decoder_of(model: Any) -> Any:
    """Return the transformer below the head, adapters included."""
    bare = unwrapped_model(model)
    return getattr(bare, bare.base_model_prefix)


class RewardNormalization(NamedTuple):
    """Reward normalization: `scale * (raw - shift)`."""

    shift: float = 0.0
    scale: float = 1.0

    def __call__(self, raw: Sequence[float]) -> list[float]:
        return [self.scale * (score - self.shift) for score in raw]


def normalization_of(artifact: Artifact) -> RewardNormalization:
    """Return shift and scale of a reward model; the scores of a user's own model stay unchanged."""
    file = artifact.path / REWARD_FILE
    if not file.is_file():
        return RewardNormalization()
    saved = json.loads(file.read_text(encoding="utf-8"))
    return RewardNormalization(saved["shift"], saved["scale"])


def adapter_of(source: PolicySource) -> tuple[dict[str, Tensor], LoraConfig]:
    """Return the reward model's adapter without its head, by peft's names, and its settings: for a shared base model.

    Raises `RequestError` if the reward model has no adapter.
    """
    if not source.adapters:
        raise RequestError(f"{source.weights}: a whole model, not an adapter on the policy's base.")
    config = LoraConfig.from_pretrained(source.adapters[-1])
    config.task_type, config.modules_to_save, config.inference_mode = "CAUSAL_LM", None, False
    weights = load_file(source.adapters[-1] / "adapter_model.safetensors")
    own = {name: value for name, value in weights.items() if ".lora_" in name}
    return own, config
