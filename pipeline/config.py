"""The typed configuration of the whole, one node per stage.

`conf/` says what is chosen; this file says what can be. Every number carries its own limits and every word its
allowed values, so that `faults` can name all that is wrong with a request at once, before torch is imported.

A stage's node holds everything that changes its result and nothing that does not: the node is what its version
is hashed from. What does not change the result (device, threads, tracking, where outputs lie) stands at the top
level, in `launch` and in `tracking`.
"""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from omegaconf import II, MISSING

JUDGEMENT_FORMATS = (
    *("rankings", "oasst", "pandalm", "answers", "wide", "long", "lists", "label-studio", "label-studio-flat", "pairs"),
    *("kto", "log", "scores", "preferences", "hh", "openwebui", "arena", "arena_turns", "openai", "swift", "prodigy"),
)
"""What `labeling.format` can be; `pipeline.data.formats.table` has them."""

OUTSIDE = {"outside": True}  # not hashed: where an input lies (what lies there is), or how long to wait for people


def number(default: Any, *, least: float | None = None, above: float | None = None, most: float | None = None) -> Any:
    """A numeric field with limits: `least` and `most` are allowed values, `above` is not."""
    return field(default=default, metadata={"least": least, "above": above, "most": most})


def choice(default: str, *options: str) -> Any:
    """A field that takes one of a few words. (OmegaConf refuses `Literal`.)"""
    return field(default=default, metadata={"options": options})


def option(*options: str) -> Any:
    """A field that takes one of a few words, or none."""
    return field(default=None, metadata={"options": options})


def rate_of(stage: str) -> Any:
    """A learning rate that follows `<stage>.peft.method` by the table `learning_rates`, unless it is set."""
    followed = f"learning_rates.{stage}.${{{stage}.peft.method}}"
    return number(II(f"oc.select:{followed},1"), above=0, most=1)  # 1: of an unknown method, which is refused by name


def many(*default: Any) -> Any:
    """A list field."""
    return field(default_factory=lambda: list(default))


def roles(*names: str) -> Any:
    """The inputs a stage can have pinned to a reference: `<stage>.inputs.<role>=REF`."""
    return field(default_factory=lambda: dict.fromkeys(names), metadata=OUTSIDE)


@dataclass
class ModelConfig:
    """The model everything starts from. An empty path is the embedded tiny base, trained by the stage `base`."""

    path: str = MISSING  # a local folder or a hub id
    revision: str | None = None  # a branch, tag or commit of the hub repository; recorded as a commit
    dtype: str = choice("float32", "float32", "bfloat16", "float16")  # of frozen weights; trained ones are float32
    chat_template: str | None = None  # a Jinja file; where absent, the tokenizer's own, else one of ours
    thinking: str | None = option("empty", "train", "keep")  # reasoning before answers; absent: as in the model, empty


@dataclass
class PeftConfig:
    """How a model is fine-tuned: all weights, or adapters on a frozen (for qlora: 4-bit NF4) base."""

    method: str = choice("full", "full", "lora", "qlora")
    rank: int = number(16, least=1)
    alpha: float = number(32.0, above=0)
    dropout: float = number(0.0, least=0, most=0.99)
    target_modules: str = "all-linear"  # or names, comma-separated: q_proj,v_proj


@dataclass
class TrainingConfig:
    """What every training stage has in common. Batch sizes are global: over all processes and accumulation steps."""

    seed: int = II("seed")
    epochs: float = number(1.0, above=0)
    batch_size: int = number(32, least=1)
    learning_rate: float = number(MISSING, above=0, most=1)  # the highest; each stage has its own default
    schedule: str = choice("cosine", "cosine", "linear", "constant", "constant_with_warmup")
    warmup: float = number(0.05, least=0, most=1)  # share of all steps
    weight_decay: float = number(0.0, least=0)
    evaluations: int = number(4, least=1)  # evaluations, and checkpoints, in the whole run
    keep_best: bool = True  # the checkpoint with the lowest evaluation loss, rather than the last
    early_stopping: bool = False
    patience: int = number(2, least=1)  # evaluations without improvement before early stopping
    trainer: dict[str, Any] = field(default_factory=dict)  # any other option of the stage's TRL trainer


