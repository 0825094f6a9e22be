"""`status`: what this request asks for, what of it is done, and what comes next."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pipeline.artifacts import NAME, Store
from pipeline.commands.request import parser, project, split
from pipeline.commands.wording import age_text, headline
from pipeline.config import PipelineConfig
from pipeline.console import console
from pipeline.errors import PipelineError
from pipeline.planner import LAST, PENDING, Planner, Step, short
from pipeline.stages import STAGES

COLOURS = {"done": "green", "unfinished": "yellow", "being made": "yellow", "waiting": "yellow", "missing": "default"}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    stage: str
    version: str
    state: str
    age: str = ""
    remark: str = ""


def status(arguments: Sequence[str]) -> int:
    """Stages in the order of the chain, with the versions that this request asks for."""
    words, overrides = split(arguments)
    parser("status [key=value ...]", "Stages, their versions, and what comes next.").parse_args(words)
    config, store = project(overrides)
    planner, faults = _planned(config, store)
    console.print(f"[bold]{escape(config.project)}[/] · {escape(str(store.root))}")
    if store.stages():
        asked = planner.steps.values()
        named = {name: [step for step in asked if step.name == name] for name in STAGES}
        rows = [_row(store, name, step) for name, steps in named.items() for step in steps or (None,)]
        console.print(_table([row for row in rows if row]), soft_wrap=False)
    else:
        console.print("Nothing has been made in this project yet.")
    for fault in faults:
        console.print(f"[yellow]Not possible:[/] {escape(fault)}")
    for word, text in _next(config, store, planner, overrides):
        console.print(f"{word:<8}{escape(text)}")
    others = _other_projects(Path(config.outputs), config.project)
    if others:
        console.print(f"Others  {escape(', '.join(others))}   (python -m pipeline status project=NAME)")
    return 0


def _planned(config: PipelineConfig, store: Store) -> tuple[Planner, list[str]]:
    """The request as far as it can be planned, and why not further."""
    planner, faults = Planner(config, store), []
    if config.stage not in ("all", *STAGES):
        planner.plan()  # says that there is no such stage
    for name in (LAST, "export") if config.stage == "all" else (config.stage,):
        try:
            planner.step(name)
        except PipelineError as error:
            faults.append(str(error))
    return planner, list(dict.fromkeys(faults))


def _next(
    config: PipelineConfig, store: Store, planner: Planner, overrides: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """The command that goes on from here; where all is done, the results."""
    wanted = LAST if config.stage == "all" else config.stage
    target = next((step for step in reversed(planner.steps.values()) if step.name == wanted), None)
    if target is None:
        return
    missing = [step.title for step in planner.to_run(target.title)]
    if missing:
        yield "Next", f"{shlex.join(['python', '-m', 'pipeline', *overrides])}   (makes {', '.join(missing)})"
        return
    if target.name == LAST:
        yield "Report", str(store.directory(target.name, target.version) / "report.html")
        yield "Next", shlex.join(["python", "-m", "pipeline", "chat", *_latest_policies(config), *_where(overrides)])
    else:
        yield "Made", str(store.directory(target.name, target.version))


def _latest_policies(config: PipelineConfig) -> list[str]:
    return [name for name in config.evaluate.policies if name != "base"] or ["base"]


def _where(overrides: Sequence[str]) -> list[str]:
    return [text for text in overrides if text.startswith(("project=", "outputs="))]


def _other_projects(outputs: Path, own: str) -> list[str]:
    """Folders beside this project's that hold artifacts of any stage."""
    beside = sorted(p.name for p in outputs.iterdir() if p.is_dir()) if outputs.is_dir() else []
    names = [name for name in beside if NAME.fullmatch(name) and name != own]
    return [name for name in names if set(Store(outputs, name).stages()) & set(STAGES)]


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
        return Row(step.title, short(step.version), state, "", f"by {writer}" if writer else step.why)
    try:
        manifest = store.read_manifest(name, step.version)
    except PipelineError:
        says = f"`artifacts verify {name}@{step.version}` says more"
        return Row(step.title, short(step.version), "damaged", "", says)
    return Row(step.title, short(step.version), "done", age_text(manifest["created"]), headline(manifest))


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 1), show_header=False)
    for row in rows:
        colour = COLOURS.get(row.state, "red")
        table.add_row(row.stage, row.version, f"[{colour}]{row.state}[/]", row.age, escape(row.remark))
    return table
