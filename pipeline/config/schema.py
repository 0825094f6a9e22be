"""The typed configuration, one node per stage.

`conf/` holds the defaults; this file defines the allowed values. Every number has limits and every choice has its
options, so `checks.faults` reports all faults of a request at once, before torch is imported.

A stage's node holds every setting that changes its result, and no other, because the stage's version is a hash of
its node. Settings that do not change the result (device, threads, tracking, output folder) are at the top level, in
`launch` and in `tracking`.

The comments beside the fields and the first sentences of the docstrings are the texts of `--help`.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from omegaconf import II, MISSING

from labeling.backend import Comparison
from labeling.backends import BACKENDS
from pipeline.config.fields import (
    OUTSIDE,
    added_to,
    choice,
    following,
    list_like,
    many,
    number,
    option,
    rate_like,
    rate_of,
    roles,
)

DEMONSTRATION_FORMATS = (
    *("alpaca", "sharegpt", "messages", "prompt_completion", "openorca", "pubmedqa", "oasst", "hh", "kto", "log"),
    *("prodigy", "gemini", "chatgpt"),
)
"""The values of `data.format`, besides `auto`; defined in `pipeline.data.formats.table`."""

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
"""The values of `labeling.format`, besides `auto`; defined in `pipeline.data.formats.table`."""


ATTENTION_ON_GPU = ("flash_attention_2", "flash_attention_3", "flex_attention")
ATTENTION = ("sdpa", "eager", *ATTENTION_ON_GPU)
"""The values of `launch.attn_implementation`, by transformers' names."""


@dataclass
class ModelConfig:
    """The model that training starts from. An empty path means the embedded tiny base, made by the stage `base`."""

    path: str = MISSING  # a local folder or a hub id
    revision: str | None = None  # a branch, tag or commit of the hub repository; recorded as a commit
    dtype: str = choice("float32", "float32", "bfloat16", "float16")  # of frozen weights; trained ones are float32
    chat_template: str | None = None  # a Jinja file; absent: the tokenizer's template, else a built-in one
    thinking: str | None = option("empty", "train", "keep")  # reasoning before answers; absent: by the model, or empty


@dataclass
class PeftConfig:
    """How a model is fine-tuned: all weights, or on a frozen base adapters (for qlora: on 4-bit NF4) or a prefix."""

    added: ClassVar[dict[str, Any]] = {"virtual_tokens": 20}

    method: str = choice("full", "full", "lora", "qlora", "prefix")  # all weights, adapters (on 4 bits), or a prefix
    rank: int = number(16, least=1)  # of an adapter's matrices
    alpha: float = number(32.0, above=0)  # an adapter is scaled by alpha / rank
    dropout: float = number(0.0, least=0, most=0.99)  # share of an adapter's inputs set to zero in training
    target_modules: str = "all-linear"  # all-linear, or names, comma-separated: q_proj,v_proj
    virtual_tokens: int = number(20, least=1)  # length of a prefix: keys and values before the first token


@dataclass
class TrainingConfig:
    """Options that all training stages share. Batch sizes are global: over all processes and accumulation steps."""

    seed: int = II("seed")
    epochs: float = number(1.0, above=0)  # passes over the training rows
    batch_size: int = number(32, least=1)  # rows per optimizer step
    learning_rate: float = number(MISSING, above=0, most=1)  # the peak; each stage has its own default
    schedule: str = choice("cosine", "cosine", "linear", "constant", "constant_with_warmup")  # of the learning rate
    warmup: float = number(0.05, least=0, most=1)  # share of all optimizer steps
    weight_decay: float = number(0.0, least=0)  # of AdamW
    evaluations: int = number(4, least=1)  # number of evaluations, and of checkpoints, in a run
    keep_best: bool = True  # keep the checkpoint with the lowest evaluation loss, not the last one
    early_stopping: bool = False  # stop when the evaluation loss no longer decreases
    patience: int = number(2, least=1)  # evaluations without improvement before early stopping
    trainer: dict[str, Any] = field(default_factory=dict)  # any other option of the stage's TRL trainer

    trl: ClassVar[str]  # the module in trl/trainer with the options for `trainer`; empty: transformers' options only