@dataclass
class MethodRates:
    """A learning rate for each `peft.method`."""

    full: float = number(MISSING, above=0, most=1)
    lora: float = number(MISSING, above=0, most=1)
    qlora: float = number(MISSING, above=0, most=1)


@dataclass
class LearningRates:
    """What `<stage>.learning_rate` is unless it is set. The numbers and their sources: conf/config.yaml."""

    sft: MethodRates = field(default_factory=MethodRates)
    dpo: MethodRates = field(default_factory=MethodRates)
    reward: MethodRates = field(default_factory=MethodRates)
    ppo: MethodRates = field(default_factory=MethodRates)


@dataclass
class BaseConfig:
    """The embedded tiny base model: a LlamaForCausalLM with its own BPE tokenizer, trained from scratch."""

    seed: int = II("seed")
    world_seed: int = II("data.seed")
    documents: int = number(14000, least=100)
    vocabulary: int = number(1024, least=300)
    hidden_size: int = number(192, least=8)
    intermediate_size: int = number(512, least=8)
    layers: int = number(2, least=1)
    heads: int = number(6, least=1)
    kv_heads: int = number(6, least=1)
    context: int = number(256, least=64)
    block_length: int = number(128, least=16)
    steps: int = number(400, least=1)
    batch_size: int = number(16, least=1)
    learning_rate: float = number(6e-3, above=0, most=1)
    warmup: float = number(0.125, least=0, most=1)
    weight_decay: float = number(0.1, least=0)
    checkpoints: int = number(4, least=1)
    inputs: dict[str, str | None] = roles()


@dataclass
class WorldConfig:
    """How much the playground writes."""

    demonstrations: int = number(1900, least=10)
    dev: int = number(100, least=1)
    preference_prompts: int = number(1000, least=1)
    rl_prompts: int = number(1000, least=1)
    test_prompts: int = number(512, least=1)


@dataclass
class SplitConfig:
    """Shares of the prompts in the user's own files; what is left is for SFT. A share of 0 reuses SFT's prompts."""

    dev: float = number(0.05, least=0, most=0.9)
    test: float = number(0.1, least=0, most=0.9)
    preference: float = number(0.0, least=0, most=0.9)
    rl: float = number(0.0, least=0, most=0.9)


@dataclass
class SourceConfig:
    """Where demonstrations are read from, and how."""

    path: Any = field(default=MISSING, metadata=OUTSIDE)  # a file, folder or glob, or a list; a dataset on the hub
    format: str = choice(
        "auto",
        "auto",
        "alpaca",
        "sharegpt",
        "messages",
        "prompt_completion",
        "openorca",
        "pubmedqa",
        "oasst",
        "hh",
        "kto",
        "log",
    )
    columns: dict[str, str] = field(default_factory=dict)  # our column's name -> the file's: {prompt: Frage}
    codes: dict[Any, str] = field(default_factory=dict)  # a mark in the file -> what it means: {1: bad, 5: good}
    revision: str | None = field(default=None, metadata=OUTSIDE)  # of a dataset on the hub; recorded as a commit
    subset: str | None = None  # of a dataset on the hub that has several
    part: str = "train"  # the split of a dataset on the hub


@dataclass
class MixedSourceConfig(SourceConfig):
    """One of several sources."""

    name: str | None = None  # on every row of it; from its path if absent
    weight: float = number(1.0, above=0, most=100)  # how often each row is drawn: 0.5 is every other one


def source_name(source: MixedSourceConfig) -> str:
    """Its own, or the last part of its path without endings."""
    path = str(source.path[0] if isinstance(source.path, list) else source.path)
    return source.name or re.split(r"[/\\]", path.rstrip("/"))[-1].partition(".")[0]


