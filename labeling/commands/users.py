"""The command `users`: manages annotators' accounts and one private invitation file for each."""

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from labeling.backend import LabelingError
from labeling.commands import command, console, home_option, is_remote
from labeling.server import DEFAULT_HOME, Connection, accounts, remote, running
from labeling.server.home import Home

ABOUT = """\
Annotators' accounts on the running server of --home, or on a remote one.

  add NAME …             accounts, each with a generated password in an invitation file that only you can read
  add --from people.csv  the same from a table: column `username` (or `name`), and `workspace` if it is to differ
  list                   who there is
  reset NAME             a new password and invitation; answers stay, old keys, tokens and passwords end at once
  remove NAME            access ends at once; the answers are kept, and count, under the name

Who has signed in on the page signs in again after 12 hours. Five wrong passwords for a name lock it for a minute.

Choose pseudonyms (annotator1, reader_b): names are kept with the rankings, in artifacts and reports.
"""
WORKSPACE = "playground"


def users(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    connection, home = server(options.home)
    if options.action == "add":
        return _add(connection, home, options)
    if options.action == "reset":
        invitation, ended = accounts.reset(connection, options.name, home)
        _invited(invitation, options.show)
        _tell_unless(ended, connection)
        return 0
    if options.action == "remove":
        return _remove(connection, home, options.name)
    table = Table("name", "workspaces", box=None, pad_edge=False)
    for person in accounts.annotators(connection):
        where = "(removed; answers kept)" if person["removed"] else ", ".join(person["workspaces"])
        table.add_row(escape(person["username"]), escape(where))
    console.print(table)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command("users", ABOUT)
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|reset|remove")
    add = actions.add_parser("add", help="make accounts and invitations")
    add.add_argument("names", nargs="*", metavar="NAME", help="a pseudonym: it is kept with the rankings")
    add.add_argument("--from", dest="source", type=Path, metavar="CSV", help="a table with a column `username`")
    add.add_argument("--workspace", default=WORKSPACE, help="the project they rank for (%(default)s)")
    listing = actions.add_parser("list", help="who there is")
    reset = actions.add_parser("reset", help="a new password and invitation")
    remove = actions.add_parser("remove", help="end someone's access, and keep their answers")
    for action in (reset, remove):
        action.add_argument("name", metavar="NAME")
    for action in (add, reset):
        action.add_argument("--show", action="store_true", help="print the invitation, too, password included")
    for action in (add, listing, reset, remove):
        home_option(action)
    options = parser.parse_args(arguments)
    if options.action == "add" and bool(options.names) == (options.source is not None):
        add.error("either names or --from CSV")
    return options


def server(home: Path | None) -> tuple[Connection, Path]:
    """Return a connection to the command's server, and the folder for its invitations.

    Raises `LabelingError` if no server runs for this home.
    """
    if is_remote(home):
        return remote(), DEFAULT_HOME
    place = home or DEFAULT_HOME
    connection = running(place)
    if connection is None:
        raise LabelingError(
            f"No server serves {place}. Start one: python -m labeling serve --detach"
            + ("" if place == DEFAULT_HOME else f" --home {place}")
        )
    return connection, place


def _add(connection: Connection, home: Path, options: argparse.Namespace) -> int:
    by_workspace: dict[str, list[str]] = {options.workspace: options.names}
    if options.source is not None:
        by_workspace = read_people(options.source, options.workspace)
    for names in by_workspace.values():
        accounts.check_names(names)
    for workspace, names in by_workspace.items():
        new = accounts.add_annotators(connection, names, workspace, home, returning=True)
        for name in names:
            if name in new:
                _invited(Home(home).invitations / f"{name}.txt", options.show)
            else:
                console.print(f"{escape(name):<16}has an account already; now also in {escape(workspace)}")
    return 0


def _remove(connection: Connection, home: Path, name: str) -> int:
    ended = accounts.remove(connection, name, home)
    console.print(
        f"{escape(name)} has no access any more; the answers are kept. If labeling.annotators names them, take them "
        "out there: publishing stops at a removed name."
    )
    _tell_unless(ended, connection)
    return 0


def _tell_unless(ended: bool, connection: Connection) -> None:
    if not ended:
        console.print(
            f"[yellow]Argilla at {connection.url} keeps API keys for good[/], and lets people who have signed in stay "
            "so for up to a day."
        )


def _invited(file: Path, show: bool) -> None:
    console.print(f"{escape(file.stem):<16}{escape(str(file))}")
    if show:
        console.print(file.read_text(encoding="utf-8"), markup=False)


def read_people(source: Path, workspace: str) -> dict[str, list[str]]:
    """Read a CSV file as workspace -> names. Raises `LabelingError` (request) with all faults and their lines."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [column.strip().lower() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelingError(f"{source} cannot be read as CSV: {error}", fault="request") from None
    column = next((name for name in ("username", "name") if name in columns), None)
    if column is None:
        raise LabelingError(
            f"{source}, line 1: no column `username` (or `name`), but {', '.join(columns) or 'nothing'}.",
            fault="request",
        )
    faults: list[str] = []
    people: dict[str, list[str]] = {}
    seen: Counter[str] = Counter()
    for line, row in rows:
        name = (row.get(column) or "").strip()
        if None in row:
            faults.append(f"line {line}: more values than columns")
        if not name:
            faults.append(f"line {line}: no {column}")
        elif not accounts.NAME.fullmatch(name):
            faults.append(f"line {line}: {name!r} is not possible as a name (use {accounts.NAMES})")
        elif seen[name]:
            faults.append(f"line {line}: {name!r} again")
        seen[name] += 1
        people.setdefault((row.get("workspace") or "").strip() or workspace, []).append(name)
    if not rows:
        faults.append("nobody in it")
    if faults:
        listed = "\n  ".join(faults)
        raise LabelingError(f"{source}: {len(faults)} faults, nothing was created.\n  {listed}", fault="request")
    return people