@dataclass
class MethodRates:
    """A learning rate for each `peft.method`."""

    full: float = number(MISSING, above=0, most=1)  # when all weights are trained
    lora: float = number(MISSING, above=0, most=1)  # when adapters are trained
    qlora: float = number(MISSING, above=0, most=1)  # when adapters on a 4-bit base are trained
    prefix: float = number(1e-2, above=0, most=1)  # when a prefix is trained: by sft only


@dataclass
class LearningRates:
    """Defaults of `<stage>.learning_rate`. Values and their sources: conf/config.yaml."""

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
    documents: int = number(14000, least=100)  # texts to train it on
    vocabulary: int = number(1024, least=300)  # tokens of its tokenizer
    hidden_size: int = number(192, least=8)  # width of a layer
    intermediate_size: int = number(512, least=8)  # width inside a feed-forward layer
    layers: int = number(2, least=1)  # transformer layers
    heads: int = number(6, least=1)  # attention heads
    kv_heads: int = number(6, least=1)  # key-value heads
    context: int = number(256, least=64)  # context length in tokens
    block_length: int = number(128, least=16)  # tokens in a training row
    steps: int = number(400, least=1)  # optimizer steps
    batch_size: int = number(16, least=1)  # blocks per step
    learning_rate: float = number(6e-3, above=0, most=1)  # the peak
    warmup: float = number(0.125, least=0, most=1)  # share of all optimizer steps
    weight_decay: float = number(0.1, least=0)  # of AdamW
    checkpoints: int = number(4, least=1)  # number of checkpoints in a run
    inputs: dict[str, str | None] = roles()


@dataclass
class WorldConfig:
    """Amount of data that the playground generates."""

    demonstrations: int = number(1900, least=10)  # to train SFT on
    dev: int = number(100, least=1)  # demonstrations to evaluate SFT on
    preference_prompts: int = number(1000, least=1)  # prompts for ranking answers
    rl_prompts: int = number(1000, least=1)  # prompts for PPO
    test_prompts: int = number(512, least=1)  # prompts for testing policies


@dataclass
class SplitConfig:
    """Shares of the prompts in the user's files; the rest is for SFT. A share of 0 reuses SFT's prompts."""

    dev: float = number(0.05, least=0, most=0.9)  # demonstrations to evaluate SFT on
    test: float = number(0.1, least=0, most=0.9)  # prompts for testing policies
    preference: float = number(0.0, least=0, most=0.9)  # prompts for ranking answers
    rl: float = number(0.0, least=0, most=0.9)  # prompts for PPO


@dataclass
class SourceConfig:
    """A source of demonstrations and its format."""

    path: Any = field(default=MISSING, metadata=OUTSIDE)  # a file, folder or glob, or a list of them; or a hub dataset
    format: str = choice("auto", "auto", *DEMONSTRATION_FORMATS)  # auto: detected from the content
    columns: dict[str, str] = field(default_factory=dict)  # our column name -> the file's: {prompt: Frage}
    codes: dict[Any, str] = field(default_factory=dict)  # a mark in the file -> its meaning: {1: bad, 5: good}
    revision: str | None = field(default=None, metadata=OUTSIDE)  # of a hub dataset; recorded as a commit
    subset: str | None = None  # of a hub dataset with several subsets
    part: str = "train"  # split of a hub dataset


@dataclass
class MixedSourceConfig(SourceConfig):
    """One of several sources."""

    name: str | None = None  # recorded in each of its rows; absent: taken from its path
    weight: float = number(1.0, above=0, most=100)  # how often each row is drawn: 0.5 is every second row


def source_name(source: MixedSourceConfig) -> str:
    """Return the source's name, or the last part of its path without file endings."""
    path = str(source.path[0] if isinstance(source.path, list) else source.path)
    return source.name or re.split(r"[/\\]", path.rstrip("/"))[-1].partition(".")[0]


