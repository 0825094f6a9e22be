"""Policies on disk: the model and the adapters that a policy consists of, and their precision.

An adapter's artifact holds that adapter alone; the inputs in its manifest lead to the model and the adapters below it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from pipeline.config.nodes.machine import LaunchConfig
from pipeline.errors import RequestError
from pipeline.modeling.architecture import context_length
from pipeline.modeling.chat.tokenizers import load_tokenizer
from pipeline.store.artifact import Artifact
from pipeline.store.roles import trained_from

MODEL = "model"  # the folder of weights and tokenizer inside an artifact


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
    attention: str | None = None  # how attention is computed; None: transformers' choice
    compute: str | None = None  # of a fully trained model: the precision before training, on a GPU and in exports

    @property
    def has_prefix(self) -> bool:
        """Whether one of the adapters is a prefix."""
        return any(kind == "PREFIX_TUNING" for kind, _ in map(_kind_and_length, self.adapters))

    @property
    def prefix_length(self) -> int:
        """The number of virtual tokens before the first one."""
        return sum(length for kind, length in map(_kind_and_length, self.adapters) if kind == "PREFIX_TUNING")


def _kind_and_length(adapter: Path) -> tuple[str, int]:
    """Return peft's name for a kind of adapter, and its number of virtual tokens."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return str(config.get("peft_type")), int(config.get("num_virtual_tokens") or 0)


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


def source_to_run(artifact: Artifact, launch: LaunchConfig) -> PolicySource:
    """Return the files of a policy's weights, to be loaded with the requested attention."""
    return replace(source_of(artifact), attention=launch.attn_implementation)


def _source_below(artifact: Artifact, folder: Path) -> PolicySource:
    below = trained_from(artifact.inputs)
    if below is not None:
        return source_of(below)
    named = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not named or artifact.manifest.get("inputs"):
        raise RequestError(f"{artifact.reference}: the model below this adapter no longer exists.")
    return PolicySource(named, named)


def _starting_dtype(artifact: Artifact) -> str | None:
    """Return the precision of a policy's starting model: `model.dtype`, or that of its folder; None if unknown."""
    below = trained_from(artifact.inputs)
    if below is not None:
        return _starting_dtype(below)
    if not artifact.is_external:
        return None
    return str(artifact.source["dtype"]) if artifact.stage == "model" else saved_dtype(artifact.path)


def saved_dtype(folder: Path) -> str | None:
    """Return the precision of a folder's weights from its config; None if the config has none."""
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return config.get("dtype") or config.get("torch_dtype")


def in_float32(source: PolicySource) -> PolicySource:
    """Return the source with float32 weights, for training."""
    return replace(source, dtype="float32", compute=None)


def config_of(source: PolicySource) -> PreTrainedConfig:
    """Load the configuration of the model below the adapters."""
    return AutoConfig.from_pretrained(source.weights, revision=source.revision, trust_remote_code=False)


def context_length_in_config(source: PolicySource) -> int:
    """Return the context length in tokens, without a prefix, and without loading the weights."""
    return context_length(config_of(source)) - source.prefix_length


def tokenizer_of(source: PolicySource) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """Load the tokenizer of a policy; also return a remark for each setting that was added."""
    return load_tokenizer(
        source.tokenizer, revision=source.revision, chat_template=source.chat_template, thinking=source.thinking
    )
