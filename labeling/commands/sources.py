"""The project or the file of rankings that a command is about."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from labeling.backend import LabelingError
from labeling.backends import COPIES
from labeling.commands import Parser, errors, home_option, is_remote
from labeling.projects import Project, is_project, read_project
from labeling.report.facts import Facts, facts_of_file, facts_of_project
from labeling.server import DEFAULT_HOME, Connection, remote, running, snapshots

RANKINGS = "rankings.jsonl"
PATH_OF = "python -m pipeline artifacts path collect@latest"


def project_argument(parser: Parser, *, or_file: bool) -> None:
    """Add the argument PROJECT, and the server's home, by which a project is found by its name."""
    files = "; or a file of rankings, such as rankings.jsonl of `collect`" if or_file else ""
    parser.add_argument(
        "source",
        nargs="?",
        metavar="PROJECT|FILE" if or_file else "PROJECT",
        help=f"a project's name, or its folder (outputs/PROJECT); default: the only one that people answered in{files}",
    )
    home_option(parser)


def found_source(given: str | None, home: Path | None) -> Path:
    """Return a project's folder or a file of rankings. Raises `LabelingError` (request) if there is none."""
    known = {name: folder.parent for name, folder in snapshots.projects(home or DEFAULT_HOME).items()}
    if given is None:
        if len(set(known.values())) == 1:  # adjudication has a workspace of its own
            return next(iter(known.values()))
        found = f"Several projects are known: {', '.join(sorted(known))}." if known else "No project is known here."
        raise _refused(f"{found} Name one, or its folder: outputs/PROJECT.")
    if given in known:
        return known[given]
    path = Path(given)
    copied_soon = path.absolute() in (folder.absolute() for folder in known.values())  # answers may not be copied yet
    if path.is_file() or is_project(path) or copied_soon:
        return path
    if (path / RANKINGS).is_file():
        return path / RANKINGS
    if path.is_dir():
        raise _refused(
            f"{path} has no copies of people's answers ({COPIES}). For simulated annotators, or answers in a "
            f"file, give the file of rankings: {PATH_OF} prints the folder that it is in."
        )
    names = f"; the projects known here are {', '.join(sorted(known))}" if known else ""
    raise _refused(f"There is no project, folder or file '{given}'{names}.")


def fresh_project(folder: Path, home: Path | None) -> Project:
    """Return a project with the newest answers: they are copied first if the server runs. Remarks go to stderr.

    Raises `LabelingError` (request) for a damaged file, and if there are no answers.
    """
    if folder.is_file():
        raise _refused(f"{folder} is a file of rankings; a project's folder is needed: outputs/PROJECT.")
    connection = connection_of(home)
    if connection is None:
        errors.print(f"No server serves {escape(str(home or DEFAULT_HOME))}: answers as of their last copy.")
    else:
        snapshots.take(connection, home or DEFAULT_HOME)
    project = read_project(folder)
    say(project.remarks)
    if not any(asked.answers for asked in project.rounds):
        raise _refused(f"{folder} has no answers of people yet.")
    return project


def facts_of(given: str | None, home: Path | None) -> Facts:
    """Return the figures of a project or a file of rankings. Remarks go to stderr."""
    source = found_source(given, home)
    if not source.is_file():
        return facts_of_project(fresh_project(source, home))
    facts = facts_of_file(source)
    say(facts.remarks)
    return facts


def connection_of(home: Path | None) -> Connection | None:
    """Return a connection to the command's server; None if it does not run."""
    return remote() if is_remote(home) else running(home or DEFAULT_HOME)


def say(remarks: Sequence[str]) -> None:
    for remark in remarks:
        errors.print(escape(remark))


def _refused(message: str) -> LabelingError:
    return LabelingError(message, fault="request")