@dataclass
class CleaningConfig:
    """The cleaning rules for texts, each on or off; defined in `pipeline/data/cleaning`. `roles` is about speakers."""

    roles: str = choice("drop", "drop", "mend")  # turns in an impossible order
    encoding: str = choice("mend", "off", "mend")  # wrongly decoded text
    invisible: str = choice("mend", "off", "mend")  # control characters, zero-width spaces
    markup: str = choice("mend", "off", "mend")  # HTML tags and entities
    special_tokens: str = choice("mend", "off", "mend", "drop")  # special tokens of a model, written in a text
    empty: str = choice("drop", "off", "drop")  # a turn without text
    refusals: str = choice("flag", "off", "flag", "drop")  # answers that refuse
    personal_data: str = choice("flag", "off", "flag", "mask", "drop")  # addresses, phone and card numbers
    repetition: str = choice("flag", "off", "flag", "drop")  # a phrase repeated many times
    languages: list[str] | None = None  # rows in any other language are left out: [en,de]


@dataclass
class DataConfig(SourceConfig):
    """Demonstrations and prompts, from the playground or from the user's files."""

    source: str = choice("playground", "playground", "files")  # follows data=files or data=playground
    sources: list[MixedSourceConfig] | None = None  # several sources, instead of `path`
    test_path: Any = field(default=None, metadata=OUTSIDE)  # prompts for testing policies, instead of split.test
    on_bad_row: str = choice("drop", "drop", "error")  # drop: left out, and listed in ledger.jsonl
    max_bad_fraction: float = number(0.2, least=0, most=1)  # share of bad rows above which the stage fails
    tokenizer: str | None = field(default=None, metadata=OUTSIDE)  # the model that provides it: a folder or a hub id
    max_length: int | None = number(None, least=8)  # most tokens in a conversation; absent: no limit
    min_length: int = number(0, least=0)  # fewest tokens in a conversation
    prompts: str = choice("last", "every", "last", "random")  # the turns of a conversation that become prompts
    near_duplicates: str = choice("drop", "drop", "keep")  # prompts that are nearly equal
    similarity: float = number(0.8, above=0.5, most=1)  # lowest Jaccard similarity of near-duplicates
    conflicts: str = choice("keep", "keep", "first", "drop")  # different answers to the same prompt
    seed: int = 0  # of the world and all splits; fixed, so runs with different seeds stay comparable
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    inputs: dict[str, str | None] = roles()


@dataclass
class SftConfig(TrainingConfig):
    """Supervised fine-tuning on the demonstrations, with loss on the assistant's tokens only."""

    trl: ClassVar[str] = "sft_config"

    learning_rate: float = rate_of("sft")
    packing: bool = field(default=False, metadata=OUTSIDE)  # rows side by side, not padded: faster, and the same result
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("base", "data")


AT_ONCE = {"least": 1, "above": None, "most": None, **OUTSIDE}


@dataclass
class DecodingConfig:
    """How answers are sampled."""

    former: ClassVar[dict[str, Any]] = {"batch_size": 128}  # still hashed, so that reviewed drafts are found

    temperature: float = number(1.0, least=0, most=10)  # 0 is greedy
    top_p: float = number(1.0, above=0, most=1)  # tokens are drawn from this share of the probability
    max_new_tokens: int | None = number(None, least=1)  # absent: from the lengths of the demonstrations' answers
    batch_size: int | None = field(default=None, metadata=AT_ONCE)  # most answers at once; absent: launch.batch_tokens


@dataclass
class SampleConfig:
    """Answers for people to rank: `answers` per prompt, sampled from the policies in turn."""

    added: ClassVar[dict[str, Any]] = {"choose": "representative", "candidates": None, "drawn": None}

    seed: int = II("seed")
    policies: list[str] = many("sft")  # policies that write answers: stages, versions or paths
    prompts: int | None = number(None, least=1)  # number of preference prompts that people get; absent: all
    answers: int = number(4, least=2, most=10)  # number of answers to each prompt
    choose: str = choice("representative", "representative", "active")  # by topics, or by sample.inputs.reward's doubt
    candidates: int | None = number(None, least=2)  # active: prompts that get answers; absent: four times `prompts`
    drawn: int | None = number(None, least=2, most=10)  # active: answers drawn to each of these; absent: `answers`
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    inputs: dict[str, str | None] = roles("data", "reward")  # reward: of an earlier round, for sample.choose=active


