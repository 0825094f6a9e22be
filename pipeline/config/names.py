"""The names that a command line may contain, and suggestions for unknown names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, cast

from pipeline.config.schema import PipelineConfig, stage_names, tuned_stages
from pipeline.errors import RequestError, listed

CONF = Path(__file__).resolve().parents[2] / "conf"
COMMANDS = ("status", "artifacts", "chat", "new")  # first word of a command line, without `=`
FLAGS = {"-h", "--help", "--hydra-help", "--version", "--resolve", "-m", "--multirun"}
FLAGS_WITH_VALUE = {"-c", "--cfg", "-p", "--package", "-i", "--info", "-sc", "--shell-completion"}
PATHS = ("model", "data", "labeling")  # groups that also have a key `path`
FILE_WORDS = ("file", "files", "folder", "dir", "name", "name_or_path")  # other names for `path` in these groups
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of projects, tags, sources, annotators: used in paths
LISTED = 40  # most names listed in one message
SHOWN = 4  # most keys in one hint

HABITS = {  # name in other tools -> our key, its last part, or a whole override
    "lr": "learning_rate", "num_train_epochs": "epochs", "num_epochs": "epochs", "max_seq_length": "max_length",
    "per_device_train_batch_size": "launch.micro_batch_size", "gradient_accumulation_steps": "launch.micro_batch_size",
    "model_name_or_path": "model.path", "model_name": "model.path", "model_id": "model.path",
    "base_model": "model.path", "dataset": "data.path", "dataset_name": "data.path", "train_file": "data.path",
    "file": "data.path", "rankings": "labeling.path", "votes": "labeling.path", "preferences.path": "labeling.path",
    "output_dir": "outputs", "output": "outputs", "out": "outputs", "run_name": "project", "name": "project",
    "gpu": "launch.device", "device": "launch.device", "workers": "launch.data_processes",
    "bf16": "launch.mixed_precision", "nproc_per_node": "launch.processes", "num_processes": "launch.processes",
    "fsdp": "launch.shard=true",
    "lora_r": "peft.rank", "lora_rank": "peft.rank", "lora_alpha": "peft.alpha", "lora": "peft=lora",
    "use_lora": "peft=lora", "qlora": "peft=qlora", "load_in_4bit": "peft=qlora", "wandb": "tracking",
    "report_to": "tracking", "dry_run": "plan=true", "plan": "plan=true", "annotators": "labeling.annotators",
}  # fmt: skip


FORMER_KEYS = {"reward.as_judge": "The judge is a stage of its own: stage=judge, with options judge.…"}

STAGE_HABITS = {  # name in other tools -> our stage
    "train": "sft", "finetune": "sft", "fine_tune": "sft", "rm": "reward", "reward_model": "reward", "rlhf": "ppo",
    "rl": "ppo", "eval": "evaluate", "test": "evaluate", "report": "compare", "label": "publish", "annotate": "publish",
    "rank": "publish", "prepare": "data", "generate": "sample", "run": "all",
}  # fmt: skip


@dataclass(frozen=True)
class Names:
    """All names that may precede a `=`."""

    keys: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]  # group -> its options


@cache
def all_names() -> Names:
    groups = {p.name: tuple(sorted(f.stem for f in p.glob("*.yaml"))) for p in CONF.iterdir() if p.is_dir()}
    return Names(tuple(_keys(PipelineConfig)), {"experiment": (), **groups})


def _keys(node: type, prefix: str = "") -> Iterator[str]:
    for item in fields(node):
        yield prefix + item.name
        if is_dataclass(item.type):
            yield from _keys(cast(type, item.type), f"{prefix}{item.name}.")


def of_launcher(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide overrides into those of Hydra's launcher, which runs the requests of a sweep, and all others."""
    launcher = [text for text in overrides if text.lstrip("+").startswith(("hydra/launcher=", "hydra.launcher."))]
    return launcher, [text for text in overrides if text not in launcher]


# -- hints


def nearest(word: str, words: Any) -> str:
    """Return the end of a message about an unknown word: the nearest valid word, or all of them."""
    known = sorted(map(str, words))
    by_lower = {one.lower(): one for one in known}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{by_lower[close[0]]}'?"
    return f"It can be: {', '.join(known)}." if len(known) <= LISTED else f"None of the {len(known)} names is near it."


def nearest_key(key: str) -> str:
    """Return a suggestion for an unknown key.

    In order: the key for another tool's name, the nearest key of the same node, a key with the same last part or the
    nearest of all keys.
    """
    node, _, last = key.rpartition(".")
    known = [*all_names().keys, *all_names().groups]
    if node in PATHS and last in FILE_WORDS:
        return _did_you_mean([f"{node}.path"])
    habit = HABITS.get(last if node in known else key)
    if habit and node in known and f"{node}.{habit}" in known:
        return f"Did you mean '{node}.{habit}'?"
    if habit and not node:
        return _did_you_mean(_ending_in(habit) if habit not in known else [habit])
    siblings = [k for k in known if k.rpartition(".")[0] == node] if node in known else []
    if siblings:
        return nearest(key, siblings)
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    meant = (close or _ending_in(last)) if node else (_ending_in(last) or close)
    return _did_you_mean(meant) if meant else "`python -m pipeline --help` lists all keys."


