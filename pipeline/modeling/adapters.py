"""Adapters (LoRA) on frozen models: a stack of them, each trained on the model and adapters below it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from peft import LoraConfig, PeftModel, get_peft_model
from peft import PeftConfig as SavedConfig
from transformers import PreTrainedModel

from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import RequestError
from pipeline.model_files.architectures import target_fault
from pipeline.modeling.architecture import layers_without_adapters

TRAINED = "default"  # peft's name for the adapter that is being trained
Model: TypeAlias = PreTrainedModel | PeftModel


def name_in_stack(i: int) -> str:
    """Return the name of the i-th adapter of a stack, from the bottom."""
    return f"layer{i}"


def lora_config(peft: PeftConfig, model: Model) -> LoraConfig:
    """Return LoRA settings (arXiv 2106.09685) for the named layers, or for all linear ones except the head.

    Raises `RequestError` if `peft.target_modules` names embeddings or the head.
    """
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    targets = peft.target_modules if peft.target_modules == "all-linear" else peft.target_modules.split(",")
    ends = [module for module in (bare.get_input_embeddings(), bare.get_output_embeddings()) if module is not None]
    named = [f".{name}" for name, module in bare.named_modules() if any(module is end for end in ends)]
    for target in targets if isinstance(targets, list) else ():
        if any(name.endswith(f".{target}") for name in named):
            raise RequestError(target_fault(target))
    return LoraConfig(
        r=peft.rank,
        lora_alpha=peft.alpha,
        lora_dropout=peft.dropout,
        target_modules=targets,
        exclude_modules=layers_without_adapters(bare),
        task_type="CAUSAL_LM",
    )


def with_adapter(model: Model, config: LoraConfig, name: str) -> PeftModel:
    """Add an adapter to the frozen model and return it. Raises `RequestError` if peft cannot adapt the model."""
    try:
        if isinstance(model, PeftModel):
            model.add_adapter(name, config)
            return model
        return get_peft_model(model.requires_grad_(False), config, adapter_name=name)
    except ValueError as error:
        raise RequestError(f"peft cannot adapt {type(model).__name__}: {error}") from error


def load_adapter(model: Model, folder: Path, place: int, *, with_head: bool = True) -> PeftModel:
    """Add a saved adapter to a model, frozen, as the one at a place of a stack.

    `with_head=False` is for a model without a language head. Raises `RequestError` if the adapter's weights are not
    those that its configuration makes here: peft leaves such an adapter at its start, as if it had learned nothing.
    """
    name = name_in_stack(place)
    if not isinstance(model, PeftModel):
        config = SavedConfig.from_pretrained(folder)
        config.inference_mode, config.task_type = True, config.task_type if with_head else None
        model = get_peft_model(model, config, adapter_name=name)
    found = model.load_adapter(folder, adapter_name=name, is_trainable=False)
    if model.peft_config[name].is_prompt_learning:
        return model  # a prefix lies beside the layers, and peft loads it whole or not at all
    faults = {"missing": found.missing_keys, "for layers that are not here": found.unexpected_keys}
    told = [f"{len(keys):,} {what} (the first: {keys[0]})" for what, keys in faults.items() if keys]
    if told:
        raise RequestError(
            f"{folder}: weights of this adapter are {' and '.join(told)}. It was made for another model, or saved with "
            "other names: bring the adapter as peft saved it, with its own base model."
        )
    return model


def load_stack(model: Model, folders: Sequence[Path], *, with_head: bool = True) -> Model:
    """Add saved adapters to a model, from the bottom of a stack, all active and frozen. Raises like `load_adapter`."""
    for place, folder in enumerate(folders):
        model = load_adapter(model, folder, place, with_head=with_head)
    if folders:
        activate_adapters(model, [name_in_stack(place) for place in range(len(folders))])
    return model


def activate_adapters(model: PeftModel, adapters: list[str]) -> None:
    """Activate several adapters at once; only the adapter `TRAINED`, with its head, is trainable.

    (`PeftModel.set_adapter` takes one name.)
    """
    model.base_model.set_adapter(adapters)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(f".{TRAINED}." in name and ("lora_" in name or "modules_to_save" in name))
