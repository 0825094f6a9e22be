"""The command `status`: the stages of a request, their states, and the next command."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pipeline.commands.next_steps import Line, as_lines, makes, next_steps, successor
from pipeline.commands.request import Asked, parser, projects, split, with_last_request
from pipeline.commands.wording import age_text, headline
from pipeline.config.remembered import key_of
from pipeline.console import console
from pipeline.engine.planner import LAST_STAGE, PENDING, Planner, Step, short_version
from pipeline.errors import PipelineError, Unplannable
from pipeline.stages import STAGES
from pipeline.store.artifacts import Store

COLOURS = {"done": "green", "unfinished": "yellow", "being made": "yellow", "waiting": "yellow", "missing": "default"}


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    stage: str
    version: str
    state: str
    age: str = ""
    remark: str = ""


def status(arguments: Sequence[str]) -> int:
    """Print the stages in the order of the chain, with the versions and states for this request."""
    words, overrides = split(arguments)
    parser("status [key=value ...]", "Stages, their versions, and what comes next.").parse_args(words)
    asked = with_last_request(overrides, any_stage=True)
    config, store = asked.config, asked.store
    planner, faults = _planned(asked)
    console.print(f"[bold]{escape(config.project)}[/] · {escape(str(store.root))}")
    if asked.last:
        console.print(f"[dim]last request, {age_text(asked.last.time)}: {escape(asked.last.command())}[/]")
    if asked.remark:
        console.print(f"[yellow]{escape(asked.remark)}[/]")
    if store.stages():
        rows = [_row(store, name, planner.steps.get(name)) for name in STAGES]
        console.print(_table([row for row in rows if row]), soft_wrap=False)
    else:
        console.print("Nothing has been made in this project yet.")
    for fault in faults:
        console.print(f"[yellow]Not possible:[/] {escape(fault)}")
    if faults and asked.last and asked.last.folder != str(Path.cwd()):
        console.print(f"Relative paths of the last request are meant from {escape(asked.last.folder)}")
    for line in as_lines(_next(asked, planner)):
        console.print(escape(line))
    others = [name for name in projects(Path(config.outputs)) if name != config.project]
    if others:
        console.print(f"Others  {escape(', '.join(others))}   (python -m pipeline status project=NAME)")
    return 0


def _planned(asked: Asked) -> tuple[Planner, list[str]]:
    """Plan the request as far as possible. Returns the planner and the faults."""
    planner, faults = Planner(asked.config, asked.store), []
    stage = asked.config.stage
    if stage not in ("all", *STAGES):
        planner.plan()  # raises: no such stage
    last = [text.partition("=")[2] for text in (asked.last.overrides if asked.last else ()) if key_of(text) == "stage"]
    for name in dict.fromkeys((LAST_STAGE, "export", *last) if stage == "all" else (stage,)):
        try:
            if name in STAGES:
                planner.step(name)
        except Unplannable as error:
            faults += error.faults
        except PipelineError as error:
            faults.append(str(error))
    return planner, list(dict.fromkeys(faults))


def _next(asked: Asked, planner: Planner) -> Iterator[Line]:
    """Yield the command that continues the request; if all is done, the results."""
    wanted = LAST_STAGE if asked.config.stage == "all" else asked.config.stage
    target = next((step for step in reversed(planner.steps.values()) if step.name == wanted), None)
    if target is None:
        possible = successor(planner) if asked.config.stage == "all" else None
        if possible:
            yield "Next", f"{asked.request.command(f'stage={possible.name}')}   {makes(planner, possible)}"
        return
    if planner.to_run(target.name):
        yield "Next", f"{asked.request.command()}   {makes(planner, target)}"
    else:
        yield from next_steps(target, asked.config, asked.store, asked.request)


def _row(store: Store, name: str, step: Step | None) -> Row | None:
    versions = store.versions(name)
    if step is None:
        return Row(name, "", "", "", f"not part of this request; {len(versions)} finished") if versions else None
    if step.version == PENDING:
        return Row(name, "", "waiting", "", step.why)
    if not step.complete:
        unfinished = step.version in store.unfinished(name)
        writer = store.writer(name, step.version) if unfinished else None
        state = "being made" if writer else "unfinished" if unfinished else "missing"
        return Row(step.name, short_version(step.version), state, "", f"by {writer}" if writer else step.why)
    try:
        manifest = store.read_manifest(name, step.version)
    except PipelineError:
        says = f"`artifacts verify {name}@{step.version}` shows the damage"
        return Row(step.name, short_version(step.version), "damaged", "", says)
    return Row(step.name, short_version(step.version), "done", age_text(manifest["created"]), headline(manifest))


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 1), show_header=False)
    for row in rows:
        colour = COLOURS.get(row.state, "red")
        table.add_row(row.stage, row.version, f"[{colour}]{row.state}[/]", row.age, escape(row.remark))
    return table