def _ending_in(name: str) -> list[str]:
    """Return the keys with this last part: those with fewer parts first, then those of training stages.

    An override, such as `peft=lora`, is returned as it is.
    """
    if "=" in name:
        return [name]
    found = [key for key in all_names().keys if key.rpartition(".")[2] == name]
    return sorted(found, key=lambda key: (key.count("."), key.partition(".")[0] not in tuned_stages()))


def _did_you_mean(meant: Sequence[str]) -> str:
    shown = [f"'{one}'" for one in meant[:SHOWN]]
    return f"Did you mean {' or '.join([', '.join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)}?"


def option_hint(group: str, option: str) -> str:
    """Return a suggestion for an option that a group does not have. It is often a path."""
    options = all_names().groups[group]
    if group in PATHS and _is_path(option):
        return f"Did you mean '{group}.path={option}'?"
    return nearest(option, options) if options else f"There is none in {CONF / group} yet."


def _is_path(text: str) -> bool:
    return "/" in text or bool(re.search(r"\.\w+$", text)) or Path(text).exists()


def stage_hint(text: str) -> str:
    """Return a suggestion for an unknown stage."""
    meant = STAGE_HABITS.get(text.lower().replace("-", "_"))
    return f"Did you mean '{meant}'?" if meant else nearest(text, ["all", *stage_names()])


def word_hint(text: str) -> str:
    """Return a suggestion for an argument without `=`, or with an unquoted special character in its value."""
    key, sign, value = text.partition("=")
    if sign and value:
        return f"Quote a value with special characters: \"{key}='{value}'\"."
    stage = text if text in stage_names() else STAGE_HABITS.get(text.lower().replace("-", "_"))
    if stage:
        return f"Did you mean 'stage={stage}'?"
    if text in ("help", "?"):
        return "Did you mean '--help'?"
    if text == "stage" or text in all_names().groups or text in all_names().keys:
        return f"Write key=value, without spaces: {text}=…"
    if text in HABITS and "=" in HABITS[text]:
        return f"Did you mean '{HABITS[text]}'?"
    if _is_path(text):
        return f"Did you mean 'data.path={text}'?"
    meant = get_close_matches(text, COMMANDS, n=1) or [
        f"stage={one}" for one in get_close_matches(text, stage_names(), n=1)
    ]
    if meant:
        return f"Did you mean {'the command ' if meant[0] in COMMANDS else ''}'{meant[0]}'?"
    return "Write key=value; `python -m pipeline --help` lists keys and stages."


# -- flags


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into (Hydra's flags with their values, overrides).

    Raises `RequestError` for all other flags at once.
    """
    flags: list[str] = []
    overrides: list[str] = []
    wrong: list[str] = []
    rest = list(arguments)
    while rest:
        text = rest.pop(0)
        if not text.startswith("-") or text == "-":
            spaced = _taken_apart(text, rest)
            if spaced:
                wrong.append(
                    f"{' '.join([text, *rest[:spaced]])}: write it without spaces: '{text}={rest[spaced - 1]}'."
                )
                del rest[:spaced]
            else:
                overrides.append(text)
        elif text.partition("=")[0] in FLAGS_WITH_VALUE:
            flags += [text, *([rest.pop(0)] if "=" not in text and rest and "=" not in rest[0] else [])]
        elif text in FLAGS:
            flags.append(text)
        else:
            takes = "=" not in text and rest and "=" not in rest[0] and not rest[0].startswith("-")
            wrong.append(_flag_fault(text, rest.pop(0) if takes else None))
    if wrong:
        raise RequestError(wrong[0] if len(wrong) == 1 else listed(wrong))
    return flags, overrides


def _taken_apart(text: str, rest: Sequence[str]) -> int:
    """Return how many words after a key are its value, written with spaces: 1 in `stage sft`, 2 in `stage = sft`."""
    if text not in all_names().keys or text in stage_names() or not rest:
        return 0
    return 2 if rest[0] == "=" and len(rest) > 1 else int("=" not in rest[0] and not rest[0].startswith("-"))


def _flag_fault(flag: str, value: str | None) -> str:
    """Return a message such as `--stage sft: options are written key=value. Did you mean 'stage=sft'?`."""
    name, sign, behind = flag.lstrip("-").partition("=")
    given = value if value is not None else behind if sign else None
    key = name.replace("-", "_")
    written = f"{flag} {value}" if value is not None else flag
    if given is None and key in (*COMMANDS, *stage_names()):
        return f"{written}: no such flag. Did you mean '{key if key in COMMANDS else f'stage={key}'}'?"
    return f"{written}: options are written key=value. {_meant_override(key, given)}"


def _meant_override(key: str, value: str | None) -> str:
    end = "" if value is None else f"={value}"
    if key in PATHS and value is not None and value not in all_names().groups[key]:
        return f"Did you mean '{key}.path={value}'?"
    if key in all_names().keys or key in all_names().groups:
        return f"Did you mean '{key}{end or '=…'}'?"
    hint = nearest_key(key)
    return re.sub(r"'([^'=]+)'", rf"'\g<1>{end or '=…'}'", hint) if hint.startswith("Did") else hint
