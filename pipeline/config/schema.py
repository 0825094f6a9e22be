"""The typed configuration of the whole, one node per stage.

`conf/` says what is chosen; this file says what can be. Every number carries its own limits and every word its
allowed values, so that `checks.faults` can name all that is wrong with a request at once, before torch is imported.

A stage's node holds everything that changes its result and nothing that does not: the node is what its version
is hashed from. What does not change the result (device, threads, tracking, where outputs lie) stands at the top
level, in `launch` and in `tracking`.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from omegaconf import II, MISSING

from labeling.backend import Comparison
from labeling.backends import BACKENDS
from pipeline.config.fields import OUTSIDE, added_to, choice, following, many, number, option, rate_like, rate_of, roles

DEMONSTRATION_FORMATS = (
    *("alpaca", "sharegpt", "messages", "prompt_completion", "openorca", "pubmedqa", "oasst", "hh", "kto", "log"),
    *("prodigy", "gemini", "chatgpt"),
)
"""What `data.format` can be; `pipeline.data.formats.table` has them."""

JUDGEMENT_FORMATS = (
    *(
        "rankings",
        "oasst",
        "pandalm",
        "answers",
        "wide",
        "long",
        "lists",
        "order",
        "label-studio",
        "label-studio-flat",
        "pairs",
    ),
    *("kto", "log", "scores", "preferences", "hh", "openwebui", "arena", "arena_turns", "openai", "swift"),
    "prodigy",
)
"""What `labeling.format` can be; `pipeline.data.formats.table` has them."""


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

    method: str = choice("full", "full", "lora", "qlora")  # all weights, adapters, or adapters on 4 bits
    rank: int = number(16, least=1)  # of an adapter's matrices
    alpha: float = number(32.0, above=0)  # scales an adapter: alpha / rank
    dropout: float = number(0.0, least=0, most=0.99)  # share of an adapter's inputs left out in training
    target_modules: str = "all-linear"  # all-linear, or names, comma-separated: q_proj,v_proj


@dataclass
class TrainingConfig:
    """What every training stage has in common. Batch sizes are global: over all processes and accumulation steps."""

    seed: int = II("seed")
    epochs: float = number(1.0, above=0)  # passes over the training rows
    batch_size: int = number(32, least=1)  # rows per optimizer step
    learning_rate: float = number(MISSING, above=0, most=1)  # the highest; each stage has its own default
    schedule: str = choice("cosine", "cosine", "linear", "constant", "constant_with_warmup")  # of the learning rate
    warmup: float = number(0.05, least=0, most=1)  # share of all steps
    weight_decay: float = number(0.0, least=0)  # of AdamW
    evaluations: int = number(4, least=1)  # evaluations, and checkpoints, in the whole run
    keep_best: bool = True  # the checkpoint with the lowest evaluation loss, rather than the last
    early_stopping: bool = False  # end when the evaluation loss no longer falls
    patience: int = number(2, least=1)  # evaluations without improvement before early stopping
    trainer: dict[str, Any] = field(default_factory=dict)  # any other option of the stage's TRL trainer

    trl: ClassVar[str]  # the module in trl/trainer with the options that `trainer` can have; none: transformers' alone


@dataclass
class MethodRates:
    """A learning rate for each `peft.method`."""

    full: float = number(MISSING, above=0, most=1)  # where all weights are trained
    lora: float = number(MISSING, above=0, most=1)  # where adapters are
    qlora: float = number(MISSING, above=0, most=1)  # where adapters on a base in 4 bits are


@dataclass
class LearningRates:
    """What `<stage>.learning_rate` is unless it is set. The numbers and their sources: conf/config.yaml."""

    sft: MethodRates = field(default_factory=MethodRates)
    dpo: MethodRates = field(default_factory=MethodRates)
    kto: MethodRates = field(default_factory=MethodRates)
    reward: MethodRates = field(default_factory=MethodRates)
    ppo: MethodRates = field(default_factory=MethodRates)


@dataclass
class BaseConfig:
    """The embedded tiny base model: a LlamaForCausalLM with its own BPE tokenizer, trained from scratch."""

    seed: int = II("seed")
    world_seed: int = II("data.seed")
    documents: int = number(14000, least=100)  # texts that it is trained on
    vocabulary: int = number(1024, least=300)  # tokens of its tokenizer
    hidden_size: int = number(192, least=8)  # width of a layer
    intermediate_size: int = number(512, least=8)  # width inside a feed-forward layer
    layers: int = number(2, least=1)  # transformer layers
    heads: int = number(6, least=1)  # attention heads
    kv_heads: int = number(6, least=1)  # heads of keys and values
    context: int = number(256, least=64)  # tokens that it can read
    block_length: int = number(128, least=16)  # tokens of a training row
    steps: int = number(400, least=1)  # optimizer steps
    batch_size: int = number(16, least=1)  # blocks per step
    learning_rate: float = number(6e-3, above=0, most=1)  # the highest
    warmup: float = number(0.125, least=0, most=1)  # share of all steps
    weight_decay: float = number(0.1, least=0)  # of AdamW
    checkpoints: int = number(4, least=1)  # in the whole run
    inputs: dict[str, str | None] = roles()


@dataclass
class WorldConfig:
    """How much the playground writes."""

    demonstrations: int = number(1900, least=10)  # to train SFT on
    dev: int = number(100, least=1)  # demonstrations to evaluate SFT on
    preference_prompts: int = number(1000, least=1)  # prompts whose answers are ranked
    rl_prompts: int = number(1000, least=1)  # prompts for PPO
    test_prompts: int = number(512, least=1)  # prompts that policies are tested on


@dataclass
class SplitConfig:
    """Shares of the prompts in the user's own files; what is left is for SFT. A share of 0 reuses SFT's prompts."""

    dev: float = number(0.05, least=0, most=0.9)  # evaluation of SFT
    test: float = number(0.1, least=0, most=0.9)  # what policies are tested on
    preference: float = number(0.0, least=0, most=0.9)  # prompts whose answers are ranked
    rl: float = number(0.0, least=0, most=0.9)  # prompts for PPO


@dataclass
class SourceConfig:
    """Where demonstrations are read from, and how."""

    path: Any = field(default=MISSING, metadata=OUTSIDE)  # a file, folder or glob, or a list; a dataset on the hub
    format: str = choice("auto", "auto", *DEMONSTRATION_FORMATS)  # auto: found out from the content
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

    roles: str = choice("drop", "drop", "mend")  # turns in an order that no chat has
    encoding: str = choice("mend", "off", "mend")  # text that was decoded wrongly
    invisible: str = choice("mend", "off", "mend")  # control characters, zero-width spaces
    markup: str = choice("mend", "off", "mend")  # HTML tags and entities
    special_tokens: str = choice("mend", "off", "mend", "drop")  # a model's own tokens, written in a text
    empty: str = choice("drop", "off", "drop")  # a turn without text
    refusals: str = choice("flag", "off", "flag", "drop")  # answers that refuse
    personal_data: str = choice("flag", "off", "flag", "mask", "drop")  # addresses, numbers of phones and cards
    repetition: str = choice("flag", "off", "flag", "drop")  # a phrase again and again
    languages: list[str] | None = None  # rows in any other are left out: [en,de]


@dataclass
class DataConfig(SourceConfig):
    """Demonstrations and prompts: from the playground, or from the user's own files."""

    source: str = choice("playground", "playground", "files")  # follows data=files or data=playground
    sources: list[MixedSourceConfig] | None = None  # several, instead of `path`
    test_path: Any = field(default=None, metadata=OUTSIDE)  # what policies are tested on, instead of split.test
    on_bad_row: str = choice("drop", "drop", "error")  # drop: left out, and listed in ledger.jsonl
    max_bad_fraction: float = number(0.2, least=0, most=1)  # of bad rows, above which the stage ends
    tokenizer: str | None = field(default=None, metadata=OUTSIDE)  # of which model: a folder or a hub id
    max_length: int | None = number(None, least=8)  # tokens of a whole conversation; any if absent
    min_length: int = number(0, least=0)  # tokens of a whole conversation
    prompts: str = choice("last", "every", "last", "random")  # which of a conversation's turns become prompts
    near_duplicates: str = choice("drop", "drop", "keep")  # prompts that are nearly the same
    similarity: float = number(0.8, above=0.5, most=1)  # Jaccard similarity from which on texts are near-duplicates
    conflicts: str = choice("keep", "keep", "first", "drop")  # other answers to one prompt
    seed: int = 0  # of the world and of all splits: fixed, so that runs with other seeds stay comparable
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    inputs: dict[str, str | None] = roles()


