"""Policies: loading them, preparing them for training, saving them.

A policy is one full model with any number of LoRA adapters on top. A stage that trains a new adapter freezes those
below. So before its first update, with the new adapter still at zero, the policy equals its starting point exactly, in
the same precision, and serves as the reference.

Trained weights are float32, in memory and in artifacts: in bfloat16 a step smaller than 1/512 of a weight is lost.
Weights that are only used have the precision `model.dtype`; so have those of a fully trained model on a GPU, while a
CPU uses them as saved, since float32 is faster there.
"""

from pathlib import Path
from typing import Any, cast

import torch
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.config.nodes.machine import LaunchConfig
from pipeline.config.nodes.models import PeftConfig
from pipeline.errors import RequestError
from pipeline.model_files.folder import pickle_fault
from pipeline.modeling import processes
from pipeline.modeling.acceleration import check_attention, check_precision, use_fused_activations
from pipeline.modeling.adapters import (
    TRAINED,
    Model,
    activate_adapters,
    load_adapter,
    load_stack,
    lora_config,
    name_in_stack,
    with_adapter,
)
from pipeline.modeling.architecture import (
    check_weights,
    context_length,
    language_model_path,
    switch_off_dropout,
    switch_off_router_logits,
)
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.fsdp import is_sharded, whole_weights
from pipeline.modeling.heads import check_head, unwrapped_model
from pipeline.modeling.prefixes import add_to_transformer, prefix_length, with_new_prefix
from pipeline.modeling.sources import PolicySource, config_of, in_float32
from pipeline.modeling.vocabulary import check_vocabulary


def device_of(launch: LaunchConfig) -> torch.device:
    """Return the requested device; `auto` is a GPU if there is one. Raises `RequestError` if torch finds no GPU.

    Of several processes, each has a GPU of its own.
    """
    if launch.device == "cuda" and not torch.cuda.is_available():
        raise RequestError("launch.device=cuda: torch sees no GPU here. Use launch.device=auto.")
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    kind = automatic if launch.device == "auto" else launch.device
    return (
        torch.device(kind, processes.local_rank()) if kind == "cuda" and processes.is_together() else torch.device(kind)
    )


def load_policy(
    source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device, *, quantized: bool | None = None
) -> Model:
    """Load a policy for generation and log-probabilities: all adapters active, dropout off, in 4 bits if trained so.

    Raises `RequestError` like `load_base` and `check_head`.
    """
    in_4_bits = source.quantized if quantized is None else quantized
    model = load_base(AutoModelForCausalLM, source, tokenizer, device, quantized=in_4_bits)
    use_tokens(model, tokenizer)
    if source.has_prefix and len(source.adapters) > 1:
        raise RequestError(f"{source.weights}: a prefix does not go with other adapters.")
    if source.has_prefix:
        model = load_adapter(model, source.adapters[0], 0)
        add_to_transformer(model)
    else:
        model = load_stack(model, source.adapters)
    model = (model if in_4_bits else model.to(device)).eval()
    check_logits(model, tokenizer, source)
    return model


def use_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a tokenizer's special tokens those that a model pads with and stops at."""
    bare, pad, stop = unwrapped_model(model), tokenizer.pad_token_id, ChatFormat(tokenizer).stop_id
    bare.config.update({"pad_token_id": pad, "eos_token_id": stop})
    # not the model's own file: sampling follows our configuration, and the distribution that PPO and DPO measure
    bare.generation_config = GenerationConfig(
        pad_token_id=pad,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(dict.fromkeys([stop, tokenizer.eos_token_id])),
    )


def check_logits(model: Any, tokenizer: PreTrainedTokenizerBase, source: PolicySource) -> None:
    """Raise `RequestError` like `check_head`."""
    ids = tokenizer("What is this?", add_special_tokens=False)["input_ids"] or [ChatFormat(tokenizer).stop_id]
    check_head(model, ids, source.weights)


def load_base(
    kind: Any,
    source: PolicySource,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    *,
    quantized: bool,
    config: PreTrainedConfig | None = None,
    new_head: str = "",
    old_head: str = "",
) -> PreTrainedModel:
    """Load the model below the adapters with `kind` (one of transformers' auto classes), in 4 bits if `quantized`.

    Dropout is off. Only the weights of a `new_head` are random, and only those of an `old_head` may be left over in the
    files.
    Raises `RequestError` if the files have other weights than the configuration describes, or another vocabulary than
    the tokenizer.
    """
    config = config_of(source) if config is None else config
    switch_off_dropout(config)
    switch_off_router_logits(config)
    model, info = _load_weights(kind, source, config, device, quantized)
    check_weights(info, source.weights, new_head=new_head, prefix=model.base_model_prefix, old_head=old_head)
    _keep_4_bit_layers(model)
    use_fused_activations(model)
    check_vocabulary(model, tokenizer, source)
    model.config.update({"pad_token_id": tokenizer.pad_token_id, "eos_token_id": ChatFormat(tokenizer).stop_id})
    return cast(PreTrainedModel, model)