@dataclass
class LabelingConfig:
    """Annotators, and where they rank. `publish` and `collect` follow some of these keys; others change no version."""

    backend: str = choice("embedded", *BACKENDS, "file")  # follows labeling=NAME
    path: str | None = MISSING  # for labeling=file: rankings or ready-made pairs
    format: str = choice("auto", "auto", *JUDGEMENT_FORMATS)  # auto: detected from the content
    columns: dict[str, str] = field(default_factory=dict)  # our column name -> the file's: {prompt: Frage}
    codes: dict[Any, str] = field(default_factory=dict)  # a value in the file -> its meaning: {0: first, 1: second}
    on_bad_row: str = choice("drop", "drop", "error")  # drop: left out, and listed in ledger.jsonl
    max_bad_fraction: float = number(0.2, least=0, most=1)  # share of bad rows above which the stage fails
    home: str = "${outputs}/.argilla"  # folder of the embedded server
    port: int | None = number(None, least=1, most=65535)  # of the embedded server; absent: a free one from 6900
    annotators: list[str] | None = None  # pseudonyms of people; absent: simulated annotators (playground only)
    overlap: int | str = 2  # number of people who rank each prompt; 2..4: two, and up to four where they disagree
    reuse: bool = True  # keep people's rankings when the models change; simulated annotators rank again
    question: str = choice("ranking", *get_args(Comparison))  # rank all answers, choose one of two, or give stars
    guidelines: str | None = None  # a Markdown file; absent: the built-in one
    calibration: int = number(0, least=0)  # number of prompts that every annotator ranks
    repeats: float = number(0.0, least=0, most=1)  # share of these that is shown again, in other slots
    gold: str | None = None  # a file of rankings known to be right; every annotator ranks these prompts, too
    simulated: int = number(3, least=1)  # number of simulated annotators
    noise: float = number(0.05, least=0)  # of simulated annotators: standard deviation on the true score
    tie_width: float = number(0.05, least=0)  # of simulated annotators: they tie answers with closer scores


@dataclass
class PublishConfig:
    """Tasks for annotators, with answers in shuffled slots; the map from slot to policy is stored separately."""

    seed: int = II("seed")
    question: str = II("labeling.question")
    calibration: int = II("labeling.calibration")
    repeats: float = II("labeling.repeats")
    inputs: dict[str, str | None] = roles("sample")


@dataclass
class CollectConfig:
    """Rankings collected from annotators. People's rankings are hashed in place of this node.

    Simulated rankings follow from this node, so then it is hashed.
    """

    seed: int = II("seed")
    simulated: int = II("labeling.simulated")
    overlap: int | str = II("labeling.overlap")
    noise: float = II("labeling.noise")
    tie_width: float = II("labeling.tie_width")
    accept: str = choice("complete", "complete", "partial", outside=True)  # partial: use the tasks complete so far
    wait: bool = field(default=False, metadata=OUTSIDE)  # wait for people's answers, with live progress
    inputs: dict[str, str | None] = roles("publish")


@dataclass
class DraftConfig:
    """Answers drafted by a larger model. Its name changes the version, its address does not."""

    seed: int = II("seed")
    world_seed: int = II("data.seed")
    writer: str = field(default="sft", metadata=OUTSIDE)  # a policy as in `sample.policies`, a folder, or https://…/v1
    model: str | None = None  # the model's name at the endpoint
    prompts: Any = field(default=None, metadata=OUTSIDE)  # files of prompts or demonstrations; absent: playground
    count: int = number(200, least=1)  # number of these prompts, chosen to represent the rest
    generate: int = number(0, least=0)  # number of new prompts written after their example (arXiv 2212.10560)
    system: str | None = None  # system prompt of the writer; not part of the demonstrations
    concurrency: int = field(default=8, metadata=AT_ONCE)  # open requests
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(temperature=0.7, max_new_tokens=512))
    inputs: dict[str, str | None] = roles("writer", "prompts")


