"""Nodes of models: the one that training starts from, how it is tuned and decoded, SFT, export."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import II, MISSING

from pipeline.config.fields import AT_ONCE, OUTSIDE, choice, number, option, rate_of, roles


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
class SftConfig(TrainingConfig):
    """Supervised fine-tuning on the demonstrations, with loss on the assistant's tokens only."""

    trl: ClassVar[str] = "sft_config"

    learning_rate: float = rate_of("sft")
    packing: bool = field(default=False, metadata=OUTSIDE)  # rows side by side, not padded: faster, and the same result
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("base", "data")


@dataclass
class DecodingConfig:
    """How answers are sampled."""

    former: ClassVar[dict[str, Any]] = {"batch_size": 128}  # still hashed, so that reviewed drafts are found

    temperature: float = number(1.0, least=0, most=10)  # 0 is greedy
    top_p: float = number(1.0, above=0, most=1)  # tokens are drawn from this share of the probability
    max_new_tokens: int | None = number(None, least=1)  # absent: from the lengths of the demonstrations' answers
    batch_size: int | None = field(default=None, metadata=AT_ONCE)  # most answers at once; absent: launch.batch_tokens


@dataclass
class ExportConfig:
    """A model folder that transformers loads without changes."""

    policy: str = "dpo"  # a stage, a version or a path
    merge: bool = True  # false: export only the adapter, with the name of its base
    inputs: dict[str, str | None] = roles("policy")
