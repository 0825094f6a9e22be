"""The commands besides the chain. Each is a function of the arguments after its name and returns the exit status.

A command's module is imported only when it is called, so that a request for the chain does not wait for it.
"""

from collections.abc import Callable, Sequence


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
    from pipeline.commands.new import new as command

    return command(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "status": status,
    "artifacts": artifacts,
    "chat": chat,
    "new": new,
}
