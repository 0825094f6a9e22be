"""`sample`: several answers to each prompt, for people to rank.

Of many prompts, it chooses representative ones. With `sample.choose=active`, it draws answers to more prompts than
people are asked about, and chooses those whose order a reward model of an earlier round is least sure of. With
`sample.disagreement=avoid`, uncertainty that people themselves would have is taken off.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.config.nodes.people import SampleConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.prompts.disagreement import Judged, expected_disagreement, label_entropy
from pipeline.data.prompts.selection import choose_prompts
from pipeline.data.prompts.uncertainty import most_informative
from pipeline.data.rows import Message, prompt_id, read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.lengths.fitting import answerable_rows
from pipeline.lengths.limits import with_limit
from pipeline.stage import FromStage, Metrics, ModelRows, Reference, Stage, StageContext, policy
from pipeline.store.artifact import Artifact

if TYPE_CHECKING:
    from pipeline.modeling.answering import Answer

CANDIDATES = 4  # prompts that get answers for each prompt that people are asked about


class Drawn(NamedTuple):
    """An answer and the policy that wrote it."""

    policy: str
    answer: "Answer"


class Candidate(NamedTuple):
    """A prompt and the different answers to it."""

    prompt: list[Message]
    answers: list[Drawn]


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    """Return the prompts and the policies. An active choice needs a reward model that the request pins.

    It is never the one that this request would make, which learns from answers that are yet to be drawn.
    """
    if config.sample.choose == "active" and config.sample.inputs.get("reward") in (None, "reward"):
        raise RequestError(
            "sample.choose=active: it needs the reward model of an earlier round. Name its version: "
            "sample.inputs.reward=reward@VERSION (`python -m pipeline artifacts ls reward` lists them). For a first "
            "round, leave sample.choose out."
        )
    return {"data": FromStage("data"), **{name: policy(config, name) for name in config.sample.policies}}


def run(config: SampleConfig, context: StageContext) -> Metrics:
    policies = [context.inputs[name] for name in config.policies]
    decoding, limit = with_limit(config.decoding, policies, context.say)
    file = context.inputs["data"].file("preference.jsonl")
    prompts = [row["prompt"] for row in answerable_rows(read_jsonl(file), policies, limit, file, context)]
    wanted, count = _amounts(config)
    if wanted and wanted < len(prompts):
        prompts = [prompts[index] for index in choose_prompts(prompts, wanted, config.seed)]
    if config.choose == "active":
        from pipeline.modeling.rewards.scoring import check_prompts

        check_prompts(context.inputs["reward"], prompts)
        judged = judged_prompts(context.inputs["reward"]) if config.disagreement == "avoid" else []
    drawn = _drawn(prompts, count, config, decoding, context)
    distinct = [Candidate(prompt, _distinct(answers)) for prompt, answers in zip(prompts, drawn, strict=True)]
    usable = [one for one in distinct if len(one.answers) > 1]
    if not usable:
        raise RequestError("No prompt got two different answers: raise sample.decoding.temperature or sample.answers.")
    if len(usable) < len(distinct):
        left_out = len(distinct) - len(usable)
        context.say(f"{left_out} prompts whose answers were all the same are left out: nothing to rank")
    if config.choose == "active":
        rows, of_choice = _most_informative(usable, judged, config, context)
    else:
        rows, of_choice = _rows(usable), {}
    if context.is_main:
        write_jsonl(context.output_dir / "answers.jsonl", rows)
    total = len(prompts) * count
    return {
        "prompts": len(rows),
        "answers": sum(len(row["answers"]) for row in rows),
        "distinct": sum(len(one.answers) for one in distinct) / total,
        "stopped": sum(one.answer.stopped for answers in drawn for one in answers) / total,
        "max_new_tokens": limit,
        **of_choice,
    }


def _amounts(config: SampleConfig) -> tuple[int | None, int]:
    """Return how many prompts get answers (None: all), and how many answers each."""
    if config.choose != "active":
        return config.prompts, config.answers
    assert config.prompts is not None  # checked with the request
    return config.candidates or CANDIDATES * config.prompts, config.drawn or config.answers


def _drawn(
    prompts: Sequence[list[Message]], count: int, config: SampleConfig, decoding: Any, context: StageContext
) -> list[list[Drawn]]:
    """Return `count` answers to each prompt, from the policies in turn."""
    from pipeline.modeling.served import load_answerers

    policies = {name: context.inputs[name] for name in config.policies}
    drawn: dict[str, list[list[Drawn]]] = {}
    last = config.policies[-1]
    for name, answerer in load_answerers(policies, context, config.seed, last=last, drawn_by=config.drawn_by):
        number = config.policies.index(name)
        share = len(range(number, count, len(config.policies)))  # answers per prompt by this policy
        answerer.seed = config.seed + number
        answers = answerer.draw([p for p in prompts for _ in range(share)], decoding, f"sample {name}")
        own = [Drawn(name, answer) for answer in answers]
        drawn[name] = [own[i * share : (i + 1) * share] for i in range(len(prompts))]
    return [[one for name in config.policies for one in drawn[name][i]] for i in range(len(prompts))]


def _distinct(answers: Sequence[Drawn]) -> list[Drawn]:
    """Return the first of each group of answers with equal words (white space is ignored)."""
    return list({" ".join(one.answer.text.split()): one for one in reversed(answers)}.values())[::-1]


def _rows(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    return [
        {
            "id": prompt_id(one.prompt),
            "prompt": one.prompt,
            "answers": [{"text": drawn.answer.text, "policy": drawn.policy} for drawn in one.answers],
        }
        for one in candidates
    ]


def judged_prompts(reward: Artifact) -> list[Judged]:
    """Return the prompts that several people judged, of those that a reward model learned from.

    Raises `RequestError` for a model whose preferences are not known, or were made before they kept this.
    """
    made = reward.inputs.get("preferences")
    file = made.path / "disagreement.jsonl" if made else None
    if file is None or not file.is_file():
        raise RequestError(
            f"sample.disagreement=avoid: how far people disagreed is not known of {reward.name}, whose preferences "
            f"{'are not here' if made is None else 'have no disagreement.jsonl'}. Take a reward model that "
            "`stage=reward` makes of rankings now, or leave sample.disagreement out."
        )
    return [Judged(row["prompt"], row["share"]) for row in read_jsonl(file)]


def _most_informative(
    candidates: Sequence[Candidate], judged: Sequence[Judged], config: SampleConfig, context: StageContext
) -> tuple[list[dict[str, Any]], Metrics]:
    """Return the rows that people are asked about, the most informative first, and metrics of the choice.

    Each row has its `uncertainty`, with judged prompts also people's own expected `label_entropy`, and its `place`
    among the candidates.
    """
    from pipeline.modeling.rewards.scoring import RewardModel

    model = RewardModel(context.inputs["reward"], context)
    flat = [(one.prompt, drawn.answer) for one in candidates for drawn in one.answers]
    normalized = iter(model.score([prompt for prompt, _ in flat], [answer for _, answer in flat]))
    scores = [[next(normalized) / model.normalization.scale for _ in one.answers] for one in candidates]
    entropies = _label_entropies(candidates, judged, config, context)
    order = most_informative(scores, len(scores), config.answers, entropies)
    asked = order[: config.prompts]
    if len(asked) == len(candidates):
        context.say(f"people get all {len(candidates):,} candidate prompts: there are no more to choose from")
    chosen = [
        Candidate(candidates[one.prompt].prompt, [candidates[one.prompt].answers[i] for i in one.answers])
        for one in asked
    ]
    names = ("uncertainty",) if entropies is None else ("uncertainty", "label_entropy")
    why = [{**{name: getattr(one, name) for name in names}, "place": i} for i, one in enumerate(asked, start=1)]
    rows = [{**row, **reason} for row, reason in zip(_rows(chosen), why, strict=True)]
    figures = {
        f"{name}{suffix}": sum(getattr(one, name) for one in some) / len(some)
        for suffix, some in (("", asked), ("_of_candidates", order))
        for name in names
    }
    return rows, {"candidates": len(candidates), **figures}


def _label_entropies(
    candidates: Sequence[Candidate], judged: Sequence[Judged], config: SampleConfig, context: StageContext
) -> list[float] | None:
    """Return the entropy that people are expected to have about each candidate, in bits; None if it does not count."""
    if config.disagreement == "ignore":
        return None
    if not judged:
        context.say("no prompt was judged by two people: only the reward model's uncertainty counts")
        return None
    expected = expected_disagreement([one.prompt for one in candidates], judged, config.seed)
    context.say(f"people's own disagreement is expected from {len(judged):,} prompts that several of them judged")
    return [float(entropy) for entropy in label_entropy(expected)]


def summary(metrics: Mapping[str, float]) -> str:
    most = "informative" if "label_entropy" in metrics else "uncertain"
    chosen = f", the most {most} of {metrics['candidates']:,.0f}" if "candidates" in metrics else ""
    answers = f"{metrics['answers']:,.0f} answers to {metrics['prompts']:,.0f} prompts{chosen}"
    return f"{answers}, {metrics['distinct']:.0%} distinct"


ROWS = ModelRows("data", ("preference.jsonl",))
STAGE = Stage("sample", SampleConfig, inputs, run, summary, version=4, rows=ROWS, is_distributed=True)
