"""Lists the option names of TRL's and transformers' training configurations, without importing them.

A `trainer:` mapping may hold any of them. Importing the classes takes seconds and loads torch, so the annotated
names are read from the modules' source. A test compares them with `dataclasses.fields`.
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path

from pipeline.config.schema import stage_nodes

TRANSFORMERS = (("transformers", "training_args.py"),)


def _sources(trl: str) -> tuple[tuple[str, str], ...]:
    """Return (package, file) of each class with the options. An empty `trl` means transformers' options only."""
    return (*((("trl", f"trainer/{trl}.py"), ("trl", "trainer/base_config.py")) if trl else ()), *TRANSFORMERS)


SOURCES = {stage: _sources(node.trl) for stage, node in stage_nodes().items() if hasattr(node, "trl")}

# Options that the pipeline sets, so a `trainer:` mapping cannot contradict the configuration:
# the option's name -> where to set it instead.
OWN = {
    "output_dir": "outputs",
    "seed": "<stage>.seed",
    "data_seed": "<stage>.seed",
    "num_train_epochs": "<stage>.epochs",
    "learning_rate": "<stage>.learning_rate",
    "lr_scheduler_type": "<stage>.schedule",
    "warmup_steps": "<stage>.warmup",
    "weight_decay": "<stage>.weight_decay",
    "per_device_train_batch_size": "<stage>.batch_size",
    "per_device_eval_batch_size": "<stage>.batch_size",
    "gradient_accumulation_steps": "launch.micro_batch_size",
    "gradient_checkpointing": "launch.gradient_checkpointing",
    "activation_checkpointing": "launch.gradient_checkpointing",
    "bf16": "launch.mixed_precision",
    "fp16": "launch.mixed_precision",
    "use_cpu": "launch.device",
    "torch_compile": "launch.compile",
    "torch_compile_backend": "launch.compile",
    "torch_compile_mode": "launch.compile",
    "max_length": "<stage>.max_length",
    "beta": "<stage>.beta",
    "eval_strategy": "<stage>.evaluations",
    "eval_steps": "<stage>.evaluations",
    "save_strategy": "<stage>.evaluations",
    "save_steps": "<stage>.evaluations",
    "load_best_model_at_end": "<stage>.keep_best",
    "metric_for_best_model": "<stage>.keep_best",
    "report_to": "tracking",
    "run_name": "tracking",
    "model_init_kwargs": "model",
    "trust_remote_code": "nothing: code from model repositories is never run",
    "resume_from_checkpoint": "nothing: an unfinished version resumes by itself",
    "precompute_ref_log_probs": "nothing: the reference is always evaluated once, before training",
    "sync_ref_model": "nothing: the reference is the policy as it was before training",
    "ld_alpha": "nothing: reference log-probabilities are whole sums",
    "disable_dropout": "nothing: it is always off",
    "eos_token": "nothing: answers end with the template's stop token",
    "pad_token": "nothing: the tokenizer's own, or an unused token, and never EOS",
    "chat_template_path": "model.chat_template",
    "include_num_input_tokens_seen": "nothing: tokens are always counted, padding aside",
    "logging_nan_inf_filter": "nothing: a loss that is not finite ends the stage",
    "packing": "sft.packing",
    "packing_strategy": "sft.packing",
    "eval_packing": "sft.packing",
    "padding_free": "nothing: rows are rendered and padded by the pipeline",
}


@cache
def option_names(stage: str) -> frozenset[str]:
    """Return every name that a stage's `trainer:` mapping may hold."""
    return all_names(stage) - OWN.keys()


@cache
def all_names(stage: str) -> frozenset[str]:
    """Return every option of the stage's trainer, including those that the pipeline sets."""
    names = {name for package, file in SOURCES[stage] for name in _annotated_names(package, file)}
    return frozenset(name for name in names if not name.startswith("_"))


def own_place(stage: str, name: str) -> str | None:
    """Return the place to set an option that the pipeline controls; None for any other name."""
    if name not in OWN or name not in all_names(stage):
        return None
    if (stage, name) == ("sft", "max_length"):
        return "data.max_length"  # rows are measured when data is read, so the ledger lists the long ones
    return OWN[name].replace("<stage>", stage)


def _annotated_names(package: str, file: str) -> set[str]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(f"{package} is not installed")
    tree = ast.parse((Path(spec.origin).parent / file).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    fields = [item for node in classes for item in node.body if isinstance(item, ast.AnnAssign)]
    return {item.target.id for item in fields if isinstance(item.target, ast.Name)}
