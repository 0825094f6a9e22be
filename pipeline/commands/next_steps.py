"""Suggests the next commands in a project. They are complete: a shortened command would run another request."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.config.remembered import Request
from pipeline.config.schema import PipelineConfig
from pipeline.engine.planner import LAST_STAGE, Planner, Step
from pipeline.errors import PipelineError
from pipeline.stages import STAGES
from pipeline.store.artifacts import Store

Line = tuple[str, str]  # (label, command or path)


def next_steps(step: Step, config: PipelineConfig, store: Store, request: Request) -> Iterator[Line]:
    """Yield the results of this finished step, and the commands that can follow it."""
    if step.name == LAST_STAGE:
        yield "Report", str(store.directory(step.name, step.version) / "report.html")
        yield "Next", chat_command(config.evaluate.policies, request)
        yield "", f"{request.command('stage=evaluate', 'dpo.beta=0.1')}   (makes only what changes)"
        return
    yield "Made", str(store.directory(step.name, step.version))
    words = iter(("Next", "", ""))
    if step.stage.makes == "policy":
        yield next(words), chat_command([step.name], request)
    if step.name == "synthesize":
        yield next(words), f"{request.command('stage=sft', 'data.path=synthesize')}   (trains on them)"
        return
    if step.name == "shard":
        yield next(words), f"{request.command('stage=data')}   (merges all shards, once they are finished)"
        return
    planner = Planner(replace(config, stage="all"), store)
    following = successor(planner, step.name)
    if following:
        yield next(words), f"{request.command(f'stage={following.name}')}   {makes(planner, following)}"
    if step.name == "data" and config.data.source == "files" and not config.model.path:
        own = request.command("stage=sft", "model.path=DIR_OR_HUB_ID")
        yield next(words), f"{own}   (from a model of your own, not the embedded tiny one)"
    fault = fault_of(planner)
    if not following and not fault:
        yield next(words), f"{request.command('stage=all')}   (all is made: the report)"
    if fault and (step.name == "data" or step.stage.makes == "policy"):
        yield "Later", fault


def successor(planner: Planner, given: str | None = None) -> Step | None:
    """Return the first step of the chain that is not made and can be planned; None if there is none.

    Steps that need the stage `given` take precedence.
    """
    missing = []
    for name, stage in STAGES.items():
        try:
            step = planner.step(name)
        except PipelineError:
            continue
        if not step.complete and not stage.is_side_branch:
            missing.append(step)
    direct = [step for step in missing if given in step.needs]
    return next(iter(direct or missing), None)


def makes(planner: Planner, step: Step) -> str:
    """Return the steps that would run, as `(makes base, sft)`."""
    return f"(makes {', '.join(one.name for one in planner.to_run(step.name))})"


def fault_of(planner: Planner) -> str:
    """Return why the whole chain cannot be planned; empty if it can."""
    try:
        planner.step(LAST_STAGE)
    except PipelineError as error:
        return str(error)
    return ""


def chat_command(policies: Sequence[str], request: Request) -> str:
    """Return a `chat` command. It reads the stored request, so it needs only the project and its folder."""
    names = [name for name in policies if name != "base"] or ["base"]
    return shlex.join(["python", "-m", "pipeline", "chat", *names, *request.place()])


def as_lines(lines: Iterator[Line] | Sequence[Line]) -> Iterator[str]:
    """Return the lines as text, with the labels in one column."""
    return (f"{word:<8}{text}" for word, text in lines)