@dataclass
class CleaningConfig:
    """The rules for texts, each on or off; `pipeline/data/cleaning` says what they do. `roles` is about who speaks."""

    roles: str = choice("drop", "drop", "mend")
    encoding: str = choice("mend", "off", "mend")
    invisible: str = choice("mend", "off", "mend")
    markup: str = choice("mend", "off", "mend")
    special_tokens: str = choice("mend", "off", "mend", "drop")
    empty: str = choice("drop", "off", "drop")
    refusals: str = choice("flag", "off", "flag", "drop")
    personal_data: str = choice("flag", "off", "flag", "mask", "drop")
    repetition: str = choice("flag", "off", "flag", "drop")
    languages: list[str] | None = None  # rows in any other are left out: [en,de]


@dataclass
class DataConfig(SourceConfig):
    """Demonstrations and prompts: from the playground, or from the user's own files."""

    source: str = choice("playground", "playground", "files")
    sources: list[MixedSourceConfig] | None = None  # several, instead of `path`
    test_path: Any = field(default=None, metadata=OUTSIDE)  # what policies are tested on, instead of split.test
    on_bad_row: str = choice("drop", "drop", "error")
    max_bad_fraction: float = number(0.2, least=0, most=1)
    tokenizer: str | None = field(default=None, metadata=OUTSIDE)  # of which model: a folder or a hub id
    max_length: int | None = number(None, least=8)  # tokens of a whole conversation; any if absent
    min_length: int = number(0, least=0)  # tokens of a whole conversation
    prompts: str = choice("last", "every", "last", "random")  # which of a conversation's turns become prompts
    near_duplicates: str = choice("drop", "drop", "keep")
    similarity: float = number(0.8, above=0.5, most=1)  # from which on two texts are near-duplicates (Jaccard)
    conflicts: str = choice("keep", "keep", "first", "drop")  # other answers to one prompt
    seed: int = 0  # of the world and of all splits: fixed, so that runs with other seeds stay comparable
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    inputs: dict[str, str | None] = roles()


@dataclass
class SftConfig(TrainingConfig):
    """Supervised fine-tuning on the demonstrations; loss on the assistant's tokens only."""

    learning_rate: float = rate_of("sft")
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("base", "data")


@dataclass
class DecodingConfig:
    """How answers are drawn."""

    temperature: float = number(1.0, least=0, most=10)  # 0 is greedy
    top_p: float = number(1.0, above=0, most=1)
    max_new_tokens: int | None = number(None, least=1)  # absent: as long as the demonstrations' answers (stages/limits)
    batch_size: int = number(128, least=1)  # part of the result: each batch has a generator seeded of its own


@dataclass
class SampleConfig:
    """Answers for people to rank: `answers` per prompt, drawn in turn from the policies."""

    seed: int = II("seed")
    policies: list[str] = many("sft")
    prompts: int | None = number(None, least=1)  # of the preference prompts, by cluster and turns; all if absent
    answers: int = number(4, least=2, most=10)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    inputs: dict[str, str | None] = roles("data")


@dataclass
class LabelingConfig:
    """Who ranks, and where. `publish` and `collect` follow some of it by interpolation; the rest changes no version."""

    backend: str = choice("embedded", "embedded", "remote", "simulated", "file")
    path: str | None = MISSING  # for labeling=file: rankings or ready-made pairs
    format: str = choice("auto", "auto", *JUDGEMENT_FORMATS)
    columns: dict[str, str] = field(default_factory=dict)  # our column's name -> the file's: {prompt: Frage}
    codes: dict[Any, str] = field(default_factory=dict)  # a value of the file -> what it means: {0: first, 1: second}
    on_bad_row: str = choice("drop", "drop", "error")
    max_bad_fraction: float = number(0.2, least=0, most=1)
    home: str = "${outputs}/.argilla"  # of the embedded server
    port: int | None = number(None, least=1, most=65535)  # of the embedded server; any free one from 6900 if absent
    annotators: list[str] | None = None  # people, by pseudonyms; where absent, simulated ones (playground only)
    overlap: int = number(2, least=1)  # people who rank each prompt
    reuse: bool = True  # go on with what people have ranked when the models change; simulated ones rank anew
    question: str = choice("ranking", "ranking", "pairwise", "rating")
    guidelines: str | None = None  # a Markdown file; where absent, the one that ships
    calibration: int = number(0, least=0)  # prompts that everybody ranks
    repeats: float = number(0.0, least=0, most=1)  # share of these that comes again, in other slots
    gold: str | None = None  # rankings that are known to be right, for everybody to rank, too
    simulated: int = number(3, least=1)  # simulated annotators
    noise: float = number(0.05, least=0)  # theirs: standard deviation on the true score
    tie_width: float = number(0.05, least=0)  # theirs: closer answers are tied


