"""Runs a plan: skips finished steps, and makes the others when their inputs exist, several at once if possible."""

import contextlib
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from textwrap import shorten

from rich.markup import escape

from pipeline.config.remembered import Request, left_out, recall, remembering
from pipeline.config.schema import PipelineConfig
from pipeline.console import console, errors, seconds_text
from pipeline.engine import launcher
from pipeline.engine.distribution import check_processes
from pipeline.engine.durations import cost_lines
from pipeline.engine.fitting import SERVED, UNPLANNED, check_fits, is_served, lines_of, plan_of
from pipeline.engine.group import is_launched
from pipeline.engine.machine import limit_threads, parallel
from pipeline.engine.maker import Maker
from pipeline.engine.paths import missing_files
from pipeline.engine.planner import PENDING, UP_TO_DATE, Planner, Step, short_version
from pipeline.engine.prefixes import check_prefixes
from pipeline.engine.servers import check_servers
from pipeline.engine.team import Team
from pipeline.engine.workers import Workers
from pipeline.errors import PipelineError, RequestError, WaitingForPeople
from pipeline.people.annotators import People
from pipeline.progress import BOARD, REPORTER
from pipeline.services.tracking import mode_of
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

Crew = Workers | Team | launcher.Launched

MIN_COLUMNS_FOR_INPUTS = 114  # narrower terminals omit the inputs ("from …") on a stage's line


def run(config: PipelineConfig, request: Request | None = None) -> list[Step]:
    """Make the requested stage and its inputs. Returns the steps of the chain; their artifacts are in the store.

    Stores the request as the project's last one. Raises `WaitingForPeople` if people have to answer first. If a stage
    fails, only the stages that need it are not made; its error is raised after the others are done.
    """
    config = launcher.with_launched_processes(config)
    store = Store(Path(config.outputs), config.project)
    planner = Planner(config, store)
    steps = planner.plan()
    _check_possible(config, planner.to_run())
    BOARD.begin()
    to_run = {step.name for step in planner.to_run()}
    console.print(heading(config, len(to_run)))
    _remark_on_left_out(store, request)
    for fault in missing_files(config):
        REPORTER.say(f"{fault} This request does not need it.")
    if config.plan:
        _print_plan(planner, config, store)
        return steps
    for step in planner.to_run():
        check_fits(step, config, store)
    limit_threads(config)
    printed: set[str] = set()
    with (
        remembering(store.root, request, lambda: bool(printed & to_run)),
        People(config.labeling, config.project, REPORTER.say, store.root) as people,
        _crew(config, planner) as crew,
    ):
        if any(step.stage.meets_people for step in planner.to_run()[1:]):
            people.prepare()
        maker = Maker(config, store, people, REPORTER)
        settled: dict[str, str] = {}
        while (answers := Run(planner, maker, crew, settled, printed).run_all()) is not None:
            settled[answers.stage] = answers.version
            planner = Planner(config, store, settled)
            steps = planner.plan()
    if config.tag:
        store.point(steps[-1].name, config.tag, steps[-1].version)
    return steps


def _check_possible(config: PipelineConfig, steps: Sequence[Step]) -> None:
    """Raise `RequestError` for a step that cannot run so: in several processes, with a prefix, or by a server."""
    check_processes(config, [step.name for step in steps if step.stage.is_distributed])
    check_prefixes(config, [step.name for step in steps])
    check_servers(config, [step.name for step in steps])


def _remark_on_left_out(store: Store, request: Request | None) -> None:
    """Remark on model and data overrides that the last request had and this one lacks: the chain is a different one."""
    with contextlib.suppress(RequestError):  # `status` reports a damaged file
        last = recall(store.root)
        named = left_out(last, request) if last and request else []
        if named:
            listed = " ".join(shlex.quote(text) for text in named)
            REPORTER.say(f"unlike the last request of this project, this one does not have {listed}")


def _crew(config: PipelineConfig, planner: Planner) -> Crew:
    """Return the processes that make steps beside this one."""
    if is_launched():
        return launcher.Launched(config)
    return Team(config) if config.launch.processes > 1 else Workers(config, _at_once(config, planner))


def _at_once(config: PipelineConfig, planner: Planner) -> int:
    """Return how many steps of this plan run at once: one, unless two steps do not depend on each other."""
    needed = {step.name: step.needs for step in planner.to_run()}
    for name in needed:  # upstream first
        needed[name] |= {further for one in list(needed[name]) for further in needed.get(one, ())}
    apart = any(a not in needed[b] and b not in needed[a] for a in needed for b in needed if a != b)
    return parallel(config) if apart else 1