def _load_weights(
    kind: Any, source: PolicySource, config: PreTrainedConfig, device: torch.device, quantized: bool
) -> tuple[Any, dict[str, Any]]:
    """Return a model and transformers' report about its weights.

    Raises `RequestError` if there are no safetensors, or weights of other shapes than the configuration describes, or
    if the requested attention is not to be had.
    """
    wanted = source.compute if source.compute and device.type == "cuda" else source.dtype
    dtype = wanted if wanted == "auto" else getattr(torch, wanted)
    check_attention(source.attention, device)
    try:
        model, info = kind.from_pretrained(
            source.weights,
            config=config,
            revision=source.revision,
            dtype=dtype,
            trust_remote_code=False,
            attn_implementation=source.attention,
            use_safetensors=True,  # pickled weights from outside are never loaded
            quantization_config=nf4_config(dtype) if quantized else None,
            device_map={"": device} if quantized else None,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        fault = _fault_of_loading(error, source, config.model_type)
        if fault is None:
            raise
        raise RequestError(fault) from error
    check_precision(model, source.attention, source.weights)
    return model, info


def _fault_of_loading(error: Exception, source: PolicySource, model_type: str) -> str | None:
    """Return what transformers' error means for the request, and what to do; None if it means something else."""
    text = str(error)
    if isinstance(error, OSError) and "safetensors" in text:
        return f"{source.weights}: {pickle_fault(source.weights)}"
    if isinstance(error, ValueError) and source.attention and "attention" in text.lower():
        return f"launch.attn_implementation={source.attention}: {model_type} does not have it. Leave the key out."
    if isinstance(error, RuntimeError) and "mismatch" in text:
        return (
            f"{source.weights}: its weights have other shapes than its config.json describes. Save or download the "
            "model again, whole."
        )
    return None


def _keep_4_bit_layers(model: Any) -> None:
    """Turn off bitsandbytes' inference path for CPUs, which repacks the weights at the first forward pass.

    That removes the double quantization, has no gradient, and fails for widths that are not a multiple of 64.
    """
    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False


def nf4_config(dtype: torch.dtype | str) -> BitsAndBytesConfig:
    """Return the settings of 4-bit NF4 with double quantization (arXiv 2305.14314, section 3)."""
    compute = torch.bfloat16 if isinstance(dtype, str) else dtype
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )


def load_for_training(
    source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device, peft: PeftConfig, seed: int
) -> Model:
    """Load a policy with the trainable weights of `peft`: all of them, or one new adapter on a frozen rest."""
    if peft.method == "full":
        model = load_policy(in_float32(source), tokenizer, device, quantized=False)
        return unfreeze(model.merge_and_unload() if isinstance(model, PeftModel) else model)
    quantized = source.quantized or peft.method == "qlora"
    model = load_policy(source, tokenizer, device, quantized=quantized)
    torch.manual_seed(seed)
    if peft.method == "prefix":
        return with_new_prefix(model, peft, tokenizer.pad_token_id, source.weights)
    if isinstance(model, PeftModel):
        below = [name_in_stack(i) for i in range(len(source.adapters))]
        model = with_adapter(model, lora_config(peft, model), TRAINED)
        activate_adapters(model, [*below, TRAINED])
        return model
    return with_adapter(model, lora_config(peft, model), TRAINED)


def unfreeze(model: PreTrainedModel) -> PreTrainedModel:
    """Make every weight that text passes through trainable; a vision tower stays frozen."""
    model.requires_grad_(True)
    if model.config.get_text_config() is not model.config:
        inside, head = model.get_submodule(language_model_path(model)), model.get_output_embeddings()
        trained = {id(p) for part in (inside, head, getattr(model, "score", None)) if part for p in part.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in trained)
    return model


def save_policy(model: Model, tokenizer: PreTrainedTokenizerBase, folder: Path, source: PolicySource) -> None:
    """Save the trained weights as safetensors, and the tokenizer: the whole model, or the new adapter alone.

    All processes give their part of a sharded model, and one writes.
    """
    weights = whole_weights(model, trained=isinstance(model, PeftModel)) if is_sharded(model) else None
    if processes.rank():
        return
    if isinstance(model, PeftModel):
        # peft would write the absolute path of the base model; loading follows the manifest's lineage
        model.peft_config[TRAINED].base_model_name_or_path = source.weights if source.revision else ""
        model.save_pretrained(folder, selected_adapters=[TRAINED], state_dict=weights)
        (folder / "README.md").unlink(missing_ok=True)  # peft's template of a model card; `export` writes a real one
    else:
        switch_off_router_logits(model.config)
        model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)


def trainable_parameters(model: torch.nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def context_length_of(model: Model) -> int:
    """Return the context length in tokens, without a prefix: the maximum of prompt and answer together."""
    return context_length(model.config) - prefix_length(model)
