"""The command `status`: the state of the server, and each annotator's progress in each data set."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from labeling import running_tests
from labeling.argilla.trust import suspects_by_workspace
from labeling.commands import command, console, home_option
from labeling.commands.sources import connection_of
from labeling.projects import is_blind_test, read_project
from labeling.server import DEFAULT_HOME, Connection, snapshots
from labeling.server.accounts import checked, session
from labeling.server.inside.opinions import MOST
from labeling.suspects import exclusion, sentence

ABOUT = """\
Shows the server and its data sets: complete records, and each annotator's submitted, discarded and draft answers.
Names annotators who are not distinguishable from chance, rank inversely, or answer faster than the texts can be read.
For a blind test that people are judging (`abtest`): each two policies' win rate, with an interval that holds at every
look, so that the test may stop as soon as it shows a difference.
Also copies the answers into their projects, as the server's supervisor does every two minutes. `--follow` repeats
until Ctrl-C.
"""
SECONDS = 2.0
LOOK = 60.0  # seconds between two readings of all answers, with --follow


def status(arguments: Sequence[str]) -> int:
    parser = command("status", ABOUT)
    home_option(parser)
    parser.add_argument("--follow", action="store_true", help="repeat every two seconds")
    options = parser.parse_args(arguments)
    seen: dict[str, str] = {}
    remarks = _remarks(options.home, seen)
    if not options.follow:
        console.print(_view(options.home, seen, remarks))
        return 0
    looked = time.monotonic()
    with Live(_view(options.home, seen, remarks), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(SECONDS)
            if time.monotonic() - looked > LOOK:
                remarks, looked = _remarks(options.home, seen), time.monotonic()
            live.update(_view(options.home, seen, remarks), refresh=True)


def _remarks(home: Path | None, seen: dict[str, str]) -> list[Text]:
    """Copy the answers that are new; return a sentence about each workspace's suspects, and about each blind test."""
    connection = connection_of(home)
    if connection is None:
        return []
    with session(connection) as client:
        suspects = [
            Text(f"{workspace}: {sentence(found)} Leave them out with {exclusion(found)}", style="yellow")
            for workspace, found in suspects_by_workspace(client).items()
        ]
    return [*suspects, *map(Text, _tests(connection, home or DEFAULT_HOME, seen))]


def _tests(connection: Connection, home: Path, seen: dict[str, str]) -> Iterator[str]:
    """Copy the answers, and yield a sentence about each blind test of a project that is known here."""
    snapshots.take(connection, home, seen)
    folders = {copies: name for name, copies in sorted(snapshots.projects(home).items(), reverse=True)}
    blind = {copies: name for copies, name in folders.items() if any(map(is_blind_test, snapshots.queues(copies)))}
    overlaps = {one["name"]: one["overlap"] for one in datasets(connection)} if blind else {}
    for copies, workspace in sorted(blind.items()):
        for told in running_tests.sentences(read_project(copies.parent), overlaps):
            yield f"{workspace}: {told}"


def _view(home: Path | None, seen: dict[str, str], remarks: Sequence[Text]) -> Group:
    """Copy the answers that are new (see `snapshots.take`), and return what there is to show."""
    place, connection = home or DEFAULT_HOME, connection_of(home)
    if connection is None:
        start = f"python -m labeling serve --detach{'' if place == DEFAULT_HOME else f' --home {place}'}"
        return Group(Text(f"down   {place}"), Text(f"Start  {start}"))
    found = datasets(connection)
    up = Text(f"up     {connection.url}", style="green")
    copies = snapshots.take(connection, place, seen)
    lines = [Text(f"copies {count:,} answers in {folder}") for folder, count in sorted(copies.items())]
    return Group(up, *lines, _table(found) if found else Text("No data sets yet."), *remarks)


def datasets(connection: Connection) -> list[dict[str, Any]]:
    """Return name, workspace, records (completed, total), overlap (and its upper end), and annotators' counts."""
    with session(connection) as client:
        workspaces = {place["id"]: place["name"] for place in checked(client.get("/me/workspaces"))["items"]}
        found = []
        for dataset in checked(client.get("/me/datasets"))["items"]:
            path = f"/datasets/{dataset['id']}"
            progress = checked(client.get(f"{path}/progress"))
            people = {
                person["username"]: _counts(person) for person in checked(client.get(f"{path}/users/progress"))["users"]
            }
            for member in checked(client.get(f"/workspaces/{dataset['workspace_id']}/users"))["items"]:
                if member["role"] == "annotator":
                    people.setdefault(member["username"], _counts({}))
            found.append(
                {
                    "name": dataset["name"],
                    "workspace": workspaces.get(dataset["workspace_id"], "?"),
                    "completed": progress["completed"],
                    "total": progress["total"],
                    "overlap": dataset["distribution"]["min_submitted"],
                    "highest": (dataset["metadata"] or {}).get(MOST) or dataset["distribution"]["min_submitted"],
                    "people": people,
                }
            )
        return found


def _counts(person: dict[str, Any]) -> tuple[int, int, int]:
    """Return (submitted, discarded, drafts) over open and completed records, which Argilla counts separately."""
    parts = [person.get("completed", {}), person.get("pending", {})]
    submitted, discarded, drafts = (
        sum(part.get(status, 0) for part in parts) for status in ("submitted", "discarded", "draft")
    )
    return submitted, discarded, drafts


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table("data set", "annotator", box=None, pad_edge=False)
    for heading in ("submitted", "discarded", "drafts"):
        table.add_column(heading, justify="right")
    for dataset in found:
        done = f"{dataset['completed']:,} of {dataset['total']:,} complete"
        table.add_row(f"[bold]{escape(dataset['workspace'])} / {escape(dataset['name'])}[/]", done)
        for name, counts in sorted(dataset["people"].items()):
            table.add_row("", escape(name), *(f"{count:,}" if count else "-" for count in counts))
    return table
