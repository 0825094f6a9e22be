"""The commands besides the chain. Each is a function of the arguments after its name and returns the exit status.

A command's module is imported only when it is called, so that a request for the chain does not wait for it.
"""

from collections.abc import Callable, Sequence

from pipeline.errors import RequestError


def status(arguments: Sequence[str]) -> int:
    from pipeline.commands.status import status as command

    return command(arguments)


def artifacts(arguments: Sequence[str]) -> int:
    from pipeline.commands.artifacts import artifacts as command

    return command(arguments)


def chat(arguments: Sequence[str]) -> int:
    from pipeline.commands.chat import chat as command

    return command(arguments)


def new(arguments: Sequence[str]) -> int:
    """Refuse a command that is not built yet, and show the command that takes its place. Raises `RequestError`."""
    raise RequestError(
        "`python -m pipeline new` is part of the design but not built yet. Until then: python -m pipeline "
        "project=NAME model=hub model.path=DIR_OR_HUB_ID data=files data.path=FILE labeling=file labeling.path=FILE"
    )


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "status": status,
    "artifacts": artifacts,
    "chat": chat,
    "new": new,
}
