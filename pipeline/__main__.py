"""The command: compose, check, hand to the runner. `python -m pipeline --help` says what it takes."""

import os
import shlex
import signal
import sys
from collections.abc import Sequence

from pipeline.console import console, errors, quiet_logging
from pipeline.errors import PipelineError, WaitingForPeople

INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    from pipeline import commands

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    quiet_logging()
    try:
        if arguments and arguments[0] in commands.COMMANDS:
            return commands.COMMANDS[arguments[0]](arguments[1:])
        return run(arguments)
    except WaitingForPeople as waiting:
        console.print(_plain(waiting_for(waiting, arguments)))
        return waiting.status
    except PipelineError as error:
        errors.print(f"[red]Error:[/] {_plain(str(error))}")
        return error.status
    except KeyboardInterrupt:
        errors.print("Interrupted. What is done is kept; the same command goes on from there.")
        return INTERRUPTED


def run(arguments: Sequence[str]) -> int:
    """`python -m pipeline key=value …`, Hydra's own flags included."""
    from pipeline import compose

    flags = [argument for argument in arguments if argument.startswith("-")]
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    if not flags:
        from pipeline.runner import run as run_chain
        from pipeline.summary import closing

        config = compose.load(overrides)
        closing(config, run_chain(config))
        return 0
    if set(flags) <= {"-m", "--multirun"}:
        compose.check(overrides)
    return _run_by_hydra([*flags, *compose.normalize(overrides)])


def waiting_for(waiting: WaitingForPeople, arguments: Sequence[str]) -> str:
    """How far people are, and the commands that go on from there."""
    again = shlex.join(["python", "-m", "pipeline", *arguments])
    lines = [str(waiting), f"Continue    {again}", f"Or wait     {again} {waiting.stage}.wait=true"]
    if waiting.partial:
        lines.append(f"Use what is there now: {again} {waiting.stage}.accept=partial   ({waiting.partial})")
    return "\n".join(lines)


def _run_by_hydra(arguments: Sequence[str]) -> int:
    """Help, configuration dumps and sweeps. A sweep goes on after a job that failed; its status is the worst one."""
    import hydra
    from omegaconf import DictConfig

    from pipeline import compose
    from pipeline.runner import run as run_chain
    from pipeline.summary import closing

    compose.register_schema()
    statuses = [0]

    def job(composed: DictConfig) -> None:
        try:
            config = compose.to_config(composed)
            closing(config, run_chain(config))
        except WaitingForPeople as waiting:
            console.print(_plain(str(waiting)))
            statuses.append(waiting.status)
        except PipelineError as error:
            errors.print(f"[red]Error:[/] {_plain(str(error))}")
            statuses.append(error.status)

    sys.argv = [f"{sys.executable} -m pipeline", *arguments]
    hydra.main(version_base="1.3", config_path=str(compose.CONF), config_name="config")(job)()
    return max(statuses)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    sys.exit(main(sys.argv[1:]))
