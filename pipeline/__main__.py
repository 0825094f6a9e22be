"""The command line: composes and checks a request and runs it. `python -m pipeline --help` lists the arguments."""

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence

from pipeline.config.remembered import Request, request_of
from pipeline.console import console, errors, quiet_logging
from pipeline.errors import PipelineError, WaitingForPeople

INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    from pipeline.engine.group import is_launched

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    quiet_logging()
    if is_launched():
        return _launched(arguments)
    return _main(arguments)


def _launched(arguments: Sequence[str]) -> int:
    """Run one command line in the first of several processes that a launcher started; the others follow it."""
    from pipeline.engine import launcher
    from pipeline.engine.group import launched_rank

    if launched_rank() > 0:
        return _status_of(launcher.follow)
    status = 1
    try:
        status = _main(arguments)
    finally:
        launcher.dismiss(status)
    return status


def _main(arguments: Sequence[str]) -> int:
    from pipeline import commands

    if arguments and arguments[0] in commands.COMMANDS:
        return _status_of(lambda: commands.COMMANDS[arguments[0]](arguments[1:]))
    return _status_of(lambda: run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run `python -m pipeline key=value …` with its flags. Raises `RequestError` for invalid arguments."""
    from pipeline.config import compose
    from pipeline.config.names import split_flags

    flags, overrides = split_flags(arguments)
    if not flags:
        return make(overrides)
    if {"-h", "--help"} & set(flags):
        from pipeline.commands.help import show_help

        return show_help(overrides)
    if set(flags) <= {"-m", "--multirun"}:
        return sweep(overrides)
    return _run_by_hydra([*flags, *compose.normalize(compose.with_followed(overrides))])


def sweep(overrides: Sequence[str]) -> int:
    """Run the requests of a sweep with a launcher, or in turn, also after a failure. Returns the highest status."""
    from pipeline.config import compose
    from pipeline.config.names import of_launcher

    compose.check(overrides)
    jobs = compose.jobs(overrides)
    if launcher := of_launcher(overrides)[0]:
        return _launch(jobs, launcher)
    worst = 0
    for job in jobs:
        status = _status_of(functools.partial(make, job))
        if status == INTERRUPTED:
            return status
        worst = max(worst, status)
    return worst


def _launch(jobs: Sequence[Sequence[str]], launcher: Sequence[str]) -> int:
    """Run the requests of a sweep with one of Hydra's launchers. Returns the highest exit status."""
    from pipeline.commands.launching import run_all
    from pipeline.config import compose

    console.print(f"{len(jobs)} requests, run with {_plain(' '.join(launcher))}")
    return max(run_all(jobs, launcher, f"{compose.load(jobs[0]).outputs}/.hydra"))


def make(overrides: Sequence[str]) -> int:
    """Run one request and print the next commands."""
    from pipeline.commands.closing import print_results
    from pipeline.config import compose
    from pipeline.engine.runner import run as run_chain

    loaded, request = compose.read(overrides), request_of(overrides)
    for one in loaded.followed:
        console.print(f"[dim]{_plain(one.text)}[/]")
    try:
        print_results(loaded.config, run_chain(loaded.config, request), request)
    except WaitingForPeople as waiting:
        console.print(_plain(waiting_for(waiting, request)))
        return waiting.status
    return 0


def _status_of(command: Callable[[], int]) -> int:
    """Run a command and return its exit status. An error is printed as one message."""
    try:
        return command()
    except PipelineError as error:
        errors.print(f"[red]Error:[/] {_plain(str(error))}")
        return error.status
    except KeyboardInterrupt:
        errors.print("Interrupted. Finished work is kept; the same command continues from there.")
        return INTERRUPTED


def waiting_for(waiting: WaitingForPeople, request: Request) -> str:
    """Return the progress of the annotators and the commands that continue from there."""
    lines = [
        str(waiting),
        f"Continue    {request.same_run()}",
        f"Or wait     {request.same_run(f'{waiting.stage}.wait=true')}",
    ]
    if waiting.partial:
        partial = request.same_run(f"{waiting.stage}.accept=partial")
        lines.append(f"Use what is there now: {partial}   ({waiting.partial})")
    return "\n".join(lines)


def _run_by_hydra(arguments: Sequence[str]) -> int:
    """Let Hydra print the configuration or its own help."""
    import hydra

    from pipeline.config import compose
    from pipeline.config.names import CONF

    compose.register_schema()
    sys.argv = [f"{sys.executable} -m pipeline", *arguments]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(lambda composed: None)()
    return 0


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    sys.exit(main(sys.argv[1:]))
