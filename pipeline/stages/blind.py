"""`blind`: two policies' answers to the same held-out prompts, as tasks for the blind A/B test of `abtest`.

Writes `tasks.jsonl` (answers in shuffled slots, without a policy's name), `slots.json` (which policy is in which slot),
`pairs.jsonl` (the prompt and the policies of each task) and `guidelines.md`.
"""

import json
from collections.abc import Mapping

from labeling.guidelines import shipped
from labeling.records import make_tasks
from pipeline.config.nodes.people import BlindConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.evaluation.blind import choose_pairs, samples_of
from pipeline.evaluation.power import RATE, detectable_rate, judgements_needed, rounded
from pipeline.files import write_atomically
from pipeline.stage import FromFiles, FromStage, Metrics, Reference, Stage, StageContext


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    names, evaluated = config.blind.between or [], config.evaluate.policies
    if len(names) == 1 or len(set(names)) < len(names):
        raise RequestError(f"abtest.between={names}: two policies or more are compared, each named once.")
    missing = [name for name in names if name not in evaluated]
    if missing and not config.blind.inputs.get("evaluation"):
        raise RequestError(
            f"abtest.between={names}: people judge the answers of the stage evaluate, and {missing[0]} is not among "
            f"evaluate.policies={evaluated}. Add it there."
        )
    guidelines = config.abtest.guidelines or str(shipped("pairwise"))
    return {"evaluation": FromStage("evaluate"), "guidelines": FromFiles("guidelines", guidelines)}


def run(config: BlindConfig, context: StageContext) -> Metrics:
    evaluation = context.inputs["evaluation"]
    rows = read_jsonl(evaluation.file("answers.jsonl"))
    evaluated = list(evaluation.manifest["config"]["policies"])
    policies = config.between or evaluated[-2:]
    unknown = [name for name in policies if name not in evaluated]
    if unknown or len(policies) < 2:
        raise RequestError(f"abtest.between={policies}: {evaluation.reference} has answers of {', '.join(evaluated)}.")
    needed = judgements_needed()
    pairs, equal = choose_pairs(rows, policies, config.prompts or needed, config.seed)
    if not pairs:
        raise RequestError(f"{' and '.join(policies)} gave the same answer to every prompt: people cannot judge them.")
    tasks, slots = make_tasks(samples_of(pairs, rows), config.seed)
    write_jsonl(context.output_dir / "tasks.jsonl", tasks)
    write_jsonl(context.output_dir / "pairs.jsonl", (pair._asdict() for pair in pairs))
    write_atomically(context.output_dir / "slots.json", json.dumps(slots))
    guidelines = context.inputs["guidelines"].external_files[0].read_text(encoding="utf-8")
    write_atomically(context.output_dir / "guidelines.md", guidelines)
    compared = len(policies) * (len(policies) - 1) // 2
    prompts = len(pairs) // compared
    context.say(_plan_text(prompts, needed))
    if equal:
        context.say(f"{equal:,} pairs of answers are equal: there is nothing to judge, and they are left out")
    return {"tasks": len(pairs), "prompts": prompts, "pairs": compared, "equal": equal, "needed": needed}


def _plan_text(prompts: int, needed: int) -> str:
    """Return how small a difference this number of judged prompts shows."""
    text = f"about {rounded(needed)} judged prompts tell a win rate of {RATE:.0%} from 50% in four tests of five"
    if prompts >= needed:
        return f"{text}; {prompts:,} are asked about"
    rate = detectable_rate(prompts)
    least = f"they tell {rate:.0%}" if rate < 1 else "too few to tell any"
    return f"{text}; {prompts:,} prompts are there: {least} (evaluate.prompts and abtest.prompts set their number)"


def summary(metrics: Mapping[str, float]) -> str:
    several = f", {metrics['pairs']:.0f} pairs of policies" if metrics["pairs"] > 1 else ""
    return f"{metrics['tasks']:,.0f} pairs of answers to judge{several}"


STAGE = Stage("blind", BlindConfig, inputs, run, summary, quick=True, keeps_human_work=True, is_side_branch=True)
