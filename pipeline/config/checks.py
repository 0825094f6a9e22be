"""Checks a composed configuration: values outside their limits, and keys that contradict each other."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any
from urllib.parse import urlsplit

from labeling.overlap import overlap_of
from pipeline.config.credentials import ENDPOINT_KEY, credentials
from pipeline.config.losses import loss_faults
from pipeline.config.names import NAME, nearest, stage_hint
from pipeline.config.schema import (
    ATTENTION_ON_GPU,
    DataConfig,
    LabelingConfig,
    PipelineConfig,
    SourceConfig,
    followers,
    source_name,
    stage_names,
)
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
    yield from _of_no_use(config)
    yield from _wrong_sources(config)
    yield from _wrong_labeling(config)
    yield from _wrong_choice(config)
    yield from _wrong_writer(config)
    yield from _wrong_judges(config)
    yield from _indivisible_batches(config)
    yield from _policy_without_iterations(config)
    yield from _unpackable(config)
    yield from _without_gpu(config)
    yield from _wrong_counts(config)
    yield from _lone_source(config)
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
    """Yield micro batches that do not divide the global batch, and rollouts that are not whole batches."""
    micro = config.launch.micro_batch_size
    trained = {name: node for name in stage_names() if hasattr(node := getattr(config, name), "peft")}
    for name, node in trained.items():
        if micro and node.batch_size > micro and node.batch_size % micro:
            yield f"launch.micro_batch_size={micro}: does not divide {name}.batch_size={node.batch_size}."
    if config.ppo.rollouts % config.ppo.batch_size:
        rollouts, batch = config.ppo.rollouts, config.ppo.batch_size
        fits = f"ppo.rollouts={-(-rollouts // batch) * batch}"
        yield f"ppo.rollouts={rollouts}: not a multiple of ppo.batch_size={batch}. Give {fits}, for example."


def _policy_without_iterations(config: PipelineConfig) -> Iterator[str]:
    """Yield a warm-up of PPO's value model that leaves the policy no iteration."""
    warmup, iterations = config.ppo.value_warmup, config.ppo.iterations
    if warmup >= iterations:
        yield f"ppo.value_warmup={warmup}: the policy would learn in none of ppo.iterations={iterations}. Give less."


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


def _lone_source(config: PipelineConfig) -> Iterator[str]:
    """Yield a combination of rewards where there is nothing to combine."""
    if config.ppo.combine != "sum" and len(config.ppo.rewards) < 2:
        yield (
            f"ppo.combine={config.ppo.combine}: ppo.rewards has one source. Give several, such as reward models of "
            "other seeds: ppo.rewards=[{source: reward@A}, {source: reward@B}, {source: reward@C}]."
        )


def _of_no_use(config: PipelineConfig) -> Iterator[str]:
    """Yield keys that describe user files or a user model where the request names none."""
    data, model, plain = config.data, config.model, DataConfig()
    if data.source == "playground":
        for key in ("test_path", "format", "columns", "revision", "subset", "part"):
            if getattr(data, key) != getattr(plain, key):
                yield f"data.{key}={getattr(data, key)}: it is about files of your own: give data.path=FILE, too."
    labeling, unset = config.labeling, LabelingConfig()
    if labeling.backend != "file" and not labeling.gold and not config.preferences.inputs.get("rankings"):
        for key in ("format", "columns", "codes"):
            if getattr(labeling, key) != getattr(unset, key):
                yield f"labeling.{key}={getattr(labeling, key)}: it is about a file: give labeling.path=FILE, too."
    if not model.path:
        for key in ("revision", "chat_template", "thinking"):
            if getattr(model, key) is not None:
                yield f"model.{key}={getattr(model, key)}: it is about a model of your own: give model.path=…, too."