class Run:
    """One pass through a plan."""

    def __init__(self, planner: Planner, maker: Maker, crew: Crew, settled: dict[str, str], printed: set[str]) -> None:
        self.steps = planner.steps
        self.maker, self.crew, self.settled, self.printed = maker, crew, settled, printed
        self.to_run = {step.name for step in planner.to_run()}
        self.heights = _heights(self.steps.values())
        self.open = [step for step in self.steps.values() if step.name in self.to_run or step.complete]
        self.done: set[str] = set()
        self.failed: dict[str, PipelineError] = {}
        self.answers: Artifact | None = None

    def run_all(self) -> Artifact | None:
        """Make all steps that can be made. Returns the artifact of new answers from people, or None.

        Raises the errors of failed steps as one.
        """
        while self._start_ready_steps() or self.crew.busy:
            if self.crew.busy:
                name, made = self.crew.next_result()
                self._settle(self.steps[name], made)
        if self.failed:
            raise _all_in_one(self.failed)
        return self.answers

    def _start_ready_steps(self) -> bool:
        """Start the possible steps and return whether there was one. Without workers, run a single step to its end."""
        started = False
        for step in self._ready_steps():
            self._start(step)
            started = True
            if not self.crew.is_a_crowd:
                break
        return started

    def _ready_steps(self) -> Iterator[Step]:
        """Yield the steps with all inputs made: in the chain's order, or with workers the longest path first."""
        ordered = sorted(self.open, key=lambda step: -self.heights[step.name]) if self.crew.is_a_crowd else [*self.open]
        for step in ordered:
            if step.complete or (step.needs & self.to_run <= self.done and self._is_ready(step)):
                yield step

    def _is_ready(self, step: Step) -> bool:
        """Whether a step may start now. After new answers, no step starts, because a new plan follows."""
        if self.answers is not None or (step.version == PENDING and not step.asks):
            return False
        return step.stage.meets_people or not self.crew.is_a_crowd or self.crew.has_room

    def _start(self, step: Step) -> None:
        self.open.remove(step)
        if step.complete:
            self.maker.store.point(step.name, "latest", step.version)
            self.maker.welcome(step)
            self._settle(step, self.maker.store.open(step.name, step.version))
        elif self.crew.takes(step):
            self.crew.start(step, self.settled)
        else:
            self.maker.group = self.crew.group_for(step, self.settled)
            try:
                self._settle(step, self.maker.make(step))
            except PipelineError as error:
                self._settle(step, error)

    def _settle(self, step: Step, made: Artifact | PipelineError) -> None:
        """Record the result of a step and print its line."""
        if isinstance(made, PipelineError):
            self.failed[step.name] = made
            others = self.crew.busy or any(True for _ in self._ready_steps())
            if others and not isinstance(made, WaitingForPeople):
                errors.print(f"[red] {step.name:<12}failed[/]; stages that do not need it continue")
            return
        self.done.add(step.name)
        if step.name not in self.printed:
            console.print(line(step, made, step.name in self.to_run))
            if step.complete and step.why != UP_TO_DATE:
                REPORTER.say(step.why)
        self.printed.add(step.name)
        if step.asks:
            self.answers = made


def _heights(steps: Collection[Step]) -> dict[str, int]:
    """Map each step to the number of steps on its longest path to the end of the chain. `steps` is upstream first."""
    heights = {step.name: 1 for step in steps}
    for step in reversed([*steps]):
        for name in step.needs:
            heights[name] = max(heights[name], heights[step.name] + 1)
    return heights


def _all_in_one(failed: dict[str, PipelineError]) -> PipelineError:
    """Return one error for all. Faults take precedence over waiting; several become one of the first fault's type."""
    faults = [error for error in failed.values() if not isinstance(error, WaitingForPeople)]
    if len(faults) > 1:
        return type(faults[0])("\n".join(map(str, faults)))
    return (faults or list(failed.values()))[0]


def _print_plan(planner: Planner, config: PipelineConfig, store: Store) -> None:
    to_run, processes = planner.to_run(), config.launch.processes
    for step in planner.steps.values():
        action = "run " if step in to_run else "skip"
        why = step.why if step in to_run or step.complete else "not needed"
        peft = getattr(step.config, "peft", None)
        tuned = f" · {peft.method}, learning rate {step.config.learning_rate:g}" if peft else ""
        together = f" · {processes} processes" if processes > 1 and step.stage.is_distributed else ""
        console.print(f" {step.name:<12}{short_version(step.version):<4}  {action}  {escape(why)}{tuned}{together}")
        plan = plan_of(step, config, store) if step in to_run else None
        for text in (*lines_of(plan, config), *cost_lines(plan, config, store)) if plan else ():
            console.print(f"{'':<24}[dim]{escape(text)}[/]")
        if step in to_run and plan is None and step.stage.rows:
            console.print(f"{'':<24}[dim]memory is not planned: {SERVED if is_served(step) else UNPLANNED}[/]")


def heading(config: PipelineConfig, running: int) -> str:
    """Return the first line of output: project, device, tracking mode, and whether annotators are simulated."""
    mode = mode_of(config.tracking)
    parts = [f"[bold]{config.project}[/]", f"device {config.launch.device}", f"tracking {mode}"]
    if config.launch.processes > 1:
        parts.insert(2, f"{config.launch.processes} processes")
    if config.labeling.backend != "file" and not config.labeling.annotators and config.data.source == "playground":
        parts.append("annotators are [bold]SIMULATED[/]")
    if not running and not config.plan:
        parts.append("everything is up to date: nothing to run")
    return " · ".join(parts)


def line(step: Step, artifact: Artifact, ran: bool) -> str:
    """Return a step's line: `sft  c3d2  from base a91c, data 77e0  eval loss 1.41  31 s`."""
    made_from = ", ".join(f"{given.stage} {short_version(given.version)}" for given in artifact.inputs.values())
    took = seconds_text(artifact.manifest["seconds"]) if ran else "up to date"
    origin = shorten(f"from {made_from}", 36, placeholder=" …") if made_from else ""
    origin_text = f"{origin:<37}" if console.width >= MIN_COLUMNS_FOR_INPUTS else ""
    return (
        f" {step.name:<12}{short_version(artifact.version)}  "
        f"{origin_text}{step.stage.summary(artifact.metrics):<45}{took:>12}"
    )
