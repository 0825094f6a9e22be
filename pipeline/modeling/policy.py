"""Policies: finding their weights, loading them, preparing them for training, saving them.

A policy is one full model with any number of LoRA adapters on top, each trained on the model and adapters below it. An
adapter's artifact holds that adapter alone; the inputs in its manifest lead to the rest. A stage that trains a new
adapter freezes those below. So before its first update, with the new adapter still at zero, the policy equals its
starting point exactly, in the same precision, and serves as the reference.

Trained weights are float32, in memory and in artifacts: in bfloat16 a step smaller than 1/512 of a weight is lost.
Weights that are only used have the precision `model.dtype`; so have those of a fully trained model on a GPU, while a
CPU uses them as saved, since float32 is faster there.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.config.schema import LaunchConfig, PeftConfig
from pipeline.errors import RequestError
from pipeline.model_files.architectures import between_the_ends
from pipeline.model_files.folder import PADDING, mismatch, pickled
from pipeline.modeling.architecture import (
    check_weights,
    context_length,
    language_model_path,
    layers_without_adapters,
    switch_off_dropout,
    switch_off_router_logits,
)
from pipeline.modeling.chat.rendering import ChatFormat
from pipeline.modeling.chat.tokenizers import load_tokenizer
from pipeline.modeling.heads import check_head
from pipeline.store.artifact import Artifact

MODEL = "model"  # the folder of weights and tokenizer inside an artifact
TRAINED = "default"  # peft's name for the adapter that is being trained
Model: TypeAlias = PreTrainedModel | PeftModel


@dataclass(frozen=True)
class PolicySource:
    """The parts of a policy to load, from the bottom to the top."""

    weights: str  # a folder or a hub id
    tokenizer: str
    revision: str | None = None
    dtype: str = "auto"  # precision of the loaded weights; auto: as saved
    chat_template: str | None = None
    thinking: str | None = None
    adapters: tuple[Path, ...] = ()
    quantized: bool = False  # an adapter of this stack was trained on a 4-bit base
    compute: str | None = None  # of a fully trained model: the precision before training, on a GPU and in exports


def source_of(artifact: Artifact) -> PolicySource:
    """Return the files of a policy's weights, found by its lineage.

    Raises `RequestError` if the artifact is not a policy, or if the model below its adapter is missing.
    """
    source = artifact.source
    if artifact.is_external and artifact.stage == "model":
        path, settled = source["path"], (source["chat_template"], source.get("thinking"))
        return PolicySource(path, path, source.get("revision"), source["dtype"], *settled)
    folder = artifact.path if artifact.is_external else artifact.path / MODEL
    if (folder / "adapter_config.json").is_file():
        below = _source_below(artifact, folder)
        quantized = artifact.manifest.get("config", {}).get("peft", {}).get("method") == "qlora"
        tokenizer = str(folder) if (folder / "tokenizer_config.json").is_file() else below.tokenizer
        adapters = (*below.adapters, folder)
        return replace(below, tokenizer=tokenizer, adapters=adapters, quantized=below.quantized or quantized)
    if not (folder / "config.json").is_file():
        raise RequestError(f"{artifact.path}: neither a model (config.json) nor an adapter (adapter_config.json).")
    return PolicySource(str(folder), str(folder), compute=_starting_dtype(artifact))


def _starting_dtype(artifact: Artifact) -> str | None:
    """Return the precision of a policy's starting model: `model.dtype`, or that of its folder; None if unknown."""
    for role in ("policy", "base"):
        if role in artifact.inputs:
            return _starting_dtype(artifact.inputs[role])
    if not artifact.is_external:
        return None
    return str(artifact.source["dtype"]) if artifact.stage == "model" else saved_dtype(artifact.path)


def saved_dtype(folder: Path) -> str | None:
    """Return the precision of a folder's weights from its config; None if the config has none."""
    file = folder / "config.json"
    said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return said.get("dtype") or said.get("torch_dtype")


def in_float32(source: PolicySource) -> PolicySource:
    """Return the source with float32 weights, for training."""
    return replace(source, dtype="float32", compute=None)


def _source_below(artifact: Artifact, folder: Path) -> PolicySource:
    for role in ("policy", "base"):
        if role in artifact.inputs:
            return source_of(artifact.inputs[role])
    named = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not named or artifact.manifest.get("inputs"):
        raise RequestError(f"{artifact.reference}: the model below this adapter no longer exists.")
    return PolicySource(named, named)


def device_of(launch: LaunchConfig) -> torch.device:
    """Return the requested device; `auto` is a GPU if there is one. Raises `RequestError` if torch finds no GPU."""
    if launch.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if launch.device == "cuda" and not torch.cuda.is_available():
        raise RequestError("launch.device=cuda: torch sees no GPU here. Use launch.device=auto.")
    return torch.device(launch.device)


def tokenizer_of(source: PolicySource) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """Load the tokenizer of a policy; also return a remark for each setting that was added."""
    return load_tokenizer(
        source.tokenizer, revision=source.revision, chat_template=source.chat_template, thinking=source.thinking
    )


