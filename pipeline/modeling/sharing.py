"""Policies that are adapters on one base model share it: it is loaded once, and their adapters are switched.

A layer computes with its active adapters alone, in the order of the stack. So a policy gives bit for bit what it gives
when it is loaded alone, as long as no other policy's adapter changes the base model or replaces a layer that it adapts.
An adapter that is not known to leave the base model as it is has one of its own.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel
from safetensors import safe_open
from transformers import PreTrainedTokenizerBase

from pipeline.modeling.adapters import Model, load_adapter, name_in_stack
from pipeline.modeling.policy import check_logits, load_policy, use_tokens
from pipeline.modeling.sources import PolicySource
from pipeline.modeling.vocabulary import check_vocabulary

# fields of peft's LoRA that leave the base model as it is, whatever their value; all others must have their default
HARMLESS = {
    *("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out"),
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern"),
    *("task_type", "inference_mode", "base_model_name_or_path", "revision", "auto_mapping", "peft_version"),
}
HARMLESS_STARTS = (True, False, "gaussian")  # of `init_lora_weights`: the others change the base model's weights


class Touched(NamedTuple):
    """The modules that an adapter adds to, and those that it has weights of its own for, by their paths."""

    adapted: frozenset[str]
    replaced: frozenset[str]
    names: frozenset[str]  # of the latter, as the adapter's configuration gives them

    def goes_with(self, other: "Touched") -> bool:
        """Return whether both can be on one base model: peft cannot adapt what another adapter replaces."""
        nested = self.replaced & other.replaced and self.names != other.names
        return not (self.adapted & other.replaced or self.replaced & other.adapted or nested)


@cache
def touched_by(adapter: Path) -> Touched | None:
    """Return the modules that a saved adapter touches; None if it is not known to leave the base model as it is."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    file = adapter / "adapter_model.safetensors"
    if not _is_harmless(config) or not file.is_file():
        return None
    with safe_open(file, "pt") as weights:
        keys = list(weights.keys())
    adapted = {key.partition(".lora_")[0] for key in keys if ".lora_" in key}
    replaced = {key.rpartition(".")[0] for key in keys if ".lora_" not in key}
    names = frozenset(config.get("modules_to_save") or ())
    in_names = re.compile(f"({'|'.join(map(re.escape, names)) or '(?!)'})(\\.|$)")
    if not all(in_names.search(path) for path in replaced):  # embeddings that peft would write into the base model
        return None
    return Touched(frozenset(adapted), frozenset(replaced), names)


def _is_harmless(config: Mapping[str, Any]) -> bool:
    """Whether an adapter's configuration, as it is saved, says nothing but what is harmless; not what peft reads of it.

    peft leaves out fields that it does not know.
    """
    usual = LoraConfig().to_dict()
    unusual = {name for name, value in config.items() if value != usual.get(name)} - HARMLESS
    return unusual <= {"init_lora_weights"} and config.get("init_lora_weights", True) in HARMLESS_STARTS


def can_share(source: PolicySource, others: Sequence[PolicySource]) -> bool:
    """Return whether a policy can be on one base model in memory with others, which can be on one."""
    if any(_below(source) != _below(other) for other in others):
        return False
    folders = {folder for one in (source, *others) for folder in one.adapters}
    touched = [touched_by(folder) for folder in folders]
    known = [one for one in touched if one is not None]
    return len(known) == len(touched) and all(one.goes_with(other) for one in known for other in known if one != other)


def _below(source: PolicySource) -> PolicySource:
    """Return what determines the model below a policy's adapters, as it is loaded."""
    return replace(source, tokenizer="", chat_template=None, thinking=None, adapters=())


def names_by_base(sources: Mapping[str, PolicySource], last: str) -> list[list[str]]:
    """Return the names of policies, those that share a base model together; `last` comes last."""
    groups: list[list[str]] = []
    for name in [last, *(name for name in [*sources][::-1] if name != last)]:
        own = [group for group in groups if can_share(sources[name], [sources[other] for other in group])]
        groups = groups if own else [*groups, []]
        (own or groups[-1:])[0].append(name)
    return [group[::-1] for group in groups[::-1]]


class SharedBase:
    """One base model in memory with the adapters of several policies, of which one policy's are active."""

    def __init__(self, source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> None:
        self.sources, self.device = [source], device
        self._model = load_policy(source, tokenizer, device)
        self._adapters = list(source.adapters)
        self._active: tuple[object, ...] = ()

    def add(self, source: PolicySource, tokenizer: PreTrainedTokenizerBase) -> None:
        """Load those adapters of a policy that are not there yet. Raises `RequestError` like `load_policy`."""
        for folder in source.adapters:
            if folder not in self._adapters:
                self._model = load_adapter(self._model, folder, len(self._adapters))
                self._adapters.append(folder)
        if not source.quantized:
            self._model.to(self.device)
        self.sources, self._active = [*self.sources, source], ()
        check_vocabulary(self._model, tokenizer, source)
        check_logits(self.model_of(source, tokenizer), tokenizer, source)

    def model_of(self, source: PolicySource, tokenizer: PreTrainedTokenizerBase) -> Model:
        """Return the model as one of its policies: with that one's adapters active, and its special tokens."""
        wanted = (source.adapters, tokenizer)
        if wanted != self._active:
            self._activate([name_in_stack(self._adapters.index(folder)) for folder in source.adapters])
            use_tokens(self._model, tokenizer)
            self._active = wanted
        return self._model

    def _activate(self, names: list[str]) -> None:
        if not isinstance(self._model, PeftModel) or len(self.sources) == 1:
            return
        if names:
            self._model.base_model.enable_adapter_layers()
            self._model.base_model.set_adapter(names, inference_mode=True)
        else:  # peft refuses an empty list where an adapter replaces modules
            self._model.base_model.disable_adapter_layers()
