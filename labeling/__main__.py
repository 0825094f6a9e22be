"""The command `python -m labeling`: a server for annotators, their accounts, their progress, import and export."""

import signal
import sys
from collections.abc import Sequence

from labeling.backend import LabelingError
from labeling.commands import COMMANDS, Parser, errors

INTERRUPTED = 130
STATUS = {"request": 2, "service": 1}

ABOUT = """\
Collects rankings of answers from people.

  serve     a real Argilla on this machine, with no Docker
  users     annotators' accounts and invitations
  status    state of the server, and progress of the annotators
  report    a page about the annotators: progress, agreement, whom to trust
  adjudicate  prompts on which annotators stay divided, for one person to decide
  ledger    what each annotator did in a span of time, to pay by
  import    rankings from other tools
  export    rankings for other tools
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(f"{ABOUT}\npython -m labeling COMMAND --help shows the options.")
            return 0 if arguments else 2
        if arguments[0] not in COMMANDS:
            Parser(prog="python -m labeling").error(
                f"There is no command {arguments[0]!r}; the commands are {', '.join(COMMANDS)}"
            )
        return COMMANDS[arguments[0]](arguments[1:])
    except LabelingError as error:
        errors.print(f"[red]Error:[/] {str(error).replace('[', chr(92) + '[')}")
        return STATUS[error.fault]
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