@dataclass
class SynthesizeConfig:
    """Demonstrations made of drafts that people accepted or corrected. Their reviews are hashed with this node."""

    review: bool = True  # false: use drafts without review; their rows are marked as unreviewed
    accept: str = choice("complete", "complete", "partial", outside=True)  # partial: use the tasks complete so far
    wait: bool = field(default=False, metadata=OUTSIDE)  # wait for people's answers, with live progress
    inputs: dict[str, str | None] = roles("draft")


@dataclass
class PreferencesConfig:
    """Pairs made of rankings: votes pooled by majority, ties left out, split by prompt."""

    added: ClassVar[dict[str, Any]] = {"pairs": "all", "noise": 0.0}

    seed: int = II("data.seed")
    test_fraction: float = number(0.1, above=0, most=0.9)  # share of prompts to evaluate DPO and reward models on
    judge_fraction: float = number(0.15, least=0, most=0.8)  # share of prompts only for the independent judge
    exclude: list[str] | None = None  # annotators to leave out
    pool: str = choice("majority", "majority", "net", "weighted")  # over half of votes, more votes, or by reliability
    pairs: str = choice("all", "all", "adjacent", "best_worst")  # of a ranking: all, neighbours, or first with last
    noise: float = number(0.0, least=0, most=0.5)  # share of training pairs to make wrong, as an experiment
    format: str = II("labeling.format")  # as in labeling
    columns: dict[str, str] = added_to("labeling.columns")  # in addition to those in labeling
    codes: dict[Any, str] = added_to("labeling.codes")  # in addition to those in labeling
    on_bad_row: str = choice(II("labeling.on_bad_row"), "drop", "error")  # as in labeling
    max_bad_fraction: float = number(II("labeling.max_bad_fraction"), least=0, most=1)  # as in labeling
    inputs: dict[str, str | None] = roles("rankings")


@dataclass
class DpoConfig(TrainingConfig):
    """Direct preference optimization; starts from the SFT policy, which is also the reference."""

    trl: ClassVar[str] = "dpo_config"
    added: ClassVar[dict[str, Any]] = {"label_noise": False}

    learning_rate: float = rate_of("dpo")
    beta: float = number(0.1, above=0)  # how much leaving the reference costs
    label_noise: bool = False  # conservative DPO, with the label noise that each pair has by its votes
    sft_weight: float = number(0.0, least=0)  # of the SFT loss on the chosen answers (RPO, arXiv 2404.19733)
    max_length: int | None = number(None, least=8)  # tokens of prompt and answer; absent: the model's context length
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "preferences")


@dataclass
class KtoConfig(TrainingConfig):
    """Kahneman-Tversky optimization on marked answers; starts from the SFT policy, which is also the reference.

    `batch_size` counts answers.
    """

    trl: ClassVar[str] = ""  # the pipeline computes this loss, so the options are transformers' only
    learning_rate: float = rate_of("kto")
    beta: float = number(0.1, above=0)  # how much leaving the reference costs
    good_weight: float = number(1.0, above=0)  # of answers marked as good; give the rarer mark more weight
    bad_weight: float = number(1.0, above=0)  # of answers marked as bad
    max_length: int | None = number(None, least=8)  # tokens of prompt and answer; absent: the model's context length
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "preferences")


@dataclass
class RewardConfig(TrainingConfig):
    """A reward model (Bradley-Terry): the SFT policy's transformer with a head that outputs one number.

    `batch_size` counts rankings. A ranking is all compared answers to one prompt, with all their pairs.
    """

    trl: ClassVar[str] = "reward_config"
    former: ClassVar[dict[str, Any]] = {"as_judge": False}  # still hashed, so that earlier reward models are found
    added: ClassVar[dict[str, Any]] = {"label_noise": False}

    learning_rate: float = rate_of("reward")
    margin: bool = False  # require scores to differ by the margin of the votes (arXiv 2307.09288, equation 2)
    label_noise: bool = False  # count each pair as wrong with the label noise that it has by its votes
    sft_weight: float = number(0.0, least=0)  # of an added SFT loss on the ranked answers (arXiv 2406.10216)
    token_weight: float = number(0.0, least=0)  # of an added pair loss on the mean score of an answer's tokens
    max_length: int | None = number(None, least=8)  # tokens of prompt and answer; absent: the model's context length
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "preferences")