def load_policy(
    source: PolicySource, tokenizer: PreTrainedTokenizerBase, device: torch.device, *, quantized: bool | None = None
) -> Model:
    """Load a policy for generation and log-probabilities: all adapters active, dropout off, in 4 bits if trained so.

    Raises `RequestError` like `load_base` and `check_head`.
    """
    in_4_bits = source.quantized if quantized is None else quantized
    model = load_base(AutoModelForCausalLM, source, tokenizer, device, quantized=in_4_bits)
    pad, stop = tokenizer.pad_token_id, ChatFormat(tokenizer).stop_id
    stops = list(dict.fromkeys([stop, tokenizer.eos_token_id]))
    # not the model's own file: sampling follows our configuration, and the distribution that PPO and DPO measure
    model.generation_config = GenerationConfig(
        pad_token_id=pad, bos_token_id=tokenizer.bos_token_id, eos_token_id=stops
    )
    for i, folder in enumerate(source.adapters):
        if i == 0:
            model = PeftModel.from_pretrained(model, folder, adapter_name=name_in_stack(0), is_trainable=False)
        else:
            model.load_adapter(folder, adapter_name=name_in_stack(i), is_trainable=False)
    if source.adapters:
        activate_adapters(model, [name_in_stack(i) for i in range(len(source.adapters))])
    model = (model if in_4_bits else model.to(device)).eval()
    check_head(model, tokenizer("What is this?", add_special_tokens=False)["input_ids"] or [stop], source.weights)
    return model


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
    wanted = source.compute if source.compute and device.type == "cuda" else source.dtype
    dtype = wanted if wanted == "auto" else getattr(torch, wanted)
    config = config_of(source) if config is None else config
    switch_off_dropout(config)
    switch_off_router_logits(config)
    try:
        model, info = kind.from_pretrained(
            source.weights,
            config=config,
            revision=source.revision,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,  # pickled weights from outside are never loaded
            quantization_config=nf4_config(dtype) if quantized else None,
            device_map={"": device} if quantized else None,
            output_loading_info=True,
        )
    except OSError as error:
        if "safetensors" not in str(error):
            raise
        raise RequestError(f"{source.weights}: {pickled(source.weights)}") from error
    except RuntimeError as error:
        if "mismatch" not in str(error):
            raise
        raise RequestError(
            f"{source.weights}: its weights have other shapes than its config.json describes. Save or download the "
            "model again, whole."
        ) from error
    check_weights(info, source.weights, new_head=new_head, prefix=model.base_model_prefix, old_head=old_head)
    for layer in model.modules():
        # bitsandbytes' CPU inference path repacks the weights in place at the first forward pass: that removes the
        # double quantization, has no gradient, and fails for widths that are not a multiple of 64
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False
    rows = model.get_input_embeddings().num_embeddings
    check_embeddings(rows, tokenizer, source)
    check_vocabulary(rows, tokenizer, source)
    model.config.update({"pad_token_id": tokenizer.pad_token_id, "eos_token_id": ChatFormat(tokenizer).stop_id})
    return cast(PreTrainedModel, model)


def check_embeddings(rows: int, tokenizer: PreTrainedTokenizerBase, source: PolicySource) -> None:
    """Raise `RequestError` if a token that can occur has no embedding; `rows` is the number of embeddings.

    Special tokens that neither the template nor a role (end, padding, …) names cannot occur, such as Gemma 3's for
    images.
    """
    beyond = {number: token for number, token in tokenizer.added_tokens_decoder.items() if number >= rows}
    named = f"{tokenizer.chat_template} {tokenizer.special_tokens_map}"
    unused = [token for token in beyond.values() if token.special and token.content not in named]
    if len(unused) < len(beyond) or len(tokenizer) - len(unused) > rows:
        raise RequestError(
            f"{source.weights}: its tokenizer ({source.tokenizer}) has {len(tokenizer):,} tokens, and its embeddings "
            f"have {rows:,} rows only. Bring the model's own tokenizer, or resize the model's embeddings."
        )


def check_vocabulary(rows: int, tokenizer: PreTrainedTokenizerBase, source: PolicySource) -> None:
    """Raise `RequestError` if a model has more ids than padding explains: the tokenizer belongs to another model."""
    words = len(tokenizer)
    if rows - words > PADDING * rows:
        raise RequestError(f"{source.weights}: {mismatch(rows, words)}")


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
            raise RequestError(between_the_ends(target))
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


def activate_adapters(model: PeftModel, adapters: list[str]) -> None:
    """Activate several adapters at once; only the adapter `TRAINED`, with its head, is trainable.

    (`PeftModel.set_adapter` takes one name.)
    """
    model.base_model.set_adapter(adapters)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(f".{TRAINED}." in name and ("lora_" in name or "modules_to_save" in name))


def save_policy(model: Model, tokenizer: PreTrainedTokenizerBase, folder: Path, source: PolicySource) -> None:
    """Save the trained weights as safetensors, and the tokenizer: the whole model, or the new adapter alone."""
    if isinstance(model, PeftModel):
        # peft would write the absolute path of the base model; loading follows the manifest's lineage
        model.peft_config[TRAINED].base_model_name_or_path = source.weights if source.revision else ""
        model.save_pretrained(folder, selected_adapters=[TRAINED])
        (folder / "README.md").unlink(missing_ok=True)  # peft's template of a model card; `export` writes a real one
    else:
        switch_off_router_logits(model.config)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def trainable_parameters(model: torch.nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def name_in_stack(i: int) -> str:
    """Return the name of the i-th adapter of a stack, from the bottom."""
    return f"layer{i}"


def context_length_of(model: Model) -> int:
    """Return the context length in tokens: the maximum of prompt and answer together."""
    return context_length(model.config)


def context_length_in_config(source: PolicySource) -> int:
    """Return the context length in tokens without loading the weights."""
    return context_length(config_of(source))


def config_of(source: PolicySource) -> PreTrainedConfig:
    """Load the configuration of the model below the adapters."""
    return AutoConfig.from_pretrained(source.weights, revision=source.revision, trust_remote_code=False)
