"""Checks a composed configuration: values outside their limits, and keys that contradict each other."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pipeline.config.credentials import credentials
from pipeline.config.data_checks import keys_of_no_use, wrong_sources
from pipeline.config.losses import loss_faults
from pipeline.config.names import NAME, nearest, stage_hint
from pipeline.config.nodes.machine import ATTENTION_ON_GPU
from pipeline.config.people_checks import wrong_choice, wrong_judges, wrong_labeling, wrong_servers, wrong_writer
from pipeline.config.ppo_checks import wrong_ppo
from pipeline.config.schema import PipelineConfig, followers, stage_names
from pipeline.config.trainer_options import SOURCES, option_names, own_place


def check_values(config: PipelineConfig) -> Iterator[str]:
    """Yield a message for each invalid value and each unknown name in a `trainer:` or `inputs:` mapping.

    Where a stage inherits a wrong option from another stage, only the other stage's key is reported.
    """
    found = list(_value_and_name_faults(config))
    for fault in found:
        followed = [fault.replace(f"{stage}.", f"{other}.") for stage, other in followers().items()]
        if all(one == fault or one not in found for one in followed):
            yield fault


def _value_and_name_faults(config: PipelineConfig) -> Iterator[str]:
    yield from _wrong_names(config)
    yield from credentials(config)
    yield from faults(config)
    yield from _unusable(config)
    yield from keys_of_no_use(config)
    yield from wrong_sources(config)
    yield from wrong_labeling(config)
    yield from wrong_choice(config)
    yield from wrong_writer(config)
    yield from wrong_judges(config)
    yield from wrong_servers(config)
    yield from _indivisible_batches(config)
    yield from wrong_ppo(config.ppo)
    yield from _unpackable(config)
    yield from _without_gpu(config)
    yield from _wrong_counts(config)
    yield from loss_faults(config.dpo.trainer, config.dpo.label_noise)
    for stage in stage_names():
        node = getattr(config, stage)
        known = [*type(node)().inputs, *getattr(node, "policies", ())]
        for role in node.inputs:
            if role not in known:
                there = nearest(role, known) if known else f"The stage {stage} has none that can be named."
                yield f"{stage}.inputs.{role}: no such input. {there}"
    for stage in SOURCES:
        for name in getattr(config, stage).trainer:
            if own_place(stage, name):
                yield f"{stage}.trainer.{name}: set by the pipeline; use {own_place(stage, name)}."
            elif name not in option_names(stage):
                yield f"{stage}.trainer.{name}: no such option. {nearest(name, option_names(stage))}"


def _wrong_names(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the requested stage and in names that become folders: project, tag, outputs."""
    if config.stage not in ("all", *stage_names()):
        yield f"stage={config.stage}: no such stage. {stage_hint(config.stage)}"
    rule = "letters, digits, '.', '_' and '-' only, and begins with a letter or a digit."
    if not NAME.fullmatch(config.project):
        yield f"project={config.project}: a project's name has {rule}"
    if config.tag is not None and not NAME.fullmatch(config.tag):
        yield f"tag={config.tag}: a tag has {rule}"
    if config.tag == "latest":
        yield "tag=latest: 'latest' always names the newest version; choose another tag."
    if not config.outputs.strip():
        yield "outputs=: it has to name a folder."


def _indivisible_batches(config: PipelineConfig) -> Iterator[str]:
    """Yield micro batches that do not divide the global batch."""
    micro = config.launch.micro_batch_size
    trained = {name: node for name in stage_names() if hasattr(node := getattr(config, name), "peft")}
    for name, node in trained.items():
        if micro and node.batch_size > micro and node.batch_size % micro:
            yield f"launch.micro_batch_size={micro}: does not divide {name}.batch_size={node.batch_size}."


def _unpackable(config: PipelineConfig) -> Iterator[str]:
    """Yield options of SFT's trainer that would see packed rows as one, or that only padded rows have."""
    for name in ("label_smoothing_factor", "pad_to_multiple_of") if config.sft.packing else ():
        if config.sft.trainer.get(name):
            yield f"sft.trainer.{name}={config.sft.trainer[name]}: it does not go with sft.packing=true."


def _without_gpu(config: PipelineConfig) -> Iterator[str]:
    """Yield an attention that needs a GPU where another device is requested."""
    attention, device = config.launch.attn_implementation, config.launch.device
    if attention in ATTENTION_ON_GPU and device not in ("auto", "cuda"):
        yield f"launch.attn_implementation={attention}: it needs a GPU, not launch.device={device}."


def _wrong_counts(config: PipelineConfig) -> Iterator[str]:
    """Yield counts of answers that have no best, or that are there twice."""
    counts = config.evaluate.best_of or []
    for count in counts:
        if count < 2 or counts.count(count) > 1:
            yield f"evaluate.best_of={counts}: each number of answers has to be at least 2, and there once."
            return


def _unusable(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield values that have the right type but cannot be used: infinite numbers, empty lists."""
    for name, value in _items(node):
        key = prefix + name
        if isinstance(value, float) and (math.isinf(value) or (isinstance(node, Mapping) and math.isnan(value))):
            yield f"{key}={value}: it has to be a finite number."
        elif isinstance(value, list) and not value:
            yield f"{key}=[]: it needs at least one entry."
        elif is_dataclass(value) or isinstance(value, Mapping):
            yield from _unusable(value, key + ".")


def _items(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        return ((str(key), value) for key, value in node.items())
    return ((item.name, getattr(node, item.name)) for item in fields(node))


def faults(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield one message for each value of `node` outside its field's limits, with dotted keys."""
    for item in dataclasses.fields(node):
        value, key = getattr(node, item.name), prefix + item.name
        nodes = value if isinstance(value, list) else [value]
        if any(dataclasses.is_dataclass(one) for one in nodes):
            for place, one in enumerate(nodes):
                yield from faults(one, f"{key}[{place}]." if isinstance(value, list) else f"{key}.")
        elif value is not None:
            yield from _value_faults(key, value, item.metadata)


def _value_faults(key: str, value: Any, limits: Any) -> Iterator[str]:
    options = limits.get("options")
    if options and value not in options:
        yield f"{key}={value}: not an option. {nearest(str(value), options)}"
    least, above, most = (limits.get(name) for name in ("least", "above", "most"))
    if least is not None and not value >= least:
        yield f"{key}={value}: out of range, it has to be at least {least:g}."
    if above is not None and not value > above:
        yield f"{key}={value}: out of range, it has to be above {above:g}."
    if most is not None and not value <= most:
        yield f"{key}={value}: out of range, it has to be at most {most:g}."
