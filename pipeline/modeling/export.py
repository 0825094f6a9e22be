"""Writes a policy to a folder: merged into one model, or its adapters as one adapter that names its base model."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from peft import PeftConfig, PeftModel

from pipeline.errors import RequestError
from pipeline.files import copy, open_to_others
from pipeline.model_files.architectures import MERGED_PREFIX
from pipeline.modeling.adapters import TRAINED, Model
from pipeline.modeling.policy import load_policy
from pipeline.modeling.sources import PolicySource, saved_dtype, source_of, tokenizer_of
from pipeline.store.artifact import Artifact

WEIGHTS = "adapter_model.safetensors"


class Exported(NamedTuple):
    """The sizes of an export, and remarks for users who serve the model."""

    parameters: int
    adapters: int
    remarks: list[str]


def export(artifact: Artifact, folder: Path, *, merge: bool) -> Exported:
    """Write a policy with its tokenizer, template and generation settings.

    The precision is that of the starting model: a fully trained model is float32 in its artifact and is rounded here,
    so its logits are equal up to that rounding. Without rounding, a full model's files are copied, not linked, so that
    changes to the export do not reach the store; other users may read the export. Adapters trained on a 4-bit base are
    merged into the base in its own precision, which rounds differently than in training. Remarks report both.
    Raises `RequestError` if an adapter is requested and there is none.
    """
    trained = source_of(artifact)
    if merge and trained.has_prefix:
        raise RequestError(f"{artifact.reference}: {MERGED_PREFIX}")
    source = replace(trained, dtype=trained.compute or trained.dtype)
    tokenizer, remarks = tokenizer_of(source)
    model = load_policy(source, tokenizer, torch.device("cpu"), quantized=False)
    if merge:
        model = _write_whole(model, source, folder)
    elif isinstance(model, PeftModel):
        _write_adapter(model, source, folder)
    else:
        raise RequestError(f"{artifact.reference} is a full model without adapters: use export.merge=true.")
    tokenizer.save_pretrained(folder)
    open_to_others(folder)
    if source.dtype != trained.dtype and source.dtype != "float32":
        remarks = [*remarks, f"written in {source.dtype}, as the model was brought; the artifact itself is in float32"]
    if source.quantized and merge:
        remarks = [*remarks, "the adapters were trained on a 4-bit base and are merged into its full precision here"]
    return Exported(model.num_parameters(), len(source.adapters), remarks)


def _write_whole(model: Model, source: PolicySource, folder: Path) -> Model:
    """Write a policy as one model, with its adapters merged; return that model."""
    if isinstance(model, PeftModel):
        merged: Model = model.merge_and_unload()
        merged.save_pretrained(folder)
        return merged
    weights = Path(source.weights)
    if not weights.is_dir() or source.dtype not in ("auto", saved_dtype(weights)):
        model.save_pretrained(folder)
        return model
    for file in weights.glob("*.safetensors*"):
        copy(file, folder / file.name)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    return model


def _write_adapter(model: PeftModel, source: PolicySource, folder: Path) -> None:
    """Write a policy's adapters as one adapter that names its base model."""
    count = len(source.adapters)
    if count == 1:
        _copy_adapter(source.adapters[0], folder, source.weights)
        return
    _join_adapters(model, count)
    model.peft_config[TRAINED].base_model_name_or_path = source.weights
    model.save_pretrained(folder, selected_adapters=[TRAINED])


def _copy_adapter(adapter: Path, folder: Path, base: str) -> None:
    """Copy an adapter and set the name of its base model."""
    config = PeftConfig.from_pretrained(adapter)
    config.base_model_name_or_path = base
    config.save_pretrained(folder)
    copy(adapter / WEIGHTS, folder / WEIGHTS)


def _join_adapters(model: PeftModel, count: int) -> None:
    """Join a stack of adapters into one: their low-rank factors are concatenated, which equals their sum exactly.

    Raises `RequestError` for adapters on experts: their factors are already those of several experts, concatenated.
    """
    names = [f"layer{i}" for i in range(count)]
    if any(config.target_parameters for config in model.peft_config.values()):
        raise RequestError("Adapters on adapters on experts cannot be joined into one: use export.merge=true.")
    model.add_weighted_adapter(names, [1.0] * count, TRAINED, combination_type="cat")
