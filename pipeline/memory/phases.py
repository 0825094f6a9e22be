"""Memory by part in each phase of a stage. Phases follow each other, so the largest one counts: they never add up."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.memory.activations import (
    FLOAT,
    Tuning,
    backward_transient,
    cache_kept,
    layer_transient,
    pass_kept,
)
from pipeline.memory.shape import Shape

Parts = dict[str, float]  # part -> bytes

ADAM = 2  # numbers that Adam keeps for each trained weight
NF4 = 0.5 + 1 / 64 + FLOAT / (64 * 256)  # bytes per weight, with double quantization (arXiv 2305.14314, section 3)
MAX_LOGITS = 2**23  # logits in memory at once, as `pipeline.modeling.passes` computes them
REWARD_BATCH = 64  # answers that a reward model scores at once, as in `pipeline.modeling.rewards`
GROWTH = 64  # tokens by which a sampler's cache grows at once, as in `pipeline.modeling.caching`
# Bytes per logit:
IN_AUTOGRAD = 12  # autograd's backward pass: the distribution, and two gradients
IN_READING = 8  # a pass without a backward pass: logits and distribution, or the distribution and its entropy's terms
DRAWING = 12  # where tokens are drawn: logits in half precision, those of valid ids, in float32, and divided
DRAWING_TOP_P = 30  # with top_p: both logits, sorted with their ids, two distributions of these, two masks


@dataclass(frozen=True)
class Memory:
    """Memory by phase, and by part in each phase."""

    phases: Mapping[str, Parts]

    @property
    def peak(self) -> str:
        """The name of the phase that needs most."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))

    @property
    def parts(self) -> Parts:
        """The parts of the peak."""
        return self.phases[self.peak]

    @property
    def total(self) -> float:
        """Bytes at the peak."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Rows:
    """The rows of one pass through a model."""

    rows: int
    length: int  # tokens of the longest row
    predicted: int | None = None  # tokens of a row that logits are computed for; absent: all
    padded: bool = True  # rows differ in length, so a mask hides their padding
    recompute: bool = False  # gradient checkpointing
    accumulate: bool = False  # gradients of several passes add up to one step

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    @property
    def answers(self) -> int:
        """Tokens of all rows that logits are computed for."""
        return self.rows * (self.length if self.predicted is None else self.predicted)


@dataclass(frozen=True)
class Sampling:
    """Answers that are sampled at once."""

    rows: int  # with the longest prompts
    prompt: int  # tokens of the longest prompt
    new: int  # most tokens of an answer
    per_logit: int = DRAWING
    most: int = 0  # with the shortest prompts, if that is more

    @property
    def cached(self) -> int:
        """Tokens of a row that the cache has room for: it grows with the first new token, and where that room ends."""
        grown = GROWTH + 1
        return self.prompt + -(-self.new // grown) * grown - 1


@dataclass(frozen=True)
class Held:
    """The models in memory, in one precision each."""

    shape: Shape
    tuning: Tuning
    below: int = 0  # weights of frozen adapters
    with_head: bool = True  # False: a reward model, whose head is one row
    language_loss: bool = True  # logits are part of the loss; a reward model then has a frozen head besides
    prefix: int = 0  # trained weights of a prefix

    @property
    def trainable(self) -> int:
        if self.tuning.adapts:
            return self.prefix or self.shape.adapter(self.tuning.rank, self.tuning.targets)
        return self.numbers - self.shape.outside if self.tuning.method == "full" else 0

    @property
    def numbers(self) -> int:
        """All weights without adapters: of a reward model, without the language-model head."""
        return self.shape.parameters - (0 if self.with_head else self.shape.head)

    @property
    def parts(self) -> Parts:
        """Weights as they are held between steps: trained ones in float32."""
        beside = self.tuning.states * self.shape.embeddings if self.language_loss and not self.with_head else 0
        if self.tuning.method == "full":
            return {"weights": FLOAT * self.numbers + beside}
        linear, precision = self.shape.linear, self.tuning.precision
        matrices = NF4 * linear if self.tuning.method == "qlora" else precision * linear
        weights = matrices + precision * (self.numbers - linear) + beside
        adapters = FLOAT * (self.trainable + self.below)
        return {"weights": weights, **({"adapters": adapters} if adapters else {})}


def training(held: Held, rows: Rows, per_logit: int = IN_AUTOGRAD) -> Memory:
    """Return the memory of a step: the loss, the layers' backward passes, and the update.

    Adam keeps two float32 numbers per trained weight (arXiv 1910.02054, section 3.1). Gradients come into being as the
    activations go, so full gradients and full activations are never there at once unless gradients accumulate.
    """
    fixed = {**held.parts, **_optimizer(held)}
    whole, head = _gradients(held), FLOAT * held.shape.embeddings if _head_is_trained(held) else 0.0
    early = whole if rows.accumulate else head
    return Memory(
        {
            "loss": {
                **fixed,
                **_copies(held),
                "gradients": early,
                **_kept(held, rows),
                **_logits(held, rows, per_logit),
            },
            "layers": {
                **fixed,
                **_copies(held),
                "gradients": early,
                "activations": _kept(held, rows)["activations"]
                + rows.tokens * backward_transient(held.shape, held.tuning),
            },
            "update": {**fixed, "gradients": whole + (head if held.shape.tied else 0)},
        }
    )


def _optimizer(held: Held) -> Parts:
    return {"optimizer": ADAM * FLOAT * held.trainable}


def _gradients(held: Held) -> float:
    return FLOAT * held.trainable


def _head_is_trained(held: Held) -> bool:
    return held.with_head and not held.tuning.adapts


def _copies(held: Held) -> Parts:
    """Autocast keeps a bfloat16 copy of every trained matrix from the forward to the end of the backward pass."""
    if not held.tuning.autocast:
        return {}
    matrices = held.trainable if held.tuning.adapts else held.shape.linear + held.shape.embeddings
    return {"bfloat16 copies": 2 * matrices}


def _kept(held: Held, rows: Rows) -> Parts:
    """The activations of a pass; keys and values are copied for every head where a mask hides padding."""
    padded = rows.padded and rows.rows > 1
    kept = pass_kept(held.shape, held.tuning, expanded=padded, recompute=rows.recompute, length=rows.length)
    return {"activations": rows.tokens * kept}


def _logits(held: Held, rows: Rows, per_logit: int) -> Parts:
    """The logits of a chunk of tokens, the states that they come from, and the head's gradient while it is added."""
    if not held.language_loss:
        return {}
    states = rows.answers * held.shape.hidden * held.tuning.states
    chunk, several = _chunk(held.shape, rows.answers)
    added = FLOAT * held.shape.embeddings if (several or rows.accumulate) and _head_is_trained(held) else 0
    return {"logits": per_logit * chunk + states + added}