def _wrong_sources(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the keys that describe the user's files."""
    data = config.data
    if data.source == "files":
        if data.path is None and data.sources is None:
            yield "data.path has to be given: data.path=…"
        if data.path is not None and data.sources is not None:
            yield f"data.path={data.path}: give either data.path or data.sources, not both."
        given = {"data.path": data.path, "data.test_path": data.test_path}
        given |= {f"data.sources[{place}].path": one.path for place, one in enumerate(data.sources or [])}
        for key, value in given.items():
            yield from _wrong_paths(key, value)
        yield from _wrong_mixture(data)
        yield from _without_tokenizer(config)
        yield from _wrong_languages(data.cleaning.languages)
        split = data.split
        shares = split.dev + split.test + split.preference + split.rl
        if shares >= 1:
            yield f"data.split: the shares add up to {shares:g}, so nothing is left for SFT."


def _wrong_paths(key: str, value: Any) -> Iterator[str]:
    """Yield a fault if a given value is not a path or a list of paths."""
    paths = value if isinstance(value, list) else [value]
    if value is not None and not all(isinstance(path, str) and path for path in paths):
        yield f"{key}={value}: it has to be a file, a folder or a glob, or a list of them."


def _wrong_mixture(data: DataConfig) -> Iterator[str]:
    """Yield faults in the names of mixed sources, and keys of `data` that belong to one source.

    Names must be unique: rows, the report and the manifest identify a source by its name.
    """
    plain = SourceConfig()
    for key in ("format", "columns", "codes", "revision", "subset", "part") if data.sources else ():
        if getattr(data, key) != getattr(plain, key):
            yield f"data.{key}={getattr(data, key)}: it belongs to data.path; say it of the source it is for."
    names = [source_name(source) for source in data.sources or []]
    for place, name in enumerate(names):
        key = f"data.sources[{place}]"
        if not NAME.fullmatch(name):
            yield f"{key}: its name '{name}' has to have letters, digits, '.', '_' and '-' only: name=…"
        if name in ("tokenizer", "test"):
            yield f"{key}: '{name}' means something else here: give it another name=…"
        if name in names[:place]:
            yield f"{key}: another source is called '{name}', too: give it a name=… of its own."


def _without_tokenizer(config: PipelineConfig) -> Iterator[str]:
    """Yield keys that count or match tokens where no tokenizer is given."""
    data, plain = config.data, DataConfig()
    about: dict[str, Any] = {"max_length": data.max_length, "min_length": data.min_length}
    asked = {key: value for key, value in about.items() if value != getattr(plain, key)}
    if data.cleaning.special_tokens == "drop":
        asked["cleaning.special_tokens"] = "drop"
    for key, value in asked.items() if data.tokenizer is None else ():
        yield (
            f"data.{key}={value}: it is about tokens, and data is read without a model. Say whose tokens: "
            f"data.tokenizer={config.model.path or 'MODEL'} (a folder or a hub id)."
        )


def _wrong_languages(languages: list[str] | None) -> Iterator[str]:
    if languages:
        from pipeline.data.cleaning.language import check_languages  # loads a model: imported only if needed

        try:
            check_languages(languages)
        except ValueError as error:
            yield f"data.cleaning.languages: {error}"


def _wrong_labeling(config: PipelineConfig) -> Iterator[str]:
    """Yield contradictions between backend, annotators, overlap and question."""
    labeling, names = config.labeling, config.labeling.annotators or []
    if labeling.backend == "file" and not labeling.path:
        yield "labeling.path has to be given: labeling.path=…"
    if names and labeling.backend in ("simulated", "file"):
        instead = " instead of a file" if labeling.path else ""
        yield f"labeling.annotators={names}: people answer in Argilla{instead}: labeling=embedded or labeling=remote."
    for name in dict.fromkeys(names):
        if not NAME.fullmatch(name):
            yield f"labeling.annotators: '{name}' has to have letters, digits, '.', '_' and '-' only."
        if names.count(name) > 1:
            yield f"labeling.annotators: '{name}' occurs twice."
    asked = len(names) or labeling.simulated
    yield from _wrong_overlap(labeling, asked)
    if config.abtest.overlap > asked:
        yield f"abtest.overlap={config.abtest.overlap}: there are {asked} to judge each pair of answers."
    if labeling.question == "pairwise" and config.sample.answers != 2:
        yield f"labeling.question=pairwise asks about two answers: sample.answers=2, not {config.sample.answers}."


def _wrong_overlap(labeling: LabelingConfig, asked: int) -> Iterator[str]:
    """Yield faults in the number of people for each prompt."""
    try:
        overlap = overlap_of(labeling.overlap)
    except ValueError as error:
        yield f"labeling.overlap={labeling.overlap}: {error}."
        return
    if labeling.backend != "file" and overlap.highest > asked:
        yield f"labeling.overlap={labeling.overlap}: there are {asked} to rank each prompt."
    if labeling.backend == "remote" and overlap.most is not None:
        yield (
            f"labeling.overlap={labeling.overlap}: an Argilla elsewhere asks the same number of people about each "
            "prompt. Give a number, or use labeling=embedded."
        )


def _wrong_choice(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the choice of prompts and answers that people are asked about."""
    sample = config.sample
    of_choice = {"candidates": sample.candidates, "drawn": sample.drawn, "inputs.reward": sample.inputs.get("reward")}
    if sample.choose != "active":
        for key, value in of_choice.items():
            if value is not None:
                yield f"sample.{key}={value}: it is about an active choice: give sample.choose=active, too."
        return
    if sample.prompts is None:
        yield "sample.choose=active: say how many prompts people are asked about: sample.prompts=100."
    elif sample.candidates is not None and sample.candidates < sample.prompts:
        yield f"sample.candidates={sample.candidates}: fewer than sample.prompts={sample.prompts} to choose from them."
    if sample.drawn is not None and sample.drawn < sample.answers:
        yield f"sample.drawn={sample.drawn}: fewer than sample.answers={sample.answers} to choose from them."


def _wrong_writer(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the writer of drafts and its prompts. Only a model behind an endpoint needs `draft.model`."""
    draft = config.draft
    yield from _wrong_paths("draft.prompts", draft.prompts)
    if is_endpoint(draft.writer):
        fault = address_fault(draft.writer)
        if fault:
            yield f"draft.writer: {fault}"
        if not draft.model:
            yield "draft.model has to be given: the name that the model has at draft.writer."
    elif draft.model:
        yield f"draft.model={draft.model}: only behind an endpoint; draft.writer={draft.writer} is a policy."


def _wrong_judges(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the language models that judge. Only a model behind an endpoint has `model`."""
    judges = config.evaluate.judges or []
    for place, one in enumerate(judges):
        key = f"evaluate.judges[{place}]"
        if is_endpoint(one.judge):
            if fault := address_fault(one.judge):
                yield f"{key}.judge: {fault}"
            if not one.model:
                yield f"{key}.model has to be given: the name that the model has at {key}.judge."
        elif one.model:
            yield f"{key}.model={one.model}: only behind an endpoint; {key}.judge={one.judge} is a policy."
        if one.label in [other.label for other in judges[:place]]:
            yield f"{key}: another judge is called '{one.label}', too: give it a name=… of its own."


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


def is_endpoint(writer: str) -> bool:
    """Whether a writer is a URL, not a policy."""
    return writer.startswith(("http://", "https://"))


def address_fault(url: str) -> str | None:
    """Return the fault in an endpoint's URL, or None. URLs are shown and logged, so they must not hold a key."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        return "it has to be like https://HOST/v1."
    if parts.username or parts.password or parts.query or parts.fragment:
        return f"an address has no name, password or query; the key comes from the environment ({ENDPOINT_KEY})."
    return None