@dataclass
class JudgeConfig(RewardConfig):
    """The independent judge: a reward model of pairs that no arm learns from. Options follow `reward` unless set."""

    follows: ClassVar[str] = "reward"
    former: ClassVar[dict[str, Any]] = {}

    trainer: dict[str, Any] = added_to("reward.trainer")  # besides the options of `reward.trainer`

    seed: int = II("reward.seed")
    learning_rate: float = rate_like("judge", "reward")


@dataclass
class RewardSource:
    """A source of rewards, a reward model or a Python function, and its weight."""

    source: str = MISSING  # `reward` (the chain's), `reward@VERSION`, a folder, `module:function`, `file.py:function`
    weight: float = 1.0


@dataclass
class KlConfig:
    """The KL penalty: the cost of leaving the reference."""

    coefficient: float = number(0.05, least=0)  # of the penalty
    estimator: str = choice("k1", "k1", "k3")  # k1: log ratio; k3: never negative
    target: float | None = number(None, above=0)  # in nats per answer; adapts the coefficient; absent: fixed
    horizon: float = number(10000, above=0)  # answers over which the coefficient adapts


@dataclass
class StopConfig:
    """When a run stops early and keeps its last good policy."""

    kl: float = number(100.0, above=0)  # highest KL in nats per answer
    stopped: float = number(0.2, least=0, most=1)  # lowest share of complete answers, relative to the first iteration
    distinct: float = number(0.1, least=0, most=1)  # lowest share of distinct answers in an iteration
    patience: int = number(3, least=1)  # iterations in a row past a limit before the run stops


@dataclass
class PpoConfig:
    """Proximal policy optimization; starts from the SFT policy, also its reference. Batch sizes are global."""

    added: ClassVar[dict[str, Any]] = {"combine": "sum", "caution": 1.0}

    seed: int = II("seed")
    rewards: list[RewardSource] = field(
        default_factory=lambda: [RewardSource("reward")]
    )  # reward models and functions that score answers
    combine: str = choice("sum", "sum", "worst", "cautious")  # their scores; cautious: the mean less their variance
    caution: float = number(1.0, above=0)  # with combine=cautious: weight of the variance
    iterations: int = number(200, least=1)  # rounds of sampling and training
    rollouts: int = number(64, least=1)  # answers per iteration
    epochs: int = number(2, least=1)  # passes over an iteration's answers
    batch_size: int = number(II("half:${ppo.rollouts}"), least=1)  # answers per optimizer step; default: half of all
    learning_rate: float = rate_of("ppo")  # of the policy
    value_learning_rate: float | None = number(None, above=0, most=1)  # of the value model; absent: learning_rate
    schedule: str = choice("linear", "linear", "constant")  # of the learning rates
    clip: float = number(0.2, above=0)  # of the policy ratio
    value_clip: float = number(0.2, above=0)  # of the value estimates
    value_coefficient: float = number(0.1, above=0)  # of the value loss
    value_warmup: int = number(0, least=0)  # iterations at the start in which only the value model learns
    gamma: float = number(1.0, above=0, most=1)  # discount per token
    lam: float = number(0.95, least=0, most=1)  # of generalized advantage estimation
    whiten_rewards: bool = False  # scale rewards to variance 1
    missing_stop_penalty: float = number(1.0, least=0)  # subtracted from the score of an answer that was cut off
    max_grad_norm: float = number(1.0, above=0)  # of the policy and of the value model, separately
    temperature: float = number(1.0, above=0, most=10)  # for sampling answers
    max_new_tokens: int | None = number(None, least=1)  # absent: from the lengths of the demonstrations' answers
    sampling_batch_size: int = number(128, least=1)  # answers sampled at once
    samples: int = number(4, least=0)  # answers written to samples.jsonl each time
    sample_every: int = number(10, least=1)  # iterations between samples
    checkpoint_every: int = number(25, least=1)  # iterations between checkpoints
    watch_judge: bool = False  # also log the independent judge's scores of the samples; they are never rewards
    kl: KlConfig = field(default_factory=KlConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "prompts", "reward", "judge", "value")