@dataclass
class SftConfig(TrainingConfig):
    """Supervised fine-tuning on the demonstrations; loss on the assistant's tokens only."""

    trl: ClassVar[str] = "sft_config"

    learning_rate: float = rate_of("sft")
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("base", "data")


@dataclass
class DecodingConfig:
    """How answers are drawn."""

    temperature: float = number(1.0, least=0, most=10)  # 0 is greedy
    top_p: float = number(1.0, above=0, most=1)  # share of the probability that tokens are drawn from
    max_new_tokens: int | None = number(None, least=1)  # absent: as long as the demonstrations' answers (stages/limits)
    batch_size: int = number(128, least=1)  # part of the result: each batch has a generator seeded of its own


@dataclass
class SampleConfig:
    """Answers for people to rank: `answers` per prompt, drawn in turn from the policies."""

    seed: int = II("seed")
    policies: list[str] = many("sft")  # that write answers: stages, versions or paths
    prompts: int | None = number(None, least=1)  # of the preference prompts, by cluster and turns; all if absent
    answers: int = number(4, least=2, most=10)  # to each prompt
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    inputs: dict[str, str | None] = roles("data")


@dataclass
class LabelingConfig:
    """Who ranks, and where. `publish` and `collect` follow some of it by interpolation; the rest changes no version."""

    backend: str = choice("embedded", *BACKENDS, "file")  # follows labeling=NAME
    path: str | None = MISSING  # for labeling=file: rankings or ready-made pairs
    format: str = choice("auto", "auto", *JUDGEMENT_FORMATS)  # auto: found out from the content
    columns: dict[str, str] = field(default_factory=dict)  # our column's name -> the file's: {prompt: Frage}
    codes: dict[Any, str] = field(default_factory=dict)  # a value of the file -> what it means: {0: first, 1: second}
    on_bad_row: str = choice("drop", "drop", "error")  # drop: left out, and listed in ledger.jsonl
    max_bad_fraction: float = number(0.2, least=0, most=1)  # of bad rows, above which the stage ends
    home: str = "${outputs}/.argilla"  # of the embedded server
    port: int | None = number(None, least=1, most=65535)  # of the embedded server; any free one from 6900 if absent
    annotators: list[str] | None = None  # people, by pseudonyms; where absent, simulated ones (playground only)
    overlap: int = number(2, least=1)  # people who rank each prompt
    reuse: bool = True  # go on with what people have ranked when the models change; simulated ones rank anew
    question: str = choice("ranking", *get_args(Comparison))  # an order of all answers, one of two, or stars
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
    accept: str = choice("complete", "complete", "partial", outside=True)  # partial: what is complete by now is enough
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
    accept: str = choice("complete", "complete", "partial", outside=True)  # partial: what is complete by now is enough
    wait: bool = field(default=False, metadata=OUTSIDE)  # until people have answered, with live progress
    inputs: dict[str, str | None] = roles("draft")


