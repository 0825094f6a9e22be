"""`ppo`: proximal policy optimization from the SFT policy, with rewards from the reward model or other sources."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.nodes.learning import PpoConfig
from pipeline.config.nodes.models import DecodingConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import prompt_id, read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.gates.check import check_gates
from pipeline.gates.rules import gate_metrics
from pipeline.lengths.fitting import fitting_rows
from pipeline.lengths.limits import with_limit
from pipeline.playground.scorer import true_score
from pipeline.playground.world import parse
from pipeline.ppo.sources import FunctionScorer, Scorer, WeightedScorer, function_file, sources_by_role
from pipeline.stage import FromPath, FromStage, Metrics, ModelRows, Reference, Stage, StageContext, parse_reference
from pipeline.store.artifact import Artifact
from pipeline.store.lineage import stage_of
from pipeline.store.roles import gives_rewards

if TYPE_CHECKING:
    from pipeline.modeling.in_training import ModelInTraining
    from pipeline.modeling.roles import Roles

JUDGE_REWARDS = (
    "ppo.rewards: {} is the independent judge: it may judge a policy, not reward it. Use a reward model, such as "
    "ppo.rewards=[{{source:reward}}]."
)


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    judged = config.labeling.backend == "file"  # then the prompts come from these judgements
    rewards = {role: _reference(source.source) for role, source in sources_by_role(config.ppo.rewards).items()}
    judge = {"judge": FromStage("judge")} if config.ppo.watch_judge else {}
    return {
        "policy": FromStage("sft"),
        "prompts": FromStage("preferences" if judged else "data"),
        **rewards,
        **judge,
    }


def _reference(source: str) -> Reference:
    code = function_file(source)
    if source.partition("@")[0] == "judge":
        raise RequestError(JUDGE_REWARDS.format(source))
    return FromPath(str(code[0])) if code else parse_reference(source)


def run(config: PpoConfig, context: StageContext) -> Metrics:
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.rewards.scoring import check_prompts
    from pipeline.modeling.roles import VALUE
    from pipeline.ppo.gathering import PpoTask
    from pipeline.ppo.loop import Loop

    rewards = {role: context.inputs[role] for role in sources_by_role(config.rewards) if gives_rewards(role)}
    for artifact in rewards.values():
        refuse_judge(artifact)
    in_training = prepare_model(context.inputs["policy"], config.peft, config.seed, context, can_be_shared=False)
    asked = DecodingConfig(config.temperature, 1.0, config.max_new_tokens)
    decoding, limit = with_limit(asked, [context.inputs["policy"]], context.say)
    config = replace(config, max_new_tokens=limit)
    prompts, ids = _prompts(context.inputs["prompts"], in_training, limit, context)
    for role, artifact in context.inputs.items():
        if role in rewards or role == "judge":
            check_prompts(artifact, prompts)
    verdicts = check_gates(context, "ppo", prompts=prompts, decoding=decoding)
    roles, sources = _roles_and_sources(rewards, config, in_training, context)
    loop = Loop(PpoTask(prompts, ids, sources, _watchers(prompts, context)), roles, config, context)
    metrics, history = loop.run()
    roles.policy.switch()
    in_training.save(context)
    if context.is_main:
        write_jsonl(context.output_dir / "history.jsonl", history)
        if roles.value:
            roles.save_value(context.output_dir / VALUE)
    trainable = sum(p.numel() for parameters in roles.parameters.values() for p in parameters.values())
    sizes = {**in_training.size_metrics(), "trainable": trainable, "max_new_tokens": limit}
    return {**metrics, **sizes, **gate_metrics(verdicts)}


def _roles_and_sources(
    rewards: dict[str, Artifact], config: PpoConfig, in_training: "ModelInTraining", context: StageContext
) -> "tuple[Roles, list[WeightedScorer]]":
    """Load reward models and reward functions; build policy, reference and value model if there is one."""
    from pipeline.modeling.padding import check_padding
    from pipeline.modeling.rewards.roles import load_rewards
    from pipeline.modeling.roles import build_roles

    given = sources_by_role(config.rewards)
    models = load_rewards(rewards, in_training, config.peft, context, with_value_model=config.has_value_model)
    functions = {role: FunctionScorer(one.source) for role, one in given.items() if role not in rewards}
    scorers: dict[str, Scorer] = {**models.scorers, **functions}
    sources = [WeightedScorer(role, scorers[role], one.weight) for role, one in given.items()]
    recompute = context.runtime.launch.gradient_checkpointing
    roles = build_roles(in_training, models.start, config.peft, config.seed, recompute=recompute)
    roles.policy.switch()
    check_padding(roles.policy.decoder, in_training.tokenizer.pad_token_id, in_training.source.weights, cached=True)
    if "value" in context.inputs:
        roles.load_value(context.inputs["value"])
    return roles, sources


def _watchers(prompts: Sequence[Any], context: StageContext) -> dict[str, Scorer]:
    """Return scorers that are logged but give no reward: the judge if it is an input, the true score if it is known."""
    from pipeline.modeling.rewards.scoring import RewardModel

    watchers: dict[str, Scorer] = {}
    if "judge" in context.inputs:
        watchers["judge_reward"] = RewardModel(context.inputs["judge"], context)
    if all(parse(prompt[-1]["content"]) for prompt in prompts):  # prompts of the playground
        watchers["true_score"] = TrueScorer()
    return watchers


def refuse_judge(artifact: Artifact) -> None:
    """Raise `RequestError` for the independent judge: it cannot judge a policy that learned from it."""
    if stage_of(artifact) == "judge":
        raise RequestError(JUDGE_REWARDS.format(artifact.reference))


def _prompts(
    artifact: Artifact, in_training: "ModelInTraining", answer: int, context: StageContext
) -> tuple[list[Any], list[list[int]]]:
    """Return each prompt once, in the order of the file, and its token ids.

    Prompts that leave fewer than `answer` tokens of the context are left out. Raises `RequestError` if none is left.
    """
    file = _file(artifact)
    rows = read_jsonl(file)
    if not rows or any("prompt" not in row for row in rows):
        raise RequestError(f'{file}: PPO needs prompts, one {{"prompt": [messages]}} per line; there is none to use.')
    prompts = list({prompt_id(row["prompt"]): row["prompt"] for row in rows}.values())
    kept = fitting_rows(
        prompts,
        lambda prompt: (prompt, in_training.chat.prompt(prompt)),
        lambda pair: len(pair[1]) + answer,
        in_training.context_length,
        file,
        context,
    )
    fitting, ids = zip(*kept, strict=True)
    return list(fitting), list(ids)


def _file(artifact: Artifact) -> Path:
    """Return the file of prompts: `rl.jsonl` of `data`, `train.jsonl` of `preferences`, or a user file."""
    if artifact.path.is_file():
        return artifact.path
    return artifact.file("train.jsonl" if artifact.stage == "preferences" else "rl.jsonl")


class TrueScorer:
    """Scores answers by the playground's true score, which is logged and never a reward."""

    def score(self, prompts: Sequence[Any], answers: Sequence[Any]) -> list[float]:
        return [
            true_score(prompt[-1]["content"], answer.text, finished=answer.stopped)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]


def summary(metrics: Mapping[str, float]) -> str:
    early = " (ended early)" if metrics["ended_early"] else ""
    return f"reward {metrics['reward']:.2f}, KL {metrics['kl']:.1f}, {metrics['iterations']:.0f} iterations{early}"


ROWS = ModelRows("prompts", ("rl.jsonl", "train.jsonl"))
STAGE = Stage(
    "ppo", PpoConfig, inputs, run, summary, version=3, makes="policy", label="PPO", generates=True,
    rows=ROWS, is_distributed=True,
)  # fmt: skip
