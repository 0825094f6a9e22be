"""The commands beside the chain, each a function of what follows its name; it returns the exit status.

A command's module is imported when it is called: a request for the chain, right or wrong, waits for none of them.
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
    """Part of the design, so that nobody looks for it under another name."""
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