@dataclass
class PreferencesConfig:
    """Rankings turned into pairs: annotators pooled by majority, ties left out, split by prompt."""

    seed: int = II("data.seed")
    test_fraction: float = number(0.1, above=0, most=0.9)  # of the prompts, to evaluate DPO and reward models on
    judge_fraction: float = number(0.15, least=0, most=0.8)  # of the prompts: for the independent judge alone
    exclude: list[str] | None = None  # annotators whose rankings are left out
    pool: str = choice("majority", "majority", "net")  # the chosen answer has more than half of all votes, or just more
    format: str = II("labeling.format")  # as in labeling
    columns: dict[str, str] = added_to("labeling.columns")  # beside those in labeling
    codes: dict[Any, str] = added_to("labeling.codes")  # beside those in labeling
    on_bad_row: str = choice(II("labeling.on_bad_row"), "drop", "error")  # as in labeling
    max_bad_fraction: float = number(II("labeling.max_bad_fraction"), least=0, most=1)  # as in labeling
    inputs: dict[str, str | None] = roles("rankings")


@dataclass
class DpoConfig(TrainingConfig):
    """Direct preference optimization, from the SFT policy and against it as the reference."""

    trl: ClassVar[str] = "dpo_config"

    learning_rate: float = rate_of("dpo")
    beta: float = number(0.1, above=0)  # how much leaving the reference costs
    sft_weight: float = number(0.0, least=0)  # of the SFT loss on the chosen answers (RPO, arXiv 2404.19733)
    max_length: int | None = number(None, least=8)  # tokens of prompt and answer; the model's context if absent
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "preferences")


