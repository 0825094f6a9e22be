"""Plans the memory of a chain's steps, and refuses those that cannot fit this machine before they start."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.config.schema import PipelineConfig
from pipeline.engine.machine import device_of, free_memory
from pipeline.engine.planner import Step
from pipeline.engine.remedies import remedy
from pipeline.engine.starts import lengths_of, longest_of, start_of
from pipeline.errors import RequestError
from pipeline.memory.estimates import Device, Longest, Start, held_by, memory_of
from pipeline.memory.phases import Memory
from pipeline.store.artifacts import Store

UNPLANNED = "the architecture of this model is not known to the memory plan"
SERVED = "a server draws, and the largest part of the work is its own"
LEAST = 64  # tokens of a row that any data has: with these, a run that does not fit is refused at once
SHOWN = 0.02  # smallest share of a part that is listed
MARGIN = 1.15  # plans are right to 15% (benchmarks/memory.py): more than that over the free memory cannot fit


@dataclass(frozen=True)
class Plan:
    """The memory of one step on this machine."""

    step: Step
    memory: Memory
    least: Memory  # with rows as short as any
    start: Start
    longest: Longest
    read: bool  # whether the rows are there and their lengths were counted
    device: Device

    @property
    def fits(self) -> bool | None:
        """Whether it fits the free memory; None if that is not known."""
        free = free_memory(self.device)
        return None if free is None else self.memory.total <= free

    @property
    def cannot_fit(self) -> bool:
        """Whether it does not fit, however short the rows that are not read yet are, and by more than the plan errs."""
        free = free_memory(self.device)
        needed = (self.memory if self.read else self.least).total
        return free is not None and needed > MARGIN * free


def plan_of(step: Step, config: PipelineConfig, store: Store) -> Plan | None:
    """Return the memory plan of a step; None if it loads no model, if a server draws, or if its memory is not known.

    A stage that trains loads its model, whoever draws.
    """
    start = start_of(step, config)
    if step.stage.rows is None or start is None or (is_served(step) and not step.stage.generates):
        return None
    device = device_of(config)
    found = lengths_of(step, store)
    longest = longest_of(step, start, found, store)
    given = (step.stage, step.config, config.launch, start)
    least = replace(longest, row=LEAST, prompt=LEAST // 2, new=min(longest.new, LEAST // 2), predicted=None)
    return Plan(
        step, memory_of(*given, longest, device), memory_of(*given, least, device), start, longest, bool(found), device
    )


def is_served(step: Step) -> bool:
    """Whether a server draws the answers of a step."""
    return getattr(step.config, "drawn_by", "hf") != "hf"


def check_fits(step: Step, config: PipelineConfig, store: Store) -> None:
    """Raise `RequestError` if a step cannot fit this machine, unless `launch.force=true`."""
    plan = None if config.launch.force else plan_of(step, config, store)
    if plan is not None and plan.cannot_fit:
        raise RequestError(refusal(plan, config))


# -- words -------------------------------------------------------------------------------------------------------------


def refusal(plan: Plan, config: PipelineConfig) -> str:
    """Return why a step cannot start, and what makes it fit."""
    memory = plan.memory if plan.read else plan.least
    free = free_memory(plan.device)
    assert free is not None
    return (
        f"{plan.step.name} cannot fit: it needs about {size_text(memory.total)} ({parts_text(memory)}), and "
        f"{place_text(plan.device)} has {size_text(free)} free. {remedy_text(plan, config)} "
        "launch.force=true runs it all the same."
    )


def remedy_text(plan: Plan, config: PipelineConfig) -> str:
    """Return the sentence with the change that makes a step fit."""
    free = free_memory(plan.device)
    if free is None:
        return ""
    found = remedy(plan.step.stage, plan.step.config, config, plan.start, plan.longest, plan.device, free)
    return f"With {found} it fits." if found else "No setting makes it fit: take a smaller model, or another machine."


def lines_of(plan: Plan, config: PipelineConfig) -> Iterator[str]:
    """Yield the lines of a plan: parameters and rows, memory by part, whether it fits and what would make it fit."""
    held = plan.start.shape.parameters
    peft = getattr(plan.step.config, "peft", None)
    trained = ""
    if peft:
        own = held_by(plan.step.stage, peft, config.launch, plan.start, plan.device)
        trained = f", {count_text(own.trainable)} trained"
    yield f"{count_text(held)} parameters{trained}; {rows_text(plan)}"
    free, place = free_memory(plan.device), place_text(plan.device)
    needed = f"{size_text(plan.memory.total)} at the peak ({plan.memory.peak}): {parts_text(plan.memory)}"
    if free is None:
        yield f"{needed}; {place} cannot be asked for its free memory"
        return
    verdict = "fits" if plan.fits else "does not fit" if plan.memory.total > MARGIN * free else "may not fit"
    yield f"{verdict} in {size_text(free)} free on {place}: {needed}"
    if not plan.fits:
        yield remedy_text(plan, config)


def rows_text(plan: Plan) -> str:
    longest, config = plan.longest, plan.step.config
    seen = "longest" if plan.read else "assumed until they are there"
    if not hasattr(config, "peft"):
        most = f", at most {config.decoding.batch_size} at once" if config.decoding.batch_size else ""
        return f"prompts of {longest.prompt:,} tokens ({seen}), answers of {longest.new:,}{most}"
    if plan.step.stage.generates:
        tokens = config.rollouts * (longest.prompt + longest.new)
        return f"{tokens:,} tokens an iteration: prompts of {longest.prompt:,} ({seen}), answers of {longest.new:,}"
    passes = plan.step.stage.rows.passes if plan.step.stage.rows else 1
    tokens = config.batch_size * max(passes, longest.answers) * longest.row
    return f"up to {tokens:,} tokens a step: rows of {longest.row:,} ({seen})"


def parts_text(memory: Memory) -> str:
    """Return the parts of the peak, the largest first."""
    parts = sorted(memory.parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {size_text(size)}" for name, size in parts if size >= SHOWN * memory.total)


def place_text(device: Device) -> str:
    return "the GPU" if device == "cuda" else "this machine"


def size_text(size: float) -> str:
    """Format bytes as `5.96 GB` or `310 MB`, in units of 1,024."""
    return f"{size / 2**30:,.1f} GB" if size >= 2**30 else f"{size / 2**20:,.0f} MB"


def count_text(count: float) -> str:
    """Format a number of parameters as `8.03 B` or `135 M`."""
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count:,.0f}"
