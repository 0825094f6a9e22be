"""The errors that end a command, each with its exit status.

Whoever raises one says what is wrong, where it looked, and how to mend it: the command prints the message
alone, without a traceback.
"""

from collections.abc import Sequence


def listed(faults: Sequence[str]) -> str:
    """All faults of a request as one message."""
    head = "This request is wrong:" if len(faults) == 1 else f"This request is wrong in {len(faults)} places:"
    return "\n".join([head, *(f"  {fault}" for fault in faults)])


class PipelineError(Exception):
    """The machine or a service failed while running: disk, port, server, memory."""

    status = 1


class RequestError(PipelineError):
    """The request is wrong, as far as command, configuration, credentials or input data show it."""

    status = 2


class WaitingForPeople(PipelineError):
    """Not a fault: the chain goes on once people have answered what `stage` asks.

    `partial` says what there is for it by now, if any.
    """

    status = 3

    def __init__(self, message: str, stage: str, partial: str = "") -> None:
        super().__init__(message)
        self.stage = stage
        self.partial = partial


class Unrenderable(RequestError):
    """A conversation that the chat template refuses or changes: it costs its row, not the stage.

    `reason` is a phrase that many rows share; the message adds what was seen.
    """

    def __init__(self, reason: str, seen: str = "") -> None:
        super().__init__(f"{reason}: {seen}" if seen else reason)
        self.reason = reason
