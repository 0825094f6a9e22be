"""`--help`: usage, and each key with its help text and its value in this request."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.config import compose
from pipeline.config.keys import Key, keys
from pipeline.config.names import all_names, nearest
from pipeline.config.schema import PipelineConfig, stage_names
from pipeline.console import console
from pipeline.errors import RequestError

USAGE = """python -m pipeline [key=value ...]      demonstrations and human rankings in, a better model out

  python -m pipeline                                   all, on the playground
  python -m pipeline stage=sft                         a stage, and what it needs
  python -m pipeline stage=dpo dpo.beta=0.1 peft=lora  makes only what changes
  python -m pipeline plan=true                         what would run, and why
  python -m pipeline -m stage=dpo dpo.beta=0.05,0.1    a sweep

Your own demonstrations, model and judgements:
  python -m pipeline stage=data project=NAME data.path=FILE
  python -m pipeline stage=sft project=NAME data.path=FILE model.path=DIR_OR_HUB_ID
  python -m pipeline project=NAME data.path=FILE model.path=DIR_OR_HUB_ID labeling.path=FILE

  python -m pipeline new NAME --data FILE --model ID   writes an experiment that fits this machine (--gpu GB: a card)
  python -m pipeline status [project=NAME]             what is done, what comes next
  python -m pipeline chat REF...                       talk to policies side by side
  python -m pipeline artifacts ls|show|path|lineage|tag|verify|prune
  python -m pipeline --help NAME...                    some keys alone: --help dpo
"""
EXIT = "0 done, 1 the machine failed, 2 the request is wrong, 3 waiting for people, 130 interrupted"
LONGEST = 34  # longer values are cut, in characters
REPEATED = ("peft", "decoding")  # nodes of several stages, listed once


def show_help(arguments: Sequence[str]) -> int:
    """Print the help for all keys, or for the keys below the names in the arguments.

    Raises `RequestError` for an unknown name.
    """
    wanted = [text for text in arguments if "=" not in text]
    config = compose.load([text for text in arguments if "=" in text])
    known = list(keys())
    wrong = [text for text in wanted if text not in {key.name for key in known}]
    if wrong:
        raise RequestError(f"--help {wrong[0]}: no such key. {nearest(wrong[0], all_names().keys)}")
    if wanted:
        known = [key for key in known if any(f"{key.name}.".startswith(f"{text}.") for text in wanted)]
    else:
        console.print(escape(USAGE))
        console.print(f"stages: {' '.join(stage_names())}   (stage=all ends with compare)", soft_wrap=False)
        console.print(f"exit status: {EXIT}\n", soft_wrap=False)
        console.print("Options, chosen with group=option:")
        console.print(_table((f"  {group}", ", ".join(names)) for group, names in all_names().groups.items() if names))
        console.print("\nKeys, set with key=value; beside each stands the value that it has in this request:")
    console.print(_table(_rows(known, config, whole=bool(wanted))), soft_wrap=False)
    return 0


def _rows(known: Sequence[Key], config: PipelineConfig, *, whole: bool) -> Iterator[tuple[str, str]]:
    """Yield (key=value, help text) rows, with a row for each node before its keys."""
    left_out: list[str] = []
    seen: set[type] = set()
    for key in known:
        last = key.name.rpartition(".")[2]
        if key.name.startswith(tuple(left_out)):
            continue
        if key.node and last in REPEATED and key.node in seen and not whole:
            left_out.append(f"{key.name}.")
            yield f"  {key.name}.…", f"as {last}.…, for this stage alone" if last == "peft" else "as above"
        elif key.node:
            seen.add(key.node)
            yield f"[bold]{key.name}[/]", f"[bold]{escape(key.words)}[/]"
        else:
            options = f" ({', '.join(key.options)})" if key.options else ""
            yield f"  {key.name}={escape(_short(_value(config, key.name)))}", escape(key.words + options)


def _table(rows: Iterator[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=max(36, console.width * 2 // 5))
    table.add_column()
    for row in rows:
        table.add_row(*row)
    return table


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def _short(value: Any) -> str:
    """Return a value as written on a command line, cut to `LONGEST` characters."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