@dataclass
class KtoConfig(TrainingConfig):
    """Kahneman-Tversky optimization, from the SFT policy and against it as the reference, of marked answers.

    `batch_size` counts answers.
    """

    trl: ClassVar[str] = ""  # its loss is our own: the options are transformers'
    learning_rate: float = rate_of("kto")
    beta: float = number(0.1, above=0)  # how much leaving the reference costs
    good_weight: float = number(1.0, above=0)  # of answers marked as good; a rare kind has to weigh more
    bad_weight: float = number(1.0, above=0)  # of answers marked as bad
    max_length: int | None = number(None, least=8)  # tokens of prompt and answer; the model's context if absent
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "preferences")


@dataclass
class RewardConfig(TrainingConfig):
    """A reward model (Bradley-Terry) from the SFT policy: its transformer with a head that says one number.

    `batch_size` counts rankings: all answers to a prompt that people compared, with all their pairs.
    """

    trl: ClassVar[str] = "reward_config"
    former: ClassVar[dict[str, Any]] = {"as_judge": False}  # hashed as before, so that earlier reward models are found

    learning_rate: float = rate_of("reward")
    margin: bool = False  # how clearly people preferred is how far apart the two scores have to be
    sft_weight: float = number(0.0, least=0)  # of the SFT loss on the ranked answers beside it (arXiv 2406.10216)
    token_weight: float = number(0.0, least=0)  # of the same loss on the mean score of an answer's tokens, beside it
    max_length: int | None = number(None, least=8)  # tokens of prompt and answer; the model's context if absent
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "preferences")


@dataclass
class JudgeConfig(RewardConfig):
    """The independent judge: a reward model of pairs that nothing else learns from. Options follow `reward` unless set.

    `trainer` has the options of `reward.trainer` and its own.
    """

    follows: ClassVar[str] = "reward"
    former: ClassVar[dict[str, Any]] = {}

    seed: int = II("reward.seed")
    learning_rate: float = rate_like("judge", "reward")


@dataclass
class RewardSource:
    """What answers are rewarded for: a reward model, or a Python function, and how much it counts."""

    source: str = MISSING  # `reward` (the chain's), `reward@VERSION`, a folder, `module:function`, `file.py:function`
    weight: float = 1.0


@dataclass
class KlConfig:
    """What it costs to leave the reference."""

    coefficient: float = number(0.05, least=0)  # of the penalty
    estimator: str = choice("k1", "k1", "k3")  # k1: log ratio; k3: never negative
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
    rewards: list[RewardSource] = field(
        default_factory=lambda: [RewardSource("reward")]
    )  # what answers are rewarded for
    iterations: int = number(200, least=1)  # rounds of sampling and learning
    rollouts: int = number(64, least=1)  # answers per iteration
    epochs: int = number(2, least=1)  # passes over an iteration's answers
    batch_size: int = number(II("half:${ppo.rollouts}"), least=1)  # answers per optimizer step; half of the rollouts
    learning_rate: float = rate_of("ppo")  # of the policy
    value_learning_rate: float | None = number(None, above=0, most=1)  # learning_rate if absent
    schedule: str = choice("linear", "linear", "constant")  # of the learning rates
    clip: float = number(0.2, above=0)  # of the policy ratio
    value_clip: float = number(0.2, above=0)  # of the value estimates
    value_coefficient: float = number(0.1, above=0)  # of the value loss
    gamma: float = number(1.0, above=0, most=1)  # discount per token
    lam: float = number(0.95, least=0, most=1)  # of generalized advantage estimation
    whiten_rewards: bool = False  # scale them to variance 1
    missing_stop_penalty: float = number(1.0, least=0)  # off the score of an answer that was cut off
    max_grad_norm: float = number(1.0, above=0)  # of policy and value model each
    temperature: float = number(1.0, above=0, most=10)  # answers are drawn at
    max_new_tokens: int | None = number(None, least=1)  # absent: as long as the demonstrations' answers (stages/limits)
    sampling_batch_size: int = number(128, least=1)  # answers drawn at once
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
    policies: list[str] = many("base", "sft", "dpo", "ppo")  # that are compared: stages, versions or paths
    baseline: str = "sft"  # that win rates are against
    prompts: int = number(512, least=1)  # of the test prompts, at most
    judge: bool | None = None  # an independent judge, trained on prompts of its own; absent: where PPO is evaluated
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    inputs: dict[str, str | None] = roles("data", "reward", "judge")


