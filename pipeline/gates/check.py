"""Checks the gates at the start of `dpo`, `kto`, `ppo` and `evaluate`, with figures from manifests or measured here.

`gates=warn` reports faults and continues, `gates=stop` ends before training, `gates=off` checks nothing. The verdicts
are written to the artifact (gates.json), where the report reads them.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from statistics import mean
from typing import TYPE_CHECKING, Any

from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.rows import jsonl_rows, prompt_id
from pipeline.errors import RequestError
from pipeline.evaluation.winrates import outcomes
from pipeline.gates import rules
from pipeline.gates.annotators import annotators
from pipeline.gates.rules import GATES, ConversationFormat, GateVerdict
from pipeline.people.trust import read_suspects
from pipeline.stage import Metrics, StageContext
from pipeline.store.artifact import Artifact
from pipeline.store.hashing import content_hash
from pipeline.store.lineage import drawing_of, lineage, of_stage
from pipeline.store.roles import gives_rewards

if TYPE_CHECKING:
    from pipeline.modeling.answering import Answer
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.chat.templates import Messages

MAX_PROMPTS = 64  # prompts that the policy answers at the gate
MAX_PAIRS = 64  # pairs for measuring a user's reward model
MAX_NEW_TOKENS = 1024  # most new tokens at the gate, even if the data has longer answers

log = logging.getLogger(__name__)


def check_gates(
    context: StageContext, arm: str, *, prompts: "Sequence[Messages]" = (), decoding: DecodingConfig | None = None
) -> list[GateVerdict]:
    """Return the verdicts before an arm is trained, write them to gates.json, and remark on those that warn.

    The policy is the input `policy`. Reward models are the inputs with a role that begins with `reward`. Preferences
    are found in the inputs' lineage. `prompts` and `decoding` are those of the arm: the policy answers a few prompts
    if no `sample` shows whether it stops. A resumed run reads the earlier verdicts.

    Raises `RequestError` with all warnings if `gates=stop`.
    """
    from pipeline.modeling.processes import on_main

    mode, file = context.runtime.gates, context.output_dir / GATES
    verdicts = on_main(lambda: rules.read_verdicts(file))
    if not verdicts and mode != "off":
        verdicts = list(_GateChecks(context, arm, prompts, decoding).verdicts())
        if context.is_main:
            rules.write_gates(context.output_dir, verdicts)
    _warn_or_stop(verdicts, context, f"{arm} is not trained")
    return verdicts


def check_judge(context: StageContext, judge: Artifact) -> Metrics:
    """Check the judge that decides an evaluation, and return its figures for the manifest.

    Raises `RequestError` if `gates=stop` and the judge is not shown to know more than length.
    """
    figures = rules.figures_of_judge(judge.metrics)
    verdict = rules.judge_verdict(figures)
    if context.runtime.gates != "off":
        if context.is_main:
            rules.write_gates(context.output_dir, [verdict])
        if not figures:
            context.say(f"{judge.name}: {verdict.says}")
        _warn_or_stop([verdict], context, "no answer is judged")
    return figures


def _warn_or_stop(verdicts: Sequence[GateVerdict], context: StageContext, otherwise: str) -> None:
    """Remark on warnings, or raise `RequestError` with them if `gates=stop`. `otherwise` states the consequence."""
    mode, warned = context.runtime.gates, [verdict for verdict in verdicts if not verdict.passed]
    for verdict in verdicts:
        log.info("gate %s %s: %s", verdict.name, "passed" if verdict.passed else "warns", verdict.says)
    if warned and mode == "stop":
        count = "one gate warns" if len(warned) == 1 else f"{len(warned)} gates warn"
        faults = "\n".join(f"  {v.name} (at fault: {v.stage}): {v.says} {v.advice}" for v in warned)
        raise RequestError(f"{otherwise}, since gates=stop and {count}:\n{faults}")
    for verdict in warned if mode == "warn" else ():
        context.say(f"gate {verdict.name}, at fault: {verdict.stage}. {verdict.says} {verdict.advice}")


@dataclass(frozen=True)
class _GateChecks:
    """Computes the figures for the gates of one arm. Samples answers and loads models only if needed, and once."""

    context: StageContext
    arm: str
    prompts: "Sequence[Messages]"
    decoding: DecodingConfig | None

    @property
    def policy(self) -> Artifact:
        return self.context.inputs["policy"]

    @cached_property
    def preferences(self) -> Artifact | None:
        given = [made for artifact in self.context.inputs.values() for made in lineage(artifact)]
        return next(iter(of_stage(given, "preferences")), None)

    @cached_property
    def chat(self) -> "ChatFormat":
        return _chat(self.policy)

    def verdicts(self) -> Iterator[GateVerdict]:
        if self.preferences is not None:
            asked = of_stage(lineage(self.preferences), "collect")
            stage, metrics = "collect" if asked else "preferences", self.preferences.metrics
            yield rules.agreement_verdict(metrics, stage)
            if "alpha" in metrics or "cycles" in metrics:  # rankings: pairs have no annotators
                yield annotators(read_suspects(self.preferences), metrics, stage)
        yield self._stopping_verdict()
        for role, artifact in self.context.inputs.items():
            if gives_rewards(role):
                yield from self._reward_verdicts(artifact)

    def _stopping_verdict(self) -> GateVerdict:
        """Whether the policy ends its answers: from the judged sample if this policy wrote it, else from new ones."""
        for sample in of_stage(lineage(self.preferences), "sample") if self.preferences else []:
            asked = {given.reference for role, given in sample.inputs.items() if role != "data"}
            limit = int(drawing_of(sample)["max_new_tokens"])
            if asked == {self.policy.reference} and (not self.decoding or self.limit >= limit):
                return rules.stopping_verdict(sample.metrics["stopped"], int(sample.metrics["answers"]), limit)
        _, answers = self.sampled_answers
        if not answers:
            says = "Whether the policy stops is unknown: no prompt leaves space for an answer."
            return GateVerdict("stopping", True, says, "sft", "")
        share = mean(answer.stopped for answer in answers)
        return rules.stopping_verdict(share, len(answers), self.limit)

    @cached_property
    def limit(self) -> int:
        """The most tokens of an answer: the arm's limit, else the length of the longest of a few judged answers."""
        if self.decoding and self.decoding.max_new_tokens:
            return self.decoding.max_new_tokens
        rows = islice(self._pairs("train.jsonl"), MAX_PAIRS)
        given = (
            self.chat.answer(row["prompt"], row[side][0]["content"]) for row in rows for side in ("chosen", "rejected")
        )
        return min(max(map(len, given), default=MAX_NEW_TOKENS), MAX_NEW_TOKENS)

    @cached_property
    def sampled_answers(self) -> "tuple[list[Messages], list[Answer]]":
        """Up to `MAX_PROMPTS` prompts that leave space for an answer in the context, and the policy's answers."""
        from pipeline.modeling.answering import Answerer
        from pipeline.modeling.policy import context_length_of

        prompts = iter(self.prompts) if self.prompts else self._judged_prompts()
        answerer = Answerer(self.policy, self.context, seed=0)
        longest_prompt = context_length_of(answerer.model) - self.limit
        asked = list(
            islice((prompt for prompt in prompts if len(self.chat.prompt(prompt)) <= longest_prompt), MAX_PROMPTS)
        )
        decoding = self.decoding or DecodingConfig(max_new_tokens=self.limit)
        return asked, answerer.draw(asked, decoding, f"gate {self.arm}") if asked else []

    def _reward_verdicts(self, reward: Artifact) -> Iterator[GateVerdict]:
        """Yield the verdicts on a reward model, from its manifest if `reward` made it, else from measured scores."""
        its_chat = _chat(reward)
        rows = list(islice((row for row in self._pairs("test.jsonl") if its_chat.can_render(row)), MAX_PAIRS))
        figures = reward.metrics or self._measured_figures(reward, rows)
        if "accuracy" in figures and "accuracy_longer" in figures:
            yield rules.length_verdict(figures["accuracy"], figures["accuracy_longer"], int(figures["test"]))
        if "padding_difference" in figures:
            content, rounding = (figures.get(f"padding_{name}", 0.0) for name in ("content", "rounding"))
            yield rules.padding_verdict(figures["padding_difference"], content, rounding)
        if "reference_mean" in figures:
            yield rules.centring_verdict(figures["reference_mean"])
        mine, its = _format(self.chat, rows), _format(its_chat, rows)
        yield rules.format_verdict(mine, its, _format_in_training(reward))

    def _pairs(self, name: str) -> Iterator[Any]:
        """Yield the pairs of a file that the policy's template can render. Training leaves out the others, too."""
        rows = jsonl_rows(self.preferences.file(name)) if self.preferences else iter(())
        return (row for row in rows if self.chat.can_render(row))

    def _judged_prompts(self) -> "Iterator[Messages]":
        """Yield each prompt of the training pairs once."""
        seen: set[str] = set()
        for row in self._pairs("train.jsonl"):
            key = prompt_id(row["prompt"])
            if key not in seen:
                seen.add(key)
                yield row["prompt"]

    def _measured_figures(self, reward: Artifact, rows: Sequence[Any]) -> dict[str, float]:
        """Measure a user's reward model: the metrics of the stage `reward`, on the pairs in `rows` if there are any.

        The policy's answers are the reference answers, which should have a mean reward near 0.
        """
        from pipeline.modeling.answering import Answer
        from pipeline.modeling.rewards.scoring import RewardModel

        model, (asked, sampled_answers) = RewardModel(reward, self.context), self.sampled_answers
        found: dict[str, float] = {}
        if sampled_answers:
            found["reference_mean"] = mean(model.score(asked, sampled_answers, batch_size=len(sampled_answers)))
            found |= model.padding_effects(asked, sampled_answers)
        if rows:
            prompts = [row["prompt"] for row in rows]
            sides = []
            for side in ("chosen", "rejected"):
                texts = [str(row[side][0]["content"]) for row in rows]
                sides.append([Answer(t, self.chat.answer(p, t), True) for p, t in zip(prompts, texts, strict=True)])
            scores = [model.score(prompts, answers) for answers in sides]
            found["accuracy"] = mean(outcomes(*scores))
            found["accuracy_longer"] = mean(outcomes(*([len(answer.ids) for answer in answers] for answers in sides)))
            found["test"] = len(rows)
        return found


def _chat(artifact: Artifact) -> "ChatFormat":
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.sources import source_of, tokenizer_of

    return ChatFormat(tokenizer_of(source_of(artifact))[0])


def _format(chat: "ChatFormat", rows: Sequence[Any]) -> ConversationFormat:
    """Return how a model reads a few conversations."""
    tokenizer = chat.tokenizer
    return ConversationFormat(
        template=content_hash(tokenizer.chat_template),
        stop_id=chat.stop_id,
        pad_id=tokenizer.pad_token_id,
        vocabulary=content_hash(tokenizer.get_vocab()),
        rendered=[chat.prompt(row["prompt"]) + chat.answer(row["prompt"], row["chosen"][0]["content"]) for row in rows],
    )


def _format_in_training(reward: Artifact) -> ConversationFormat | None:
    """Return the format in which a reward model was trained; None for a user's model, which does not record it."""
    file = reward.path / "reward.json"
    if not file.is_file():
        return None
    trained = json.loads(file.read_text(encoding="utf-8"))
    return ConversationFormat(trained["template"], trained["stop_id"], trained["pad_id"], trained.get("vocabulary", ""))