@dataclass
class PublishConfig:
    """Tasks for the annotators: answers in shuffled slots, the map from slot to policy kept apart."""

    seed: int = II("seed")
    question: str = II("labeling.question")
    calibration: int = II("labeling.calibration")
    repeats: float = II("labeling.repeats")
    inputs: dict[str, str | None] = roles("sample")


@dataclass
class CollectConfig:
    """Rankings, as they came back. What people said is hashed instead of this node; simulated ones follow from it."""

    seed: int = II("seed")
    simulated: int = II("labeling.simulated")
    overlap: int = II("labeling.overlap")
    noise: float = II("labeling.noise")
    tie_width: float = II("labeling.tie_width")
    accept: str = field(default="complete", metadata={"options": ("complete", "partial"), **OUTSIDE})
    wait: bool = field(default=False, metadata=OUTSIDE)  # until people have answered, with live progress
    inputs: dict[str, str | None] = roles("publish")


@dataclass
class DraftConfig:
    """Answers that a larger model drafts. What it is called changes the version, not where it is: see `writer`."""

    seed: int = II("seed")
    world_seed: int = II("data.seed")
    writer: str = field(default="sft", metadata=OUTSIDE)  # a policy as in `sample.policies`, a folder, or https://…/v1
    model: str | None = None  # behind an endpoint: its name there
    prompts: Any = field(default=None, metadata=OUTSIDE)  # files of prompts or demonstrations; playground: its own
    count: int = number(200, least=1)  # how many of these prompts, chosen so that they stand for the rest
    generate: int = number(0, least=0)  # new prompts that the writer makes up after them (arXiv 2212.10560)
    system: str | None = None  # what the writer is told first; no part of the demonstrations
    concurrency: int = field(default=8, metadata={"least": 1, "above": None, "most": None, **OUTSIDE})  # of an endpoint
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(temperature=0.7, max_new_tokens=512))
    inputs: dict[str, str | None] = roles("writer", "prompts")


@dataclass
class SynthesizeConfig:
    """Drafts as demonstrations, once people have accepted or corrected them. What they said is hashed beside this."""

    review: bool = True  # false: drafts go on as they are, and their rows say that nobody has looked at them
    accept: str = field(default="complete", metadata={"options": ("complete", "partial"), **OUTSIDE})
    wait: bool = field(default=False, metadata=OUTSIDE)  # until people have answered, with live progress
    inputs: dict[str, str | None] = roles("draft")


@dataclass
class PreferencesConfig:
    """Rankings turned into pairs: annotators pooled by majority, ties left out, split by prompt."""

    seed: int = II("data.seed")
    test_fraction: float = number(0.1, above=0, most=0.9)
    judge_fraction: float = number(0.15, least=0, most=0.8)  # of the prompts: for the independent judge alone
    exclude: list[str] | None = None  # annotators whose rankings are left out
    pool: str = choice("majority", "majority", "net")  # the chosen answer has more than half of all votes, or just more
    format: str = II("labeling.format")
    columns: dict[str, str] = II("labeling.columns")
    codes: dict[Any, str] = II("labeling.codes")
    on_bad_row: str = choice(II("labeling.on_bad_row"), "drop", "error")
    max_bad_fraction: float = number(II("labeling.max_bad_fraction"), least=0, most=1)
    inputs: dict[str, str | None] = roles("rankings")


