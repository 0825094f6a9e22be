"""`publish`: tasks for annotators, with the answers in shuffled slots and the slot map in a separate file.

With people, the tasks are also put on their Argilla server. The artifact contains all that is needed to repeat this.
"""

import json
from collections.abc import Callable, Mapping
from typing import cast

from labeling.backend import Question
from labeling.guidelines import shipped
from labeling.quality import choose_calibration, make_checks
from labeling.records import Ranking, make_tasks
from pipeline.config.nodes.people import PublishConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.judgements.loading import LoadingOptions, load_judgements
from pipeline.data.rows import read_jsonl, write_jsonl
from pipeline.errors import RequestError
from pipeline.files import write_atomically
from pipeline.people.rounds import round_of
from pipeline.stage import FromFiles, FromStage, Metrics, PeopleContext, Reference, Stage
from pipeline.store.artifact import Artifact


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    labeling = config.labeling
    gold = {"gold": FromFiles("gold", labeling.gold)} if labeling.gold else {}
    guidelines = labeling.guidelines or str(shipped(cast(Question, labeling.question)))
    return {"sample": FromStage("sample"), "guidelines": FromFiles("guidelines", guidelines), **gold}


def run(config: PublishConfig, context: PeopleContext) -> Metrics:
    samples = read_jsonl(context.inputs["sample"].file("answers.jsonl"))
    tasks, slots = make_tasks(samples, config.seed)  # type: ignore[arg-type]
    everybody, others = choose_calibration(tasks, config.calibration, config.seed)
    gold = _gold(context.inputs["gold"], context.say) if "gold" in context.inputs else []
    try:
        checked = make_checks(everybody, slots, repeats=config.repeats, gold=gold, seed=config.seed)
    except ValueError as error:
        raise RequestError(f"labeling.gold: {error}") from None
    write_jsonl(context.output_dir / "tasks.jsonl", others)
    write_jsonl(context.output_dir / "calibration.jsonl", checked.tasks)
    write_atomically(context.output_dir / "slots.json", json.dumps({**slots, **checked.slot_map}))
    write_atomically(context.output_dir / "checks.json", json.dumps(checked.checks))
    guidelines = context.inputs["guidelines"].external_files[0].read_text(encoding="utf-8")
    write_atomically(context.output_dir / "guidelines.md", guidelines)
    if context.people.named:
        asked = round_of(context.output_dir, cast(Question, config.question), context.people)
        context.people.publish(asked)
        context.say(f"people answer at {context.people.address}; then: stage=collect")
    return {
        "tasks": len(others),
        "calibration": len(everybody),
        "repeats": len(checked.checks["repeats"]),
        "gold": len(gold),
    }


def _gold(given: Artifact, say: Callable[[str], None]) -> list[Ranking]:
    """Return the rankings of the user's file; say how it was read."""
    loaded = load_judgements(given.external_files, LoadingOptions(on_bad_row="error"))
    if loaded.kind != "rankings":
        raise RequestError(f"labeling.gold={given.path}: these are pairs; gold has to be rankings.")
    if not loaded.rankings:
        raise RequestError(f"labeling.gold={given.path}: its answers were marked one by one; gold has to be rankings.")
    for remark in [*loaded.readings, *loaded.remarks]:
        say(f"labeling.gold: {remark}")
    return loaded.rankings


def summary(metrics: Mapping[str, float]) -> str:
    everybody = f", {metrics['calibration']:,.0f} of them by everybody" if metrics.get("calibration") else ""
    return f"{metrics['tasks'] + metrics.get('calibration', 0):,.0f} prompts to rank{everybody}"


STAGE = Stage("publish", PublishConfig, inputs, run, summary, meets_people=True, keeps_human_work=True)
