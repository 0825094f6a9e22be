"""Every command in README.md and docs/ is one: it composes, it parses, or what it names exists."""

import argparse
import itertools
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import labeling.commands
from labeling.backend import LabelingError
from labeling.server import DEFAULT_PORT
from labeling.server.connection import KEY_VARIABLE, URL_VARIABLE
from pipeline import commands
from pipeline.config import compose
from pipeline.config.names import all_names
from pipeline.config.schema import stage_names
from pipeline.errors import RequestError
from tests.places import ROOT
from tests.unit.docs.documents import DOCUMENTS, Line, blocks, command_lines, links, spans

LANGUAGES = {"bash", "text", "json", "python", "yaml", "markdown"}
LINES = [line for document in DOCUMENTS for line in command_lines(document)]
OVERRIDE = re.compile(r"'?[a-z_]+(@[a-z_.]+)?(\.[a-z_]+)*=\S.*")
KEY = re.compile(r"[a-z_]+(\.[a-z_]+)+")
FILES = ("data.path=a.jsonl", "model.path=a/b")
CONTEXTS = {  # how a setting begins -> what has to be given for it to mean something; else FILES
    "experiment=frontier": (),  # on the playground
    r"labeling\.(path|format|columns|codes|on_bad_row|max_bad_fraction)|labeling=file|experiment=": (
        *FILES,
        "labeling.path=b.jsonl",
    ),
    r"labeling\.question=pairwise": (*FILES, "sample.answers=2"),
    r"labeling\.overlap=\d\.\.": (*FILES, "labeling.annotators=[a,b,c,d]"),
    r"data\.m(ax|in)_length": (*FILES, "data.tokenizer=a/b"),
    r"ppo\.combine": (*FILES, "ppo.rewards=[{source: reward@a}, {source: reward@b}]"),
    r"sample\.disagreement": (*FILES, "sample.choose=active", "sample.prompts=100", "sample.inputs.reward=reward"),
    r"ppo\.(drawn_by|importance_cap)": (
        *(*FILES, "peft=lora", "ppo.drawn_by=vllm"),
        "generation.servers=[{policy: rollouts, url: http://HOST/v1}]",
    ),
    r"dpo\.label_noise": (*FILES, "dpo.trainer.loss_type=cdpo"),
    r"generation\.|hydra": (*FILES, "generation=vllm"),
    r"sample\.(choose|candidates|drawn)": (
        *(*FILES, "sample.choose=active", "sample.prompts=100"),
        "sample.inputs.reward=reward@VERSION",
    ),
}


class Parsed(Exception):
    """The arguments are right; nothing has been done."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end after their arguments are read."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *given: Sequence[str]) -> None:
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)


def pipeline(words: list[str]) -> None:
    """Composed as with `plan=true`; a command beside the chain is parsed."""
    if words and words[0] in commands.COMMANDS:
        compose.check([word for word in words if "=" in word])
        with pytest.raises(Parsed):
            commands.COMMANDS[words[0]](words[1:])
    elif words and words[0] == "--help":
        assert set(words[1:]) <= {key for name in all_names().keys for key in [name, name.partition(".")[0]]}
    else:
        sweep = words[:1] == ["-m"]
        (compose.check if sweep else compose.read)(words[sweep:])


def asking(words: list[str]) -> None:
    with pytest.raises(Parsed):
        labeling.commands.COMMANDS[words[0]](words[1:])


def launcher(words: list[str]) -> None:
    """The request behind a launcher's own options."""
    start = words.index("-m")
    assert words[start + 1] == "pipeline"
    pipeline(words[start + 2 :])


def make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)
    assert {word.partition("=")[0] for word in words if "=" in word} <= {"ARGS", "PYTHON"}


def pip(words: list[str]) -> None:
    assert words[:2] == ["install", "-c"]
    assert (ROOT / words[2]).is_file()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert words[3] == "-e"
    assert words[4].removeprefix(".[").removesuffix("]") in extras


def variables(words: list[str]) -> None:
    assert {word.partition("=")[0] for word in words} <= {URL_VARIABLE, KEY_VARIABLE}


def tunnel(words: list[str]) -> None:
    assert words[:2] == ["-L", f"{DEFAULT_PORT}:127.0.0.1:{DEFAULT_PORT}"]


def script(words: list[str]) -> None:
    assert os.access(ROOT / words[0], os.X_OK) or (ROOT / words[0]).suffix == ".py"


def module(words: list[str]) -> None:
    assert (ROOT / f"{words[0].replace('.', '/')}.py").is_file()


RULES: tuple[tuple[str, Callable[[list[str]], None]], ...] = (  # how a line begins, and what is done with the rest
    ("python -m pipeline", pipeline),
    ("python -m labeling", asking),
    ("python -m", module),
    ("torchrun", launcher),
    ("accelerate launch", launcher),
    ("make", make),
    ("pip", pip),
    ("export", variables),
    ("ssh", tunnel),
    ("", script),
)


def rule_for(words: Sequence[str]) -> tuple[Callable[[list[str]], None], list[str]]:
    """The rule that covers a line, and the words behind its beginning. Raises LookupError where there is none."""
    for beginning, check in RULES:
        known = beginning.split()
        if list(words[: len(known)]) == known and (known or (ROOT / words[0]).is_file()):
            return check, list(words[len(known) :])
    raise LookupError(f"no rule covers: {' '.join(words)}")