@dataclass
class DpoConfig(TrainingConfig):
    """Direct preference optimization, from the SFT policy and against it as the reference."""

    learning_rate: float = rate_of("dpo")
    beta: float = number(0.1, above=0)
    sft_weight: float = number(0.0, least=0)  # of the SFT loss on the chosen answers (RPO, arXiv 2404.19733)
    max_length: int | None = number(None, least=8)  # tokens of prompt and answer; the model's context if absent
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "preferences")


@dataclass
class RewardConfig(TrainingConfig):
    """A reward model (Bradley-Terry) from the SFT policy: its transformer with a head that says one number.

    `batch_size` counts rankings: all answers to a prompt that people compared, with all their pairs.
    """

    learning_rate: float = rate_of("reward")
    as_judge: bool = False  # the independent judge: of prompts that no other stage learns from, and never PPO's reward
    margin: bool = False  # how clearly people preferred is how far apart the two scores have to be
    sft_weight: float = number(0.0, least=0)  # of the SFT loss on the ranked answers beside it (arXiv 2406.10216)
    token_weight: float = number(0.0, least=0)  # of the same loss on the mean score of an answer's tokens, beside it
    max_length: int | None = number(None, least=8)  # tokens of prompt and answer; the model's context if absent
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "preferences")


@dataclass
class RewardSource:
    """What answers are rewarded for: a reward model, or a Python function, and how much it counts."""

    source: str = MISSING  # `reward` (the chain's), `reward@VERSION`, a folder, `module:function`, `file.py:function`
    weight: float = 1.0


@dataclass
class KlConfig:
    """What it costs to leave the reference."""

    coefficient: float = number(0.05, least=0)
    estimator: str = choice("k1", "k1", "k3")
    target: float | None = number(None, above=0)  # nats per answer: the coefficient follows it; fixed if absent
    horizon: float = number(10000, above=0)  # answers within which it does


@dataclass
class StopConfig:
    """When a run ends before its time, and its last good policy is kept."""

    kl: float = number(100.0, above=0)  # nats per answer
    stopped: float = number(0.2, least=0, most=1)  # answers that end by themselves, relative to the first iteration
    distinct: float = number(0.1, least=0, most=1)  # share of an iteration's answers that differ from each other
    patience: int = number(3, least=1)  # iterations in a row


@dataclass
class PpoConfig:
    """Proximal policy optimization, from the SFT policy and against it as the reference. Batch sizes are global."""

    seed: int = II("seed")
    rewards: list[RewardSource] = field(default_factory=lambda: [RewardSource("reward")])
    iterations: int = number(200, least=1)
    rollouts: int = number(64, least=1)  # answers per iteration
    epochs: int = number(2, least=1)  # passes over an iteration's answers
    batch_size: int = number(32, least=1)  # answers per optimizer step
    learning_rate: float = rate_of("ppo")
    value_learning_rate: float | None = number(None, above=0, most=1)  # learning_rate if absent
    schedule: str = choice("linear", "linear", "constant")
    clip: float = number(0.2, above=0)
    value_clip: float = number(0.2, above=0)
    value_coefficient: float = number(0.1, above=0)
    gamma: float = number(1.0, above=0, most=1)
    lam: float = number(0.95, least=0, most=1)
    whiten_rewards: bool = False
    missing_stop_penalty: float = number(1.0, least=0)  # off the score of an answer that was cut off
    max_grad_norm: float = number(1.0, above=0)  # of policy and value model each
    temperature: float = number(1.0, above=0, most=10)
    max_new_tokens: int | None = number(None, least=1)  # absent: as long as the demonstrations' answers (stages/limits)
    sampling_batch_size: int = number(128, least=1)
    samples: int = number(4, least=0)  # answers shown in samples.jsonl each time
    sample_every: int = number(10, least=1)  # iterations
    checkpoint_every: int = number(25, least=1)  # iterations
    watch_judge: bool = False  # show the independent judge's view of the samples as well; it never rewards
    kl: KlConfig = field(default_factory=KlConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "prompts", "reward", "judge", "value")


