"""The rules of the gates: conditions for training an arm, the stage at fault if one fails, and the judge's gate.

They answer "I do not know whether my SFT is bad, my reward model is bad, or hyperparameters" (trl#2015). Each gate is
a pure function of figures from manifests or measurements. Shares are compared by their confidence intervals, so a gate
warns only of a shown fault, not of uncertainty from few rows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.evaluation.winrates import wilson
from pipeline.files import write_atomically
from pipeline.store.artifact import Artifact

GATES = "gates.json"
CHANCE_ALPHA = 0.1  # Krippendorff's alpha below this counts as agreement by chance
MIN_STOPPED = 0.5  # with a smaller share of answers that end by themselves, the policy has not learned to stop
MAX_SCORE_CHANGE = 0.05  # most change of a score with its padding, in logits: about 1 point of P(chosen wins)
ROUNDING_FACTOR = (
    4  # allowed multiple of the effect of one extra rounding: another batch shape rounds every intermediate value
)
MAX_MEAN_REWARD = 0.5  # largest distance of the reference answers' mean reward from 0, in logits

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class GateVerdict:
    """The result of one gate: whether it passed, its figures in words, the stage at fault, and the advice."""

    name: str
    passed: bool
    says: str
    stage: str
    advice: str
    figures: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class ConversationFormat:
    """How a model reads conversations. `rendered` has the token ids of a few conversations, prompt and answer."""

    template: str  # a hash
    stop_id: int
    pad_id: int
    vocabulary: str  # a hash
    rendered: Sequence[Sequence[int]] = ()


def agreement_verdict(metrics: Metrics, stage: str) -> GateVerdict:
    """Whether annotators agree beyond chance. Passes if agreement is unknown because no two judged the same task."""
    advice = (
        "Read the instructions and the disagreements with the annotators, or leave out annotators who answer at "
        "random; training cannot repair these pairs."
    )
    if "alpha" not in metrics:
        says = "Agreement is unknown: no task was judged by two people."
        return GateVerdict("agreement", True, says, stage, advice)
    alpha = metrics["alpha"]
    says = f"Krippendorff's alpha is {alpha:.2f} over {metrics.get('pairs', 0):,.0f} pairs; 0 is chance"
    passed = alpha >= CHANCE_ALPHA
    ending = "." if passed else ": the annotators agree no better than chance."
    return GateVerdict("agreement", passed, says + ending, stage, advice, {"alpha": alpha})


def stopping_verdict(share: float, count: int, limit: int) -> GateVerdict:
    """Whether the policy ends its answers: `share` of `count` answers ended by themselves within `limit` tokens."""
    estimate = wilson(share, count)
    says = f"{share:.0%} of {count:,} answers end by themselves within {limit:,} tokens"
    passed = estimate.high >= MIN_STOPPED
    if not passed:
        says += f" (95%: at most {estimate.high:.0%}): the policy has not learned to stop"
    advice = (
        "Check that the demonstrations end with the template's stop token and that SFT trains on it (more epochs, a "
        "higher learning rate); if answers are meant to be this long, raise the limit on new tokens."
    )
    figures = {"stopped": share, "high": estimate.high, "answers": count, "limit": limit}
    return GateVerdict("stopping", passed, says + ".", "sft", advice, figures)


class ScoringModel(NamedTuple):
    """A model that scores answers: the stage at fault, its name in a sentence, and the advice if it fails."""

    stage: str
    name: str
    advice: str


REWARD = ScoringModel(
    "reward",
    "reward model",
    "More pairs or more epochs for the reward model, a stronger model below it, or pairs of like length; "
    "PPO would otherwise only learn to write longer or shorter.",
)
JUDGE = ScoringModel(
    "judge",
    "judge",
    "More pairs for the judge (preferences.judge_fraction), more epochs or a stronger model below it; until then "
    "read the answers side by side: its wins may show only which answers are longer or shorter.",
)


def length_verdict(accuracy: float, longer: float, pairs: int, model: ScoringModel = REWARD) -> GateVerdict:
    """Whether a reward model or the judge is more accurate than length: "the longer answer wins", or the shorter one.

    The better of these two baselines is used, so passing also means better than chance. Only the accuracy has a
    confidence interval: the baseline has no fitted parameter but its direction.
    """
    estimate, length = wilson(accuracy, pairs), max(longer, 1 - longer)
    word = "longer" if longer >= 0.5 else "shorter"
    interval = f"[{estimate.low:.2f}, {estimate.high:.2f}]"
    says = (
        f"The {model.name} ranks {accuracy:.2f} {interval} of {pairs:,} held-out pairs rightly, and “the {word} "
        f"answer wins” {length:.2f}"
    )
    passed = estimate.low > length
    ending = "." if passed else ": its accuracy is not shown to be above that of length."
    figures = {"accuracy": accuracy, "low": estimate.low, "length": length, "pairs": pairs}
    return GateVerdict("beats_length", passed, says + ending, model.stage, model.advice, figures)


METRICS_OF_JUDGE = {"accuracy": "judge_accuracy", "accuracy_longer": "judge_accuracy_longer", "test": "judge_test"}


def figures_of_judge(judge: Metrics) -> dict[str, float]:
    """Return the judge's metrics for the evaluation's manifest; empty for a user's model."""
    return (
        {own: judge[name] for name, own in METRICS_OF_JUDGE.items()} if METRICS_OF_JUDGE.keys() <= judge.keys() else {}
    )


