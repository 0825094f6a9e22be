"""Stores a project's last request in `outputs/PROJECT/request.yaml`, for `status`, `chat` and "Next".

A project's name does not define it: its requests name the model, files and judgements. A command that leaves some of
them out would run something else under the same name.
"""

import contextlib
import shlex
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from pipeline.config.following import RULES, Rule
from pipeline.errors import RequestError
from pipeline.files import write_atomically

FILE = "request.yaml"
ABOUT_A_RUN = ("plan", "tag", "shard.number")  # apply to one run only, not to the next
HEAD = "# The last request of this project: `status`, `chat` and suggestions of next commands use it.\n"


@dataclass(frozen=True)
class Request:
    """A user's request: the overrides as written, the working directory and the time."""

    overrides: tuple[str, ...]
    folder: str = ""  # the working directory that relative paths refer to
    time: str = ""

    def command(self, *changes: str) -> str:
        """Return the whole request with these changes, without what applies to one run only, as a shell command."""
        return _shell(_without(ABOUT_A_RUN, merged(self.overrides, changes)))

    def same_run(self, *changes: str) -> str:
        """Return the command that makes what this request plans or waits for: like `command`, with tag and shard."""
        return _shell(_without(("plan",), merged(self.overrides, changes)))

    def place(self) -> list[str]:
        """Return the overrides that name the project and its output folder."""
        return [text for text in self.overrides if key_of(text) in ("project", "outputs")]


def request_of(overrides: Sequence[str]) -> Request:
    """Return a request with the current directory and time."""
    return Request(tuple(overrides), str(Path.cwd()), datetime.now(UTC).isoformat(timespec="seconds"))


def _without(keys: Container[str], overrides: Iterable[str]) -> list[str]:
    """Return the overrides of other keys."""
    return [text for text in overrides if key_of(text) not in keys]


def _shell(overrides: Iterable[str]) -> str:
    return shlex.join(["python", "-m", "pipeline", *overrides])


def key_of(override: str) -> str:
    """Return an override's key: `dpo.beta` of `dpo.beta=0.3`, and `++dpo.trainer.loss_type` without its signs."""
    return override.partition("=")[0].lstrip("+")


def merged(before: Sequence[str], later: Sequence[str]) -> list[str]:
    """Return the overrides of both requests; later ones take the place of earlier ones with the same key.

    A new path also removes the other keys that name the same input, and an option that would ignore the path.
    """
    new = {key_of(text): text for text in later}
    gone = {key for rule in RULES if _is_about(rule, later) for key in rule.keys}
    ignoring = {f"{rule.group}={other}" for rule in RULES if new.keys() & set(rule.keys) for other in rule.others}
    whole: dict[str, str] = {}  # by key, in the order of `before`
    for text in before:
        key = key_of(text)
        if key in new:
            whole[key] = new[key]
        elif key not in gone and text not in ignoring:
            whole[key] = text
    first = {"stage": new["stage"]} if "stage" in new and "stage" not in whole else {}
    return list({**first, **whole, **new}.values())


def _is_about(rule: Rule, later: Sequence[str]) -> bool:
    """Whether these overrides change the rule's input: by a path, or by an option that ignores paths."""
    return any(
        key_of(text) in rule.keys or text in [f"{rule.group}={other}" for other in rule.others] for text in later
    )


def left_out(last: Request, request: Request) -> list[str]:
    """Return the model and data overrides of the last request that this one leaves out.

    Without them, the playground's model and data are used.
    """
    given = {key_of(text) for text in request.overrides}
    rules = [rule for rule in RULES if rule.group in ("model", "data") and not given & {*rule.keys, rule.group}]
    named = [text for text in last.overrides for rule in rules if key_of(text) in rule.keys]
    return [] if "experiment" in given else named


def recall(root: Path) -> Request | None:
    """Return the last request of the project in this folder, or None if there is no file.

    Raises `RequestError` if the file is not a valid request.
    """
    file = root / FILE
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
        time = datetime.fromisoformat(str(found["time"])).astimezone(UTC).isoformat()
        return Request(tuple(map(str, found["overrides"])), str(found["folder"]), time)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise RequestError(f"{file} is not a stored request. Remove it: the next run writes it.") from None


def remember(root: Path, request: Request) -> None:
    """Store a request as the last one of its project."""
    about = {
        "command": request.command(),
        "time": request.time,
        "folder": request.folder,
        "overrides": _without(ABOUT_A_RUN, request.overrides),
    }
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=1_000_000)
    write_atomically(root / FILE, HEAD + text)


@contextlib.contextmanager
def remembering(root: Path, request: Request | None, made_something: Callable[[], bool]) -> Iterator[None]:
    """Store the request; restore the previous one if it is refused (`RequestError`) before it has made anything."""
    file = root / FILE
    before = file.read_text(encoding="utf-8") if file.is_file() else None
    if request is not None:
        with contextlib.suppress(OSError):  # the first stage that writes reports a full disk
            remember(root, request)
    try:
        yield
    except RequestError:
        if request is not None and not made_something():
            _forget(root, before)
        raise


def _forget(root: Path, before: str | None) -> None:
    with contextlib.suppress(OSError):
        if before is not None:
            write_atomically(root / FILE, before)
            return
        (root / FILE).unlink(missing_ok=True)
        for folder in (root, root.parent):
            folder.rmdir()  # raises OSError, suppressed, if the folder is not empty