@dataclass
class EvaluateConfig:
    """Policies side by side on prompts that none of them was trained on."""

    seed: int = II("seed")
    policies: list[str] = many("base", "sft", "dpo", "ppo")
    baseline: str = "sft"
    prompts: int = number(512, least=1)
    judge: bool | None = None  # an independent judge, trained on prompts of its own; absent: where PPO is evaluated
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    inputs: dict[str, str | None] = roles("data", "reward", "judge")


@dataclass
class CompareConfig:
    """The report: which arm served these preferences better, and how sure that is."""

    examples: int = number(8, least=0)
    inputs: dict[str, str | None] = roles("evaluation")


@dataclass
class ExportConfig:
    """A folder that transformers loads as it is."""

    policy: str = "dpo"
    merge: bool = True  # false: the adapter alone, with its base named
    inputs: dict[str, str | None] = roles("policy")


@dataclass
class LaunchConfig:
    """How the machine is used. Outside every version: the same run on another machine is the same run."""

    device: str = choice("auto", "auto", "cpu", "cuda", "mps")
    micro_batch_size: int | None = number(None, least=1)  # rows per device and forward pass; all if absent
    gradient_checkpointing: bool = False
    mixed_precision: str = choice("auto", "auto", "no", "bf16")  # auto: bf16 to train a bfloat16 model whole on a GPU
    parallel: int | None = number(None, least=1)  # stages at once; absent: one per GPU, or per idle core if it is small
    processes: int | None = number(None, least=1)  # that read and clean data; as many as there are cores if absent


@dataclass
class TrackingConfig:
    """Weights & Biases. `auto` is online with a key in the environment or the netrc file, else offline."""

    mode: str = choice("auto", "auto", "online", "offline", "off")
    project: str = "alignment-pipeline"
    entity: str | None = None


@dataclass
class PipelineConfig:
    """The whole, as composed from `conf/` and the command line."""

    stage: str = "all"
    project: str = "playground"
    seed: int = 0
    outputs: str = "outputs"
    threads: int | None = number(None, least=1)  # torch threads; absent: one for the tiny base, else the idle cores
    upstream: str = choice("build", "build", "require")
    gates: str = choice("warn", "warn", "stop", "off")  # before dpo, ppo and a judge's word; stop: not done if wrong
    plan: bool = False
    tag: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    learning_rates: LearningRates = field(default_factory=LearningRates)
    labeling: LabelingConfig = field(default_factory=LabelingConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    base: BaseConfig = field(default_factory=BaseConfig)
    draft: DraftConfig = field(default_factory=DraftConfig)
    synthesize: SynthesizeConfig = field(default_factory=SynthesizeConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    preferences: PreferencesConfig = field(default_factory=PreferencesConfig)
    dpo: DpoConfig = field(default_factory=DpoConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


def stage_names() -> list[str]:
    """Every stage that has a node here, in the order of the chain."""
    nodes = {item.name: item.type for item in dataclasses.fields(PipelineConfig)}
    return [name for name, node in nodes.items() if "inputs" in getattr(node, "__dataclass_fields__", {})]


def content(node: Any) -> dict[str, Any]:
    """A stage's node as it is hashed and recorded: all of it but what lies outside the hash."""
    return {
        item.name: _plain(getattr(node, item.name))
        for item in dataclasses.fields(node)
        if not item.metadata.get("outside")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):  # the keys of `codes` may be numbers
        return {str(key): _plain(one) for key, one in value.items()}
    return content(value) if dataclasses.is_dataclass(value) else value


def nearest(word: str, words: Any) -> str:
    """The end of a message about an unknown word: the nearest right one, or all of them."""
    close = get_close_matches(word, [str(w) for w in words], n=1, cutoff=0.5)
    return f"Did you mean '{close[0]}'?" if close else f"It can be: {', '.join(sorted(map(str, words)))}."


def faults(node: Any, prefix: str = "") -> Iterator[str]:
    """Every value of `node` that is outside its field's limits, one message each, keys in dotted form."""
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
