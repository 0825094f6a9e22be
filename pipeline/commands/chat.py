"""The command `chat`: talk to one or several policies side by side. Each one sees only its own answers as history."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.markup import escape
from rich.panel import Panel

from pipeline.commands.request import parser, split, with_last_request
from pipeline.config.nodes.models import DecodingConfig
from pipeline.config.schema import PipelineConfig, stage_names
from pipeline.console import console
from pipeline.engine.machine import limit_threads, threads
from pipeline.engine.planner import Planner
from pipeline.errors import RequestError
from pipeline.lengths.limits import with_limit
from pipeline.model_files.checks import check_model
from pipeline.progress import Advance
from pipeline.stage import FromReference, Reference, Runtime, StageContext, parse_reference, starting_model
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

if TYPE_CHECKING:
    from pipeline.modeling.answering import Answerer

PANEL = 48  # columns needed per policy to print answers side by side
HELP = "/reset begins anew, /quit ends."
LIMIT = "evaluate.decoding.max_new_tokens="


def chat(arguments: Sequence[str]) -> int:
    """Read prompts and print answers in a loop, decoded as in `evaluate`, e.g. evaluate.decoding.temperature=0."""
    words, overrides = split(arguments)
    about = f"Talk to policies side by side. {HELP} Decoding follows evaluate.decoding.*"
    takes = parser("chat", about)
    takes.add_argument("references", nargs="+", metavar="REF", help="base, sft, sft@TAG, or a folder")
    references = list(dict.fromkeys(takes.parse_args(words).references))
    asked = with_last_request(overrides)
    if asked.remark:
        console.print(f"[yellow]{escape(asked.remark)}[/]")
    config, store, overrides = asked.config, asked.store, list(asked.request.overrides)
    policies = {text: _policy(config, store, text) for text in references}
    limit_threads(config)
    with tempfile.TemporaryDirectory(prefix="chat-") as folder:  # conversations are not stored
        answerers = _loaded(config, policies, Path(folder))
        console.print(" · ".join(f"{escape(name)} ({policies[name].reference})" for name in answerers))
        console.print(f"[dim]{HELP}[/]")
        set_here = any(text.startswith(LIMIT) for text in overrides)
        _talk(config, answerers, config.evaluate.decoding if set_here else _long_enough(config, policies))
    return 0


def _long_enough(config: PipelineConfig, policies: Mapping[str, Artifact]) -> DecodingConfig:
    """Return the decoding of `evaluate`, with a limit on new tokens that fits these policies' demonstrations."""
    decoding = config.evaluate.decoding
    _, taught = with_limit(replace(decoding, max_new_tokens=None), policies.values(), lambda remark: None)
    return replace(decoding, max_new_tokens=max(taught, decoding.max_new_tokens or 0))


def _policy(config: PipelineConfig, store: Store, text: str) -> Artifact:
    """Return the policy that `text` names. A stage's name means its latest version, not the one of this request."""
    reference: Reference = parse_reference(text)
    if text == "base" and config.model.path:
        reference = starting_model(config)
    elif text in stage_names():
        reference = FromReference(f"{text}@latest")
    found = Planner(config, store).resolve(reference)
    assert isinstance(found, Artifact)  # none of these references is a step to make
    check_model(found)
    return found


def _loaded(config: PipelineConfig, policies: Mapping[str, Artifact], folder: Path) -> dict[str, "Answerer"]:
    from pipeline.modeling.answering import Answerer

    def context(name: str) -> StageContext:
        place = folder / str(list(policies).index(name))
        place.mkdir()
        runtime = Runtime(config.launch, threads(config))
        return StageContext({}, place, runtime, _silent, console.print, _untracked)

    answerers: dict[str, Answerer] = {}
    for name, artifact in policies.items():
        answerers[name] = Answerer(artifact, context(name), config.seed, beside=answerers.values())
    return answerers


@contextlib.contextmanager
def _silent(what: str, total: int | None) -> Iterator[Advance]:
    yield lambda done: None


def _untracked(metrics: Mapping[str, float], step: int) -> None:
    return


def _talk(config: PipelineConfig, answerers: Mapping[str, "Answerer"], decoding: DecodingConfig) -> None:
    histories: dict[str, list[dict[str, str]]] = {name: [] for name in answerers}
    for turn, typed in enumerate(_prompts()):
        if typed == "/quit":
            return
        if typed == "/reset":
            histories = {name: [] for name in answerers}
            console.print("[dim]A new conversation.[/]")
        elif typed.startswith("/"):
            console.print(f"[dim]{escape(typed)}: no such command. {HELP}[/]")
        elif typed:
            answers = {}
            for name, answerer in answerers.items():
                answerer.seed = config.seed + turn  # a repeated prompt gets another answer
                answers[name] = _answer(answerer, histories[name], typed, decoding, turn)
            _print(answers)


def _answer(
    answerer: "Answerer", history: list[dict[str, str]], typed: str, decoding: DecodingConfig, turn: int
) -> str:
    asked = [*history, {"role": "user", "content": typed}]
    try:
        [answer] = answerer.draw([asked], decoding, f"turn {turn}")
    except RequestError as error:  # the conversation has become too long
        return f"({error} {HELP})"
    history += [asked[-1], {"role": "assistant", "content": answer.text}]
    return answer.text if answer.stopped else f"{answer.text} …"


def _prompts() -> Iterator[str]:
    """Yield one prompt per line until the input ends."""
    with contextlib.suppress(EOFError):
        while True:
            yield input("you> " if sys.stdin.isatty() else "").strip()
    if sys.stdin.isatty():
        print()


def _print(answers: Mapping[str, str]) -> None:
    """Print answers side by side if the terminal is wide enough, else one below the other; plain lines in a pipe."""
    if not sys.stdout.isatty():
        for name, text in answers.items():
            console.print(f"{name}> {text}", markup=False)
        return
    beside = console.width >= PANEL * len(answers)
    width = console.width // len(answers) - 1 if beside else console.width
    panels = [Panel(escape(text), title=escape(name), width=width) for name, text in answers.items()]
    console.print(Columns(panels, padding=(0, 0)), soft_wrap=False)