def _chunk(shape: Shape, tokens: int) -> tuple[int, bool]:
    """Return the number of logits at once, and whether there are several such chunks."""
    size = max(1, MAX_LOGITS // shape.vocabulary)
    return min(tokens, size) * shape.vocabulary, tokens > size


def generation(held: Held, sampling: Sampling) -> Memory:
    """Return the memory of sampling answers, and of their log-probabilities."""
    whole = Rows(sampling.rows, sampling.prompt + sampling.new, sampling.new)
    return Memory(
        {
            "sampling": {**held.parts, **_drawn(held, sampling)},
            "log-probabilities": {**held.parts, **_read(held, whole)},
        }
    )


def _drawn(held: Held, sampling: Sampling) -> Parts:
    shape, tuning = held.shape, held.tuning
    cache = sampling.rows * sampling.cached * cache_kept(shape, tuning)
    return {
        "activations": sampling.rows * sampling.prompt * layer_transient(shape, tuning),
        "KV cache": cache + cache / shape.layers,  # a layer's cache is copied as it grows
        "logits": max(sampling.rows, sampling.most) * sampling.per_logit * shape.vocabulary,
    }


def _read(held: Held, rows: Rows) -> Parts:
    """A pass without a backward pass."""
    chunk = _chunk(held.shape, rows.answers)[0] if held.with_head else 0
    return {
        "activations": rows.tokens * layer_transient(held.shape, held.tuning),
        "logits": IN_READING * chunk + rows.answers * held.shape.hidden * held.tuning.states,
    }


@dataclass(frozen=True)
class Roles:
    """PPO's models. With adapters, the policy, its reference and the value model share one base."""

    policy: Held
    rewards: int = 1  # reward models with weights of their own; with adapters, those on the same base
    judge: bool = False  # a judge watches, as a model of its own
    valued: bool = True  # False: advantages come from groups of answers, without a value model
    scored: int = REWARD_BATCH  # answers that a reward model scores at once
    gpu: bool = False  # Adam's intermediate results are there for all weights at once
    temperature: float = 1.0  # of the policy's distribution

    @property
    def value(self) -> Held:
        return Held(self.policy.shape, self.policy.tuning, with_head=False, language_loss=False)

    @property
    def per_logit(self) -> int:
        """Bytes per logit where the policy learns: logits, those scaled in float32 if they differ, the distribution.

        Its gradient takes the distribution's place.
        """
        made = self.policy.tuning.products
        return made + (FLOAT if made < FLOAT or self.temperature != 1 else 0) + FLOAT

    @property
    def parts(self) -> Parts:
        own, value = self.policy.parts, self.value
        if self.judge:
            judge = replace(value, tuning=value.tuning._replace(rank=0), below=self.policy.below + value.trainable)
            own = {**own, "judge": sum(judge.parts.values())}
        others = FLOAT * value.trainable * (self.valued + self.rewards)
        if self.policy.tuning.adapts:
            return {**own, "adapters": own["adapters"] + others}
        name = "value and reward models" if self.valued else "reward models"
        return {**own, "reference": own["weights"], name: others}


def ppo(roles: Roles, rows: Rows, sampling: Sampling) -> Memory:
    """Return the memory of sampling, scoring and learning.

    The policy's backward pass ends before the value model's begins; its gradients stay.
    """
    policy, value = roles.policy, roles.value
    learning = [policy, value] if roles.valued else [policy]
    fixed = {**roles.parts, "optimizer": sum(_optimizer(one)["optimizer"] for one in learning)}
    both = sum(map(_gradients, learning))
    first, second = training(policy, rows, roles.per_logit).phases, training(value, rows).phases
    learned = {name: {**parts, **fixed} for name, parts in first.items() if name != "update"}
    if rows.accumulate:
        learned = {name: {**parts, "gradients": both} for name, parts in learned.items()}
    scored = Rows(roles.scored, rows.length) if roles.rewards else rows
    extra = both if roles.gpu else 2 * FLOAT * policy.shape.embeddings * (not policy.tuning.adapts)
    layers = {**second["layers"], **fixed, "gradients": both if rows.accumulate else _gradients(policy)}
    return Memory(
        {
            "sampling": {**fixed, **_copies(policy), **_drawn(policy, sampling)},
            "scoring": {**fixed, **_copies(policy), **_read(policy, rows)},
            "rewards": {**fixed, **_read(value, scored)},
            "policy loss": learned["loss"],
            "policy layers": learned["layers"],
            **({"value layers": layers} if roles.valued else {}),
            "update": {**fixed, "gradients": both, "intermediate results": extra},
        }
    )
