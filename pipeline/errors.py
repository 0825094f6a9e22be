"""The errors that end a command, each with its exit status.

The command prints only the message, without a traceback. So each message states the fault, its place, and how to
correct it.
"""

from collections.abc import Iterable, Sequence


def listed(faults: Sequence[str]) -> str:
    """Return all faults of a request as one message."""
    head = "This request is wrong:" if len(faults) == 1 else f"This request is wrong in {len(faults)} places:"
    return "\n".join([head, *(f"  {fault}" for fault in faults)])


class PipelineError(Exception):
    """The machine or a service failed while running: disk, port, server, memory."""

    status = 1


class RequestError(PipelineError):
    """The request is wrong: its command line, configuration, credentials or input data."""

    status = 2


class WaitingForPeople(PipelineError):
    """Not a fault: the chain continues when people have answered the tasks of `stage`.

    `partial` describes the answers that are usable so far; empty if there are none.
    """

    status = 3

    def __init__(self, message: str, stage: str, partial: str = "") -> None:
        super().__init__(message)
        self.stage = stage
        self.partial = partial


class Unrenderable(RequestError):
    """A conversation that the chat template refuses or changes. Only its row is left out; the stage continues.

    `reason` is a phrase that many rows share; the message adds `seen`, the details of this row.
    """

    def __init__(self, reason: str, seen: str = "") -> None:
        super().__init__(f"{reason}: {seen}" if seen else reason)
        self.reason = reason


class Unplannable(RequestError):
    """A request that cannot be planned, with all reasons."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(dict.fromkeys(faults))
        super().__init__(self.faults[0] if len(self.faults) == 1 else listed(self.faults))