@dataclass
class LlmJudgeConfig:
    """A language model that compares two answers. Its name changes a version, its address does not."""

    judge: str = field(default=MISSING, metadata=OUTSIDE)  # a policy: a stage, a version or a folder; or https://…/v1
    model: str | None = None  # the model's name at the endpoint
    name: str | None = None  # its name in figures; absent: the model's or the policy's

    @property
    def label(self) -> str:
        return self.name or self.model or self.judge


@dataclass
class EvaluateConfig:
    """Compares policies on prompts that none of them was trained on."""

    added: ClassVar[dict[str, Any]] = {"best_of": None}

    seed: int = II("seed")
    policies: list[str] = many("base", "sft", "dpo", "ppo")  # policies to compare: stages, versions or paths
    baseline: str = "sft"  # the policy that win rates are measured against
    best_of: list[int] | None = None  # also the best of so many answers of the baseline, by the reward model: [4,16]
    prompts: int = number(512, least=1)  # most test prompts to use
    judge: bool | None = None  # use an independent judge, trained on separate prompts; absent: if PPO is evaluated
    judges: list[LlmJudgeConfig] | None = field(default=None, metadata=OUTSIDE)  # language models (stage llm_judges)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    inputs: dict[str, str | None] = roles("data", "reward", "judge")


@dataclass
class LlmJudgesConfig:
    """Language models as judges of the evaluated answers, measured on people's preferences. Set in `evaluate`."""

    seed: int = II("evaluate.seed")
    judges: list[LlmJudgeConfig] | None = list_like("evaluate.judges")  # the language models
    prompts: int = number(200, least=1)  # most prompts to compare answers on, and to compare the baseline with itself
    pairs: int = number(200, least=1)  # most of people's test pairs to measure a judge on
    concurrency: int = field(default=8, metadata=AT_ONCE)  # open requests
    decoding: DecodingConfig = field(default_factory=lambda: DecodingConfig(temperature=0.0, max_new_tokens=256))
    inputs: dict[str, str | None] = roles("evaluation", "preferences")


@dataclass
class BlindConfig:
    """Pairs of policies' answers to held-out prompts, in shuffled slots, for the blind A/B test. Set in `abtest`."""

    seed: int = II("abtest.seed")
    between: list[str] | None = list_like("abtest.between")  # policies of `evaluate.policies`
    prompts: int | None = number(II("abtest.prompts"), least=1)
    inputs: dict[str, str | None] = roles("evaluation")


@dataclass
class AbtestConfig:
    """Blind A/B test: which policy's answers people prefer. Their verdicts are hashed in place of this node.

    Simulated verdicts follow from this node, so then it is hashed.
    """

    seed: int = II("seed")
    between: list[str] | None = None  # policies of `evaluate.policies`; absent: the last two
    prompts: int | None = number(None, least=1)  # prompts to ask about; absent: as many as tell 55% from 50%
    overlap: int = number(1, least=1)  # number of people who judge each pair of answers
    guidelines: str | None = field(default=None, metadata=OUTSIDE)  # a Markdown file; absent: the built-in one
    simulated: int = II("labeling.simulated")
    noise: float = II("labeling.noise")
    tie_width: float = II("labeling.tie_width")
    accept: str = choice("early", "early", "complete", "partial", outside=True)  # early: stop at a clear difference
    wait: bool = field(default=False, metadata=OUTSIDE)  # wait for people's answers, with live progress
    inputs: dict[str, str | None] = roles("blind")


@dataclass
class CompareConfig:
    """The report: which arm fits the preferences better, and how certain that is."""

    examples: int = number(8, least=0)  # prompts shown in the report, with their answers
    inputs: dict[str, str | None] = roles("evaluation", "abtest", "judges")  # abtest=abtest: with people's test


@dataclass
class ExportConfig:
    """A model folder that transformers loads without changes."""

    policy: str = "dpo"  # a stage, a version or a path
    merge: bool = True  # false: export only the adapter, with the name of its base
    inputs: dict[str, str | None] = roles("policy")


