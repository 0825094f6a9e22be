"""Checks during planning whether the stages of a request can use its models.

This covers all ways to name a model: `model.path`, `sft.inputs.base=PATH`, `evaluate.policies=[PATH]`, reward models
in `ppo.rewards`, and adapters on any of these.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import RequestError
from pipeline.model_files.architectures import (
    EMBEDDINGS_AND_HEAD,
    MERGED_PREFIX,
    ON_PREFIX,
    PREFIX,
    Training,
    target_fault,
    training_fault,
)
from pipeline.model_files.folder import ADAPTER, CONFIG, ModelFolder
from pipeline.services.hub import hub_commit, is_hub_id, model_files
from pipeline.store.artifact import MODELS, Artifact
from pipeline.store.roles import WRITERS, gives_scores, trained_from

LORA, TASK = "LORA", "SEQ_CLS"


class HasInputs(Protocol):
    """A step of the plan or an artifact, with its inputs."""

    @property
    def inputs(self) -> Mapping[str, Any]: ...


def check_models(config: Any, inputs: Mapping[str, Any], trains: Training, sound: set[tuple[str, bool]]) -> None:
    """Raise `RequestError` if a stage cannot use an input model, or cannot train its model.

    `sound` holds (version, whether as a reward model) of models that passed before; those that pass now are added.
    """
    policies = {*WRITERS, *getattr(config, "policies", ())}
    for role, given in inputs.items():
        scores = gives_scores(role)
        if isinstance(given, Artifact) and (role in policies or scores) and (given.version, scores) not in sound:
            check_model(given, scores=scores)
            sound.add((given.version, scores))
    if hasattr(config, "peft"):
        _check_training(trains, config.peft, trained_from(inputs))
    if getattr(config, "merge", False) and _has_prefix(inputs.get("policy")):
        raise RequestError(f"export: {MERGED_PREFIX}")


def check_model(given: Artifact, *, scores: bool = False) -> None:
    """Raise `RequestError` if a user's model is not a policy, or with `scores`, not a reward model.

    Models made by stages are not checked.
    """
    if given.stage not in MODELS:
        return
    folder = folder_of(given)
    if folder.path.is_file():
        raise folder.refuse(
            "a file, where a model's folder is wanted (config.json, model.safetensors, tokenizer.json)."
        )
    if given.stage == "folder" and (folder.path / ADAPTER).is_file() and not (folder.path / CONFIG).is_file():
        _check_adapter(folder, scores=scores)
    elif scores:
        folder.check_reward()
    else:
        folder.check_policy(given.source.get("chat_template"))


def folder_of(given: Artifact) -> ModelFolder:
    """Return a model's folder: a local one, or the small files of a hub repository at its commit."""
    source = given.source
    if source.get("revision"):
        return ModelFolder(model_files(source["path"], source["revision"]), source["path"], whole=False)
    return ModelFolder(Path(source["path"]), source["path"])


def _check_adapter(folder: ModelFolder, *, scores: bool) -> None:
    """Raise `RequestError` unless a user's adapter can be stacked and merged exactly, on a known and valid base."""
    adapter = folder.read_json(ADAPTER, "")
    kind, task = adapter.get("peft_type"), adapter.get("task_type")
    if kind != LORA:
        raise folder.refuse(f"an adapter of the kind {kind}; only LoRA can be trained on, merged and stacked here.")
    if scores and task != TASK:
        raise folder.refuse(f"this adapter is for {task}, not a reward model's ({TASK}).")
    if not (folder.path / "adapter_model.safetensors").is_file():
        raise folder.refuse("no adapter_model.safetensors in this folder. Save the adapter again, as safetensors.")
    beside = [*(adapter.get("modules_to_save") or []), *(adapter.get("target_modules") or []), *_token_modules(adapter)]
    ends = [
        name
        for name in beside
        if str(name).rpartition(".")[2] in EMBEDDINGS_AND_HEAD and not (scores and name == "score")
    ]
    if ends:
        raise folder.refuse(
            f"this adapter also trains {ends[0]}, an embedding or the head, which is neither stacked nor merged "
            "exactly here. Merge it into its base first (PeftModel.merge_and_unload) and name the merged folder."
        )
    base_of(folder, adapter).check_policy()


def _token_modules(adapter: Mapping[str, Any]) -> list[str]:
    return ["embed_tokens"] if adapter.get("trainable_token_indices") else []


def base_of(folder: ModelFolder, adapter: Mapping[str, Any]) -> ModelFolder:
    """Return the base model of an adapter. Raises `RequestError` if its configuration names none that exists."""
    base = adapter.get("base_model_name_or_path")
    if base and Path(base).is_dir():
        return ModelFolder(Path(base), base)
    if base and is_hub_id(base):
        return ModelFolder(model_files(base, hub_commit(base, adapter.get("revision"))), base, whole=False)
    raise folder.refuse(
        f"the model under this adapter is unknown: adapter_config.json has base_model_name_or_path={base!r}, which is "
        "neither a folder here nor a hub id. Set it to the base's folder."
    )


def _check_training(trains: Training, peft: Any, given: Any) -> None:
    """Raise `RequestError` if a stage cannot train its model, or the architecture at the bottom of its lineage."""
    if peft.method == PREFIX and not trains.prefixes:
        raise RequestError("peft.method=prefix: only sft trains a prefix. Give peft@sft.peft=prefix, for sft alone.")
    if _has_prefix(given):
        raise RequestError(ON_PREFIX[0].upper() + ON_PREFIX[1:])
    for target in peft.target_modules.split(",") if peft.method in ("lora", "qlora") else ():
        if target.rpartition(".")[2] in EMBEDDINGS_AND_HEAD:
            raise RequestError(target_fault(target))
    root = root_of(given)
    if root is None:
        return
    fault = training_fault(root.config, trains, peft.method, peft.dropout)
    if fault:
        raise root.refuse(fault)


def _has_prefix(given: Any) -> bool:
    """Return whether a policy, a step of the plan or an artifact, was trained with a prefix, or what it came from."""
    while given is not None:
        if isinstance(given, Artifact):
            method = (given.manifest.get("config", {}).get("peft") or {}).get("method")
        else:
            method = getattr(getattr(given.config, "peft", None), "method", None)
        if method == PREFIX:
            return True
        given = trained_from(given.inputs)
    return False


def root_of(given: HasInputs | Artifact) -> ModelFolder | None:
    """Return the user's model that a policy was trained from; None if it is the embedded base or no longer exists."""
    while not (isinstance(given, Artifact) and given.is_external):
        below = trained_from(given.inputs)
        if below is None:
            return None
        given = below
    folder = folder_of(given)
    if (folder.path / CONFIG).is_file():
        return folder
    file = folder.path / ADAPTER
    return base_of(folder, json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