def judge_verdict(evaluation: Metrics) -> GateVerdict:
    """Return the verdict on the judge that decides an evaluation. It passes if its accuracy is unknown."""
    if METRICS_OF_JUDGE["accuracy"] not in evaluation:
        says = "How often the judge ranks answers as people do is unknown: it is a model of your own."
        return GateVerdict("beats_length", True, says, "judge", "")
    accuracy, longer, pairs = (evaluation[own] for own in METRICS_OF_JUDGE.values())
    return length_verdict(accuracy, longer, int(pairs), JUDGE)


def remark_on_judge(evaluation: Metrics) -> str:
    """Return the remark for wins that the judge decides; empty if the judge is shown to know more than length."""
    verdict = judge_verdict(evaluation)
    if not verdict.figures:
        return "its accuracy is unknown"
    if verdict.passed:
        return ""
    accuracy, length = verdict.figures["accuracy"], verdict.figures["length"]
    return f"not shown to be better than length: right on {accuracy:.2f} of pairs, length on {length:.2f}"


def padding_verdict(difference: float, content: float = 0.0, rounding: float = 0.0) -> GateVerdict:
    """Whether a score depends only on the answer, not on its batch.

    `difference` is the change of a score with the side and amount of padding, `content` with the padding tokens, and
    `rounding` with one extra rounding of each embedding, all in logits. Rounding effects change with the shape of the
    batch, but never with the padding tokens. So an effect of `content` shows that the model reads padding, and a
    large `difference` shows wrong positions.
    """
    allowed = max(MAX_SCORE_CHANGE, ROUNDING_FACTOR * rounding)
    says = f"The score of an answer moves by at most {difference:.2g} with padding and batch"
    if content > MAX_SCORE_CHANGE:
        says += f", and by {content:.2g} with the padding tokens: the model reads them"
    elif difference > allowed:
        says += f", and rounding explains {allowed:.2g}: it is read in the wrong place, or places are counted wrongly"
    elif allowed > MAX_SCORE_CHANGE:
        says += f", as rounding explains (up to {allowed:.2g})"
    advice = (
        "Check that the model uses the attention mask, that pad_token_id in its config is its tokenizer's pad, and "
        "that positions are counted from the first real token."
    )
    passed = difference <= allowed and content <= MAX_SCORE_CHANGE
    figures = {"difference": difference, "content": content, "rounding": rounding}
    return GateVerdict("padding", passed, f"{says}.", "reward", advice, figures)


def centring_verdict(mean: float) -> GateVerdict:
    """Whether reference answers have a mean reward near 0: the value model starts there, and penalties assume it."""
    passed = abs(mean) <= MAX_MEAN_REWARD
    says = f"Reference answers have a mean reward of {0.0 if abs(mean) < 0.005 else mean:.2f}"
    ending = (
        "."
        if passed
        else f", further from 0 than {MAX_MEAN_REWARD:g}: penalties and the value model start on a wrong scale."
    )
    advice = "Train it with the stage reward, which measures the shift and keeps it, or subtract the mean yourself."
    return GateVerdict("centred", passed, says + ending, "reward", advice, {"mean": mean})


def format_verdict(
    policy: ConversationFormat, reward: ConversationFormat, trained: ConversationFormat | None = None
) -> GateVerdict:
    """Whether a reward model reads answers in the format in which it was trained.

    `trained` is the format recorded in its artifact. A template or tokenizer different from the policy's is not a
    fault: answers are then decoded and rendered again for the reward model.
    """
    faults = []
    if reward.pad_id == reward.stop_id and trained is None:  # the pipeline's models are read by position
        faults.append("its PAD is its stop token, so a score cannot see whether an answer ends")
    if trained and trained.template != reward.template:
        faults.append("its chat template is not the one it was trained with")
    if trained and trained.stop_id != reward.stop_id:
        faults.append(f"it was trained with stop id {trained.stop_id} and now has {reward.stop_id}")
    if trained and trained.vocabulary and trained.vocabulary != reward.vocabulary:
        faults.append("its tokenizer is not the one it was trained with")
    same = policy.rendered == reward.rendered and policy.stop_id == reward.stop_id
    if faults:
        says = f"The reward model reads answers wrongly: {'; '.join(faults)}."
    elif same:
        says = f"Policy and reward model give the same token ids and the stop id {policy.stop_id}."
    else:
        others = {
            "tokenizer": policy.vocabulary != reward.vocabulary,
            "chat template": policy.template != reward.template,
            "stop token": policy.stop_id != reward.stop_id,
        }
        names = " and ".join(name for name, other in others.items() if other) or "rendering"
        says = f"Another {names} than the policy's: answers are decoded and rendered again as the reward model's own."
    advice = "Restore the tokenizer that the reward model was trained with, or train it again from this policy."
    return GateVerdict("same_format", not faults, says, "reward", advice, {"same_ids": float(same)})


def gate_metrics(verdicts: Sequence[GateVerdict]) -> dict[str, float]:
    """Return the numbers of verdicts and warnings, for a manifest."""
    return {"gates": len(verdicts), "gates_warned": sum(not verdict.passed for verdict in verdicts)}


def write_gates(folder: Path, verdicts: Sequence[GateVerdict]) -> None:
    rows = [asdict(verdict) for verdict in verdicts]
    write_atomically(folder / GATES, json.dumps({"verdicts": rows}, indent=2, ensure_ascii=False))


def read_gates(artifact: Artifact) -> list[GateVerdict]:
    """Return the verdicts from before an arm's training; empty if gates were off."""
    return [] if artifact.is_external else read_verdicts(artifact.path / GATES)


def read_verdicts(path: Path) -> list[GateVerdict]:
    if not path.is_file():
        return []
    return [GateVerdict(**row) for row in json.loads(path.read_text(encoding="utf-8"))["verdicts"]]