@dataclass
class CompareConfig:
    """The report: which arm served these preferences better, and how sure that is."""

    examples: int = number(8, least=0)  # prompts whose answers the report shows
    inputs: dict[str, str | None] = roles("evaluation")


@dataclass
class ExportConfig:
    """A folder that transformers loads as it is."""

    policy: str = "dpo"  # a stage, a version or a path
    merge: bool = True  # false: the adapter alone, with its base named
    inputs: dict[str, str | None] = roles("policy")


@dataclass
class LaunchConfig:
    """How the machine is used. Outside every version: the same run on another machine is the same run."""

    device: str = choice("auto", "auto", "cpu", "cuda", "mps")  # auto: a GPU if there is one
    micro_batch_size: int | None = number(None, least=1)  # rows per device and forward pass; all if absent
    gradient_checkpointing: bool = False  # compute activations again rather than keep them
    mixed_precision: str = choice("auto", "auto", "no", "bf16")  # auto: bf16 to train a bfloat16 model whole on a GPU
    parallel: int | None = number(None, least=1)  # stages at once; absent: one per GPU, or per idle core if it is small
    processes: int | None = number(None, least=1)  # that read and clean data; as many as there are cores if absent


@dataclass
class TrackingConfig:
    """Weights & Biases. `auto` is online with a key in the environment or the netrc file, else offline."""

    mode: str = choice("auto", "auto", "online", "offline", "off")  # auto: online with a key, else offline
    project: str = "alignment-pipeline"  # its name at W&B
    entity: str | None = None  # team or user at W&B


@dataclass
class PipelineConfig:
    """The whole, as composed from `conf/` and the command line."""

    stage: str = "all"  # which one is asked for; what it needs is made first
    project: str = "playground"  # a name space of its own under outputs
    seed: int = 0  # every stage's own follows it
    outputs: str = "outputs"  # folder of all projects
    threads: int | None = number(None, least=1)  # torch threads; absent: one for the tiny base, else the idle cores
    upstream: str = choice("build", "build", "require")  # require: refuse where something has to be made first
    gates: str = choice("warn", "warn", "stop", "off")  # before dpo, ppo and a judge's word; stop: not done if wrong
    plan: bool = False  # print what would run, and why; run nothing
    tag: str | None = None  # a name for the version that is made: sft@TAG
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
    kto: KtoConfig = field(default_factory=KtoConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    judge: JudgeConfig = field(default_factory=lambda: following(JudgeConfig, "reward"))
    ppo: PpoConfig = field(default_factory=PpoConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


def stage_nodes() -> dict[str, Any]:
    """The class of each stage's node, in the order of the chain."""
    nodes = {item.name: item.type for item in dataclasses.fields(PipelineConfig)}
    return {name: node for name, node in nodes.items() if "inputs" in getattr(node, "__dataclass_fields__", {})}


def stage_names() -> list[str]:
    """Every stage that has a node here, in the order of the chain."""
    return list(stage_nodes())


def tuned_stages() -> list[str]:
    """The stages that fine-tune a model with a `peft` node of their own, without those that follow another's."""
    return [
        name for name, node in stage_nodes().items() if "peft" in node.__dataclass_fields__ and name not in followers()
    ]


def followers() -> dict[str, str]:
    """The stages whose options follow another stage's unless they are set: stage -> the stage that it follows."""
    return {name: node.follows for name, node in stage_nodes().items() if hasattr(node, "follows")}


def content(node: Any) -> dict[str, Any]:
    """A stage's node as it is hashed and recorded: all of it but what lies outside the hash.

    `former` are options that are gone, each with the only value that is left: a version made before stays the same.
    """
    return {
        **getattr(node, "former", {}),
        **{
            item.name: _plain(getattr(node, item.name))
            for item in dataclasses.fields(node)
            if not item.metadata.get("outside")
        },
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):  # the keys of `codes` may be numbers
        return {str(key): _plain(one) for key, one in value.items()}
    return content(value) if dataclasses.is_dataclass(value) else value