@dataclass
class LaunchConfig:
    """How the machine is used. Not part of any version: a run is the same on another machine."""

    device: str = choice("auto", "auto", "cpu", "cuda", "mps")  # auto: a GPU if there is one
    micro_batch_size: int | None = number(None, least=1)  # rows per device and forward pass; absent: all
    gradient_checkpointing: bool = False  # recompute activations to save memory
    attn_implementation: str | None = option(*ATTENTION)  # how attention is computed; absent: transformers' choice
    compile: bool = False  # compile layers for training: minutes at first, then faster on a GPU
    batch_tokens: int = number(32768, least=1)  # tokens, padding included, of answers drawn or scored at once
    checkpoint_minutes: float = number(15.0, above=0)  # most time between checkpoints: what a killed run may lose
    mixed_precision: str = choice("auto", "auto", "no", "bf16")  # auto: bf16 to train all of a bfloat16 model on a GPU
    force: bool = False  # run a stage even if its memory plan finds that it cannot fit
    parallel: int | None = number(None, least=1)  # stages at once; absent: one per GPU; per idle core for a small model
    processes: int = number(1, least=1)  # processes that train, sample and evaluate together, each on a GPU of its own
    data_processes: int | None = number(None, least=1)  # processes that read and clean data; absent: one per core


@dataclass
class TrackingConfig:
    """Weights & Biases. `auto` is online with a key in the environment or the netrc file, otherwise offline."""

    mode: str = choice("auto", "auto", "online", "offline", "off")  # auto: online with a key, otherwise offline
    project: str = "alignment-pipeline"  # project name at W&B
    entity: str | None = None  # team or user at W&B


@dataclass
class PipelineConfig:
    """The whole configuration, composed from `conf/` and the command line."""

    stage: str = "all"  # the stage to make; its inputs are made first
    project: str = "playground"  # separates artifacts under outputs
    seed: int = 0  # default of all stages' seeds
    outputs: str = "outputs"  # folder of all projects
    threads: int | None = number(None, least=1)  # torch threads; absent: one for a small model, else the idle cores
    upstream: str = choice("build", "build", "require")  # require: refuse the request if an input has to be made first
    gates: str = choice("warn", "warn", "stop", "off")  # checks before an arm or a judge; stop: refuse if one warns
    plan: bool = False  # print the steps that would run, and why; run nothing
    tag: str | None = None  # a name for the new version: sft@TAG
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
    llm_judges: LlmJudgesConfig = field(default_factory=LlmJudgesConfig)
    blind: BlindConfig = field(default_factory=BlindConfig)
    abtest: AbtestConfig = field(default_factory=AbtestConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


def stage_nodes() -> dict[str, Any]:
    """Map each stage's name to the class of its node, in the order of the chain."""
    nodes = {item.name: item.type for item in dataclasses.fields(PipelineConfig)}
    return {name: node for name, node in nodes.items() if "inputs" in getattr(node, "__dataclass_fields__", {})}


def stage_names() -> list[str]:
    """Return the names of all stages, in the order of the chain."""
    return list(stage_nodes())


def tuned_stages() -> list[str]:
    """Return the stages that fine-tune a model with their own `peft` node, not another stage's."""
    return [
        name for name, node in stage_nodes().items() if "peft" in node.__dataclass_fields__ and name not in followers()
    ]


def followers() -> dict[str, str]:
    """Map each stage with options that follow another stage's (unless set) to that other stage."""
    return {name: node.follows for name, node in stage_nodes().items() if hasattr(node, "follows")}


def content(node: Any) -> dict[str, Any]:
    """Return a stage's node as it is hashed and recorded, without the fields marked `outside`.

    `former` holds removed options with the value that they always have now, and `added` holds later options with the
    value that changes nothing, at which they are left out: so earlier versions keep their hash.
    """
    added = getattr(node, "added", {})
    own = {
        item.name: _plain(getattr(node, item.name))
        for item in dataclasses.fields(node)
        if not item.metadata.get("outside")
    }
    return {**getattr(node, "former", {}), **{k: v for k, v in own.items() if k not in added or v != added[k]}}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):  # the keys of `codes` may be numbers
        return {str(key): _plain(one) for key, one in value.items()}
    return content(value) if dataclasses.is_dataclass(value) else value
