"""Nodes of learning from preferences: DPO, KTO, reward models, and PPO."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import II, MISSING

from pipeline.config.fields import added_to, choice, number, rate_like, rate_of, roles
from pipeline.config.nodes.models import PeftConfig, TrainingConfig


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
    distinct: float = number(0.1, least=0, most=1)  # lowest share of distinct answers, one per prompt
    patience: int = number(3, least=1)  # iterations in a row past a limit before the run stops


@dataclass
class PpoConfig:
    """Proximal policy optimization; starts from the SFT policy, also its reference. Batch sizes are global."""

    added: ClassVar[dict[str, Any]] = {
        "combine": "sum",
        "caution": 1.0,
        "advantage": "gae",
        "group": 1,
        "drawn_by": "hf",
        "importance_cap": 2.0,
    }

    seed: int = II("seed")
    rewards: list[RewardSource] = field(
        default_factory=lambda: [RewardSource("reward")]
    )  # reward models and functions that score answers
    combine: str = choice("sum", "sum", "mean", "worst", "cautious")  # scores; cautious: the mean less their variance
    caution: float = number(1.0, above=0)  # with combine=cautious: weight of the variance
    advantage: str = choice("gae", "gae", "rloo", "grpo")  # gae: by a value model; others: by answers to one prompt
    group: int = number(1, least=1)  # answers to one prompt in an iteration
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
    drawn_by: str = choice("hf", "hf", "vllm")  # hf: here; vllm: by the server of `rollouts` in generation.servers
    importance_cap: float | None = number(2.0, least=1)  # of a drawn token's p_policy / p_server; null: no such weights
    sampling_batch_size: int = number(128, least=1)  # answers sampled at once
    samples: int = number(4, least=0)  # answers written to samples.jsonl each time
    sample_every: int = number(10, least=1)  # iterations between samples
    checkpoint_every: int = number(25, least=1)  # iterations between checkpoints
    watch_judge: bool = False  # also log the independent judge's scores of the samples; they are never rewards
    kl: KlConfig = field(default_factory=KlConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    inputs: dict[str, str | None] = roles("policy", "prompts", "reward", "judge", "value")

    @property
    def has_value_model(self) -> bool:
        """Whether advantages come from a value model; else they come from the other answers to the same prompt."""
        return self.advantage == "gae"

    @property
    def prompts(self) -> int:
        """The prompts of an iteration."""
        return self.rollouts // self.group