def run(words: Sequence[str]) -> None:
    """Check a line by its rule."""
    check, rest = rule_for(words)
    check(rest)


def test_every_code_block_says_what_it_holds() -> None:
    every = [block for document in DOCUMENTS for block in blocks(document)]
    assert [(block.document.name, block.line) for block in every if block.language not in LANGUAGES] == []


def test_commands_were_found() -> None:
    assert len(LINES) > 30


@pytest.mark.parametrize("line", LINES, ids=str)
def test_every_command_is_one(line: Line, parse_only: None) -> None:
    run(line.words)


@pytest.mark.parametrize(
    "wrong",
    [
        *("python -m pipeline stage=stf", "python -m pipeline dpo.bta=0.3", "python -m pipeline artifacts lst"),
        *(
            "python -m pipeline peft=lora,qlora",
            "python -m pipeline chat",
            "python -m labeling users add a --worspace x",
        ),
        *("python -m labeling export a.jsonl", "make demos", "pip install -c constraints.txt -e .[label]"),
        *("bin/nothing", "curl https://example.com"),
    ],
)
def test_a_wrong_command_is_found(wrong: str, parse_only: None) -> None:
    """Else the test above would pass whatever stands there."""
    with pytest.raises((AssertionError, LookupError, RequestError, LabelingError)):
        run(wrong.split())


def written(span: str) -> Iterator[str]:
    """The overrides that a span stands for: `peft=full|lora` is two."""
    key, _, value = span.strip("'").partition("=")
    options = value.split("|") if re.fullmatch(r"\w+(\|\w+)+", value) else [value]
    yield from (f"{key}={option}" for option in options)


def requests(overrides: Sequence[str]) -> list[dict[str, str]]:
    """As few requests as have all these settings, each with what its settings need; key -> setting."""
    found: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for text in dict.fromkeys(overrides):
        key = text.partition("=")[0]
        context = next((given for beginning, given in CONTEXTS.items() if re.match(beginning, text)), FILES)
        place = next((one for one in found[context] if key not in one), None)
        if place is None:
            found[context].append(place := {given.partition("=")[0]: given for given in context})
        place[key] = text
    return [one for some in found.values() for one in some]


def settings() -> list[str]:
    """The settings in all texts, each once: to compose them takes its time."""
    every = [span for document in DOCUMENTS for span in spans(document)]
    given = [span for span in every if OVERRIDE.fullmatch(span) and " " not in span.partition("{")[0]]
    return list(dict.fromkeys(text for span in given for text in written(span)))


def test_every_stage_in_the_texts_is_one() -> None:
    stages = [text.removeprefix("stage=") for text in settings() if text.startswith("stage=")]
    assert set(stages) <= {"all", *stage_names()}


REQUESTS = requests([text for text in settings() if not text.startswith("stage=")])


@pytest.mark.parametrize("request_", REQUESTS, ids=range(len(REQUESTS)))
def test_every_setting_in_the_texts_composes(request_: dict[str, str]) -> None:
    compose.read([*request_.values()])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_key_in_the_text_exists(document: Path) -> None:
    known, nodes = set(all_names().keys), {*stage_names(), "model", "labeling", "tracking", "launch", "peft"}
    open_mappings = re.compile(r"\w+\.(trainer|inputs|columns|codes)\.\w+")
    named = [span for span in spans(document) if KEY.fullmatch(span) and span.partition(".")[0] in nodes]
    files = {path.name for path in itertools.chain((ROOT / "pipeline").rglob("*"), (ROOT / "labeling").rglob("*"))}
    wrong = [key for key in named if key not in known and not open_mappings.fullmatch(key) and key not in files]
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_commands_in_the_text_are_commands(document: Path, parse_only: None) -> None:
    for span in spans(document):
        if span.startswith(("python ", "make ", "ssh ", "pip ", "export ARGILLA")):
            run(Line(document, 0, span).words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_file_that_is_named_exists(document: Path) -> None:
    """Links, and spans that look like a path of this repository."""
    folders = ("pipeline/", "labeling/", "docs/", "conf/", "tests/", "benchmarks/", ".ci/")
    named = [span.partition(" ")[0] for span in spans(document) if span.startswith(folders)]
    assert [name for name in named if not re.search(r"[A-Z*{]{2,}", name) and not (ROOT / name).exists()] == []
    assert [link for link in links(document) if "://" not in link and not (document.parent / link).exists()] == []


# -- the tree ----------------------------------------------------------------------------------------------------------


def tree() -> list[str]:
    """The paths in the README's tree, by their indentation."""
    [body] = [block.body for block in blocks(ROOT / "README.md") if block.body.startswith("conf/")]
    paths: list[str] = []
    folders: dict[int, str] = {}
    for line in body.splitlines():
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        above = "".join(folders[level] for level in sorted(folders) if level < indent)
        folders = {level: folder for level, folder in folders.items() if level < indent}
        if name.endswith("/"):
            folders[indent] = name
        paths.append(above + name)
    return paths


def test_everything_in_the_tree_exists() -> None:
    assert [path for path in tree() if not (ROOT / path).exists()] == []
    assert [path for path in tree() if path.endswith("/") != (ROOT / path).is_dir()] == []


def test_every_room_is_in_the_tree() -> None:
    rooms = [f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "pipeline").glob("*/__init__.py")]
    rooms += [f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "labeling").glob("*/__init__.py")]
    assert set(rooms) <= set(tree())
